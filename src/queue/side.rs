//! The near end of a queue: in the supervisor's process, or in a worker's.

use std::sync::Arc;

use crate::broker::{self, Broker};
use crate::handler::held::Acknowledger;
use crate::worker;
use crate::worker::session::Session;

#[derive(Debug, Clone)]
pub(super) enum Side {
    Local(Arc<Broker>),
    Remote(Arc<Session>),
}

impl Side {
    /// Returns the queue that the calling thread works for, if its items are of this type.
    pub(super) fn current(item_type: &str) -> Option<Self> {
        match broker::current::get() {
            // It goes first in a worker process too, whose handler may run workers of its own.
            Some((broker, name)) => (name == item_type).then_some(Side::Local(broker)),
            None => worker::current::get(item_type).map(Side::Remote),
        }
    }

    /// Returns `true` if both are the same queue's.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Side::Local(own), Side::Local(other)) => Arc::ptr_eq(own, other),
            (Side::Remote(own), Side::Remote(other)) => Arc::ptr_eq(own, other),
            (Side::Local(_), Side::Remote(_)) | (Side::Remote(_), Side::Local(_)) => false,
        }
    }

    /// Returns the receiver of the outcomes of its deliveries.
    pub(super) fn acknowledger(&self) -> &dyn Acknowledger {
        match self {
            Side::Local(broker) => &**broker,
            Side::Remote(session) => &**session,
        }
    }

    /// Returns the same, to be kept.
    pub(super) fn to_acknowledger(&self) -> Arc<dyn Acknowledger> {
        match self {
            Side::Local(broker) => Arc::<Broker>::clone(broker),
            Side::Remote(session) => Arc::<Session>::clone(session),
        }
    }
}
