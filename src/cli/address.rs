//! The address of a shared queue as it was typed, and the one place that opens one. It does not
//! know the backend's protocol.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::redis::RedisStore;
use crate::store::stream::{Opening, Stream, shown_url};
use crate::{Error, JoinableQueue, RedisOptions};
use dishrack_core::ledger::{Capacity, Options};
use dishrack_core::stream::entry::Layout;

/// The address of a shared queue, and the promises asked for there.
#[derive(Debug, Clone)]
pub(super) struct Address {
    url: String,
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

    /// Adds these promises. Without a lease, that of the stream holds.
    pub(super) fn promising(mut self, lease: Option<Duration>, replicas: u32) -> Self {
        self.lease = lease;
        self.replicas = replicas;
        self
    }

    /// Sets whether the stream must exist already, and for what.
    pub(super) fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// Returns the address without what may be a password.
    pub(super) fn shown_url(&self) -> String {
        shown_url(&self.url)
    }

    /// Opens the stream. The scheme would choose between kinds of servers here; a scheme that no
    /// other kind knows is for Redis to refuse.
    ///
    /// # Errors
    /// The stream cannot be used.
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

    /// Opens the stream as a queue.
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
