//! The words and the memory that a supervisor, a worker and the fork server between them exchange.
//!
//! Both sides use these files, so that neither imports the other. They know the content and the
//! place of a record, but neither its reader nor its effect.

pub(crate) mod address;
pub(crate) mod channel;
pub(crate) mod doorbell;
pub(crate) mod endpoints;
pub(crate) mod frame;
pub(crate) mod orders;
pub(crate) mod peer_error;
pub(crate) mod ring;
pub(crate) mod ring_pair;
pub(crate) mod scoreboard;
pub(crate) mod segments;
pub(crate) mod stream;
