//! A worker as the broker knows it: the ways to it and from it, and who supervises it.

use std::fmt;
use std::sync::Arc;

use crate::link::Link;
use crate::link::local::LocalReader;
use crate::link::process::UplinkReader;
use crate::protocol::peer_error::PeerError;
use crate::protocol::scoreboard::Scoreboard;
use crate::sys::stderr::Stderr;
use dishrack_core::ledger::HolderId;

#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) link: Box<dyn Link>,
    /// The reader of a worker in another process; taken out while it is used.
    pub(crate) uplink: Option<UplinkReader>,
    /// The reader of a worker in this process.
    pub(crate) local: Option<LocalReader>,
    pub(crate) worker: Arc<str>,
    pub(crate) pid: u32,
    /// The end of what it wrote to stderr, if this process reads that.
    pub(crate) stderr: Option<Arc<Stderr>>,
    /// The code that can end it, if there is some.
    pub(crate) overseer: Option<Box<dyn Overseer>>,
}

impl Attachment {
    pub(super) fn board(&self) -> Option<&Scoreboard> {
        let local = self.local.as_ref().map(|local| local.queue.board());
        local.or_else(|| Some(self.uplink.as_ref()?.ring_pair.board()))
    }

    /// Returns `true` if the worker has done a good part of its deliveries.
    pub(super) fn is_worth_reading(&self) -> bool {
        let handed = self.link.handed();
        let local = self.local.as_ref();
        local.is_some_and(|local| local.is_worth_reading(handed))
            || self
                .uplink
                .as_ref()
                .is_some_and(|uplink| uplink.is_worth_reading(handed))
    }
}

/// The supervisor of one worker process. Its methods are called with the lock held and must not
/// wait.
pub(crate) trait Overseer: Send + fmt::Debug {
    /// Notes that the worker has had all its deliveries and is to be replaced.
    fn worn(&self);

    /// Notes that the delivery with this ordinal was cancelled. `is_spare`: it may as well be
    /// finished, if that takes no time.
    fn revoked(&self, ordinal: u64, is_spare: bool);

    /// Notes that the worker, which had nothing, was given something, where that was asked for.
    fn given(&self);

    /// Notes that the worker wrote something that makes no sense, and is to be ended.
    fn faulty(&self, why: PeerError);
}

/// A worker that is relied on, and its progress: the last delivery begun and the last one finished.
#[derive(Debug)]
pub(super) struct Reliance {
    pub(super) holder: HolderId,
    pub(super) progress: (u64, u64),
    pub(super) is_local: bool,
}
