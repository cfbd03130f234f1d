//! Waiting for a change of a pool's workers, and what is told of one that was not made.

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::broker::Deadline;
use crate::error::Kind;
use dishrack_core::pool::scaler::Shortfall;

/// Waits for the result of a change. Nothing comes when the pool is over.
pub(super) fn wait(
    what: &'static str,
    end: &Receiver<Result<(), Shortfall>>,
    deadline: Deadline,
) -> Result<(), Kind> {
    let end = match deadline {
        Deadline::Forever => end.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Deadline::Until(deadline) => end.recv_deadline(deadline),
        Deadline::None => end.try_recv().map_err(|_| RecvTimeoutError::Timeout),
    };
    match end {
        Ok(Ok(())) => Ok(()),
        Ok(Err(shortfall)) => Err(not_made(what, shortfall)),
        Err(RecvTimeoutError::Timeout) => Err(Kind::ChangeTimedOut { what }),
        Err(RecvTimeoutError::Disconnected) => Err(not_made(what, Shortfall::Stopped)),
    }
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
