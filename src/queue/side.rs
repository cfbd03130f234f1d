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
    /// The queue that the calling thread works for, if its items are of this type.
    pub(super) fn current(item_type: &str) -> Option<Self> {
        match broker::current::get() {
            // Also in a worker process whose handler runs workers of its own: it is theirs that counts.
            Some((broker, name)) => (name == item_type).then_some(Side::Local(broker)),
            None => worker::current::get(item_type).map(Side::Remote),
        }
    }

    /// Who hears how its deliveries end.
    pub(super) fn acknowledger(&self) -> &dyn Acknowledger {
        match self {
            Side::Local(broker) => &**broker,
            Side::Remote(session) => &**session,
        }
    }

    /// The same, to be kept.
    pub(super) fn to_acknowledger(&self) -> Arc<dyn Acknowledger> {
        match self {
            Side::Local(broker) => Arc::<Broker>::clone(broker),
            Side::Remote(session) => Arc::<Session>::clone(session),
        }
    }
}
