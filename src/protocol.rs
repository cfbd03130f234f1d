//! What two processes of a pool say to each other, and by what: the supervisor and a worker, or the fork
//! server between them.
//!
//! Both sides are built of the same files, so that neither imports the other. It knows what a record
//! says and where it lies, and nothing of who reads it or what follows.

pub(crate) mod channel;
pub(crate) mod doorbell;
pub(crate) mod endpoints;
pub(crate) mod frame;
pub(crate) mod orders;
pub(crate) mod ring;
pub(crate) mod ring_pair;
pub(crate) mod scoreboard;
pub(crate) mod segments;
