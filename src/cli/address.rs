//! Where a shared queue is, as it was typed, and the one place that opens one. What is said to it is the
//! backend's business.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::queue::JoinableQueue;
use crate::store::redis::{RedisOptions, RedisStore};
use crate::store::stream::{Opening, Stream, shown_url};
use dishrack_core::ledger::{Capacity, Options};
use dishrack_core::stream::entry::Layout;

/// Where a shared queue is, and what is to be promised there.
#[derive(Debug, Clone)]
pub(super) struct Address {
    url: String,
    /// Its name there.
    pub(super) stream: String,
    lease: Option<Duration>,
    replicas: u32,
    opening: Opening,
}

impl Address {
    pub(super) fn new(url: String, stream: &str) -> Self {
        Address {
            url,
            stream: stream.to_owned(),
            lease: None,
            replicas: 0,
            opening: Opening::Create,
        }
    }

    /// With these promises; without a lease, with that of the stream.
    pub(super) fn promising(mut self, lease: Option<Duration>, replicas: u32) -> Self {
        self.lease = lease;
        self.replicas = replicas;
        self
    }

    /// Whether it must be there already, and what for.
    pub(super) fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// The address without what may be a password.
    pub(super) fn shown_url(&self) -> String {
        shown_url(&self.url)
    }

    /// Opens what is there. Which kind of server it is, another one's scheme would tell here; what no
    /// other one knows is for Redis to refuse, in its words.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) fn open(
        &self,
        layout: Box<dyn Layout>,
        capacity: Capacity,
    ) -> Result<Arc<dyn Stream>, Error> {
        let mut options = RedisOptions::new(&*self.url, &*self.stream)
            .replicas(self.replicas)
            .opening(self.opening);
        if let Some(lease) = self.lease {
            options = options.lease(lease);
        }
        let store = RedisStore::open(&options, layout, capacity).map_err(Error)?;
        Ok(Arc::new(store))
    }

    /// The queue that is there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn queue<T: Serialize + DeserializeOwned>(
        &self,
        layout: Box<dyn Layout>,
        options: Options,
    ) -> Result<JoinableQueue<T>, Error> {
        JoinableQueue::over_stream(self.open(layout, options.capacity)?, options)
    }
}
