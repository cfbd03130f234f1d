//! The kinds of servers that a queue can be shared by, and the address of one as it was typed. It
//! does not know their protocols.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::redis::KIND as REDIS;
use crate::store::stream::sealed::OpenedStream;
use crate::store::stream::{Opening, Stream, StreamKind, StreamPlace, shown_url};
use crate::{Capacity, Error, JoinableQueue, Options};
use dishrack_core::stream::entry::Layout;

/// The kinds of servers. Each has an option for its address, and options, messages and rules follow
/// from this list.
pub(super) const KINDS: [&StreamKind; 1] = [&REDIS];

/// The address of a shared queue, and the promises asked for there.
#[derive(Debug, Clone)]
pub(super) struct Address {
    kind: &'static StreamKind,
    url: String,
    pub(super) stream: String,
    lease: Option<Duration>,
    replicas: u32,
    opening: Opening,
}

impl Address {
    pub(super) fn new(kind: &'static StreamKind, url: String, stream: &str) -> Self {
        Address {
            kind,
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

    /// Returns the kind of its server.
    pub(super) fn kind(&self) -> &'static StreamKind {
        self.kind
    }

    /// Returns the address without what may be a password.
    pub(super) fn shown_url(&self) -> String {
        shown_url(&self.url)
    }

    /// Opens the stream.
    ///
    /// # Errors
    /// The stream cannot be used.
    pub(super) fn open(
        &self,
        layout: Box<dyn Layout>,
        capacity: Capacity,
    ) -> Result<Arc<dyn Stream>, Error> {
        let place = StreamPlace {
            url: &self.url,
            stream: &self.stream,
            lease: self.lease,
            replicas: self.replicas,
            opening: self.opening,
        };
        let OpenedStream(stream) = (self.kind.at)(place).open(layout, capacity)?;
        Ok(stream)
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
