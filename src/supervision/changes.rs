//! Waiting for a change of a pool's workers, and what is told of one that was not made.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvError, TryRecvError, at, never, select};

use crate::broker::{Broker, Deadline};
use crate::error::Kind;
use dishrack_core::pool::scaler::Shortfall;

/// Waits for the result of a change. Nothing comes when the pool is over, or a bug was found.
pub(super) fn wait(
    what: &'static str,
    end: &Receiver<Result<(), Shortfall>>,
    deadline: Deadline,
    broker: &Broker,
) -> Result<(), Kind> {
    let late = match deadline {
        Deadline::Forever => never(),
        Deadline::Until(deadline) => at(deadline),
        Deadline::None => at(Instant::now()),
    };
    let end = match end.try_recv() {
        Err(TryRecvError::Empty) => select! {
            recv(end) -> end => end,
            recv(broker.bugs()) -> _ => return Err(broker.bug()),
            recv(late) -> _ => return Err(Kind::ChangeTimedOut { what }),
        },
        end => end.map_err(|_| RecvError),
    };
    if end.is_err() && broker.bugs().try_recv() == Err(TryRecvError::Disconnected) {
        return Err(broker.bug());
    }
    end.unwrap_or(Err(Shortfall::Stopped))
        .map_err(|shortfall| not_made(what, shortfall))
}

pub(super) fn not_made(what: &'static str, shortfall: Shortfall) -> Kind {
    let why = match shortfall {
        Shortfall::Lost(why) => why,
        Shortfall::Superseded => "another change was asked for before this one was made".into(),
        Shortfall::NotThere => "there is no such worker, or it is to end anyway".into(),
        Shortfall::Stopped => "the supervisor is being stopped, or has no workers left".into(),
    };
    Kind::NotChanged { what, why }
}
