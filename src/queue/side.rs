//! The near end of a queue: in its own process, or in another one.

use std::sync::Arc;

use super::destination::Destination;
use super::far::FarEnd;
use crate::broker::{self, Broker};
use crate::error::Kind;
use crate::handler::held::Acknowledger;
use crate::worker;

#[derive(Debug, Clone)]
pub(super) enum Side {
    Local(Arc<Broker>),
    Remote(Arc<dyn FarEnd>),
}

impl Side {
    /// Returns the queue that the calling thread works for, if its items are of this type.
    pub(super) fn current(item_type: &str) -> Option<Self> {
        match broker::current::get() {
            // It goes first in a worker process too, whose handler may run workers of its own.
            Some((broker, name)) => (name == item_type).then_some(Side::Local(broker)),
            None => worker::current::get(item_type).map(|session| Side::Remote(session)),
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

    /// Returns where an item goes that is put on it.
    pub(super) fn destination(&self) -> Result<Destination, Kind> {
        Ok(match self {
            Side::Local(broker) => destination_of(broker),
            Side::Remote(far) if far.keeps_items()? => Destination::Kept,
            Side::Remote(far) => Destination::Home(far.address()?.home),
        })
    }

    /// Returns the receiver of the outcomes of its deliveries.
    pub(super) fn acknowledger(&self) -> &dyn Acknowledger {
        match self {
            Side::Local(broker) => &**broker,
            Side::Remote(far) => &**far,
        }
    }

    /// Returns the same, to be kept.
    pub(super) fn to_acknowledger(&self) -> Arc<dyn Acknowledger> {
        match self {
            Side::Local(broker) => Arc::<Broker>::clone(broker),
            Side::Remote(far) => Arc::<dyn FarEnd>::clone(far),
        }
    }
}

/// Returns where an item goes that is put on a queue of this process.
pub(crate) fn destination_of(broker: &Broker) -> Destination {
    match broker.keeps_items() {
        true => Destination::Kept,
        false => Destination::Here,
    }
}
