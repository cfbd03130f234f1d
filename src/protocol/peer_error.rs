//! The reasons for which nothing more is read from another process, or said to it: it has said what
//! nobody in its place says, or cannot be reached. The sentences follow its name.

use std::io;

use dishrack_core::ledger::Cause;

/// The reason why another process is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("wrote what is no record")]
    NoRecord,
    #[error("sent an unreadable record: {0}")]
    Unreadable(#[from] postcard::Error),
    #[error("sent a frame of {0} bytes, which is too long")]
    TooLong(usize),
    #[error("stopped within a frame")]
    Stalled,
    #[error("has ended the connection")]
    Ended,
    #[error("said nothing in time")]
    Silent,
    #[error("did not say first that it is ready")]
    NotReady,
    #[error("said twice that it is ready")]
    ReadyTwice,
    #[error("works on {works_on} by protocol {by}, not on {wanted} by {wanted_by}")]
    OtherProtocol {
        works_on: String,
        by: u32,
        wanted: &'static str,
        wanted_by: u32,
    },
    /// It belongs on the other kind of link, or comes from the other side.
    #[error("sent what only {0}")]
    Misplaced(&'static str),
    #[error("acknowledged what it was not given")]
    NotGiven,
    #[error("acknowledged what it had not begun")]
    NotBegun,
    #[error("acknowledged a run that cannot be")]
    NoRun,
    #[error("said what only its supervisor can know: {0}")]
    NotItsWord(Cause),
    #[error("sent no bytes where there have to be some")]
    NoBytes,
    #[error("asked for too much at once")]
    TooMuch,
    #[error("used the number of a request again")]
    NumberUsedAgain,
    #[error("sent no shared memory, or no socket: {0}")]
    NoFile(io::Error),
    #[error("named a socket that it has not sent")]
    UnsentSocket,
    #[error("sent a record without its shared memory")]
    UnsentSegment,
    #[error("sent a record of more than its shared memory")]
    BeyondSegment,
    #[error("cannot be woken: too few open files")]
    Unwakeable,
    #[error("cannot be sent shared memory or a word: {0}")]
    Unreachable(io::Error),
    #[error("cannot be listened to: {0}")]
    Unheard(io::Error),
}
