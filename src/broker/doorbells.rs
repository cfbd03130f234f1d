//! The things that threads sleep on until something has changed. They do not know what that is.

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Condvar;

/// The doorbells of all sleepers. Each is rung when there is something for its sleepers.
#[derive(Debug, Default)]
pub(super) struct Doorbells {
    pub(super) room: Condvar,
    pub(super) items: Condvar,
    pub(super) settled: Condvar,
    pub(super) durable: Condvar,
    /// For those that wait for the end of one item, or for the beginning of a pause.
    pub(super) ends: Condvar,
    /// For the fetcher and the listener of a stream.
    pub(super) fetcher: Condvar,
    pub(super) listener: Condvar,
}

impl Doorbells {
    pub(super) fn notify_all(&self) {
        self.room.notify_all();
        self.items.notify_all();
        self.settled.notify_all();
        self.durable.notify_all();
        self.ends.notify_all();
        self.fetcher.notify_all();
        self.listener.notify_all();
    }
}

/// The doorbell of the thread that tells what has changed: a journal's committer, or a stream's
/// publisher. When it is dropped, the thread ends.
#[derive(Debug)]
pub(super) struct WriterDoorbell(Sender<()>);

impl WriterDoorbell {
    pub(super) fn channel() -> (Self, Receiver<()>) {
        let (sender, calls) = bounded(1);
        (WriterDoorbell(sender), calls)
    }

    pub(super) fn ring(&self) {
        // It is full if the thread was called already, and disconnected where there is none.
        let _ = self.0.try_send(());
    }
}
