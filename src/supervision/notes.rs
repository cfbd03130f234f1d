//! The channel of notes to the supervising thread, and the wake-up for it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::eventfd::EventFd;
use parking_lot::Mutex;

use crate::broker::Overseer;
use crate::protocol::peer_error::PeerError;
use crate::sys::delegated::BoundedGroup;
use dishrack_core::ledger::{Exit, HolderId};
use dishrack_core::pool::scaler::Shortfall;

/// A worker's slot, and one of its lives. News of an earlier life is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) slot: usize,
    pub(super) number: u64,
}

/// A life's place at the queue. Its reader takes it, and the release of its deliveries ends it. If
/// the end comes first, the place cannot be taken any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Registration(Arc<Mutex<RegistrationState>>);

#[derive(Debug, Default)]
enum RegistrationState {
    #[default]
    Free,
    Taken(HolderId),
    Void,
}

impl Registration {
    /// Takes the place, unless its life is over.
    pub(super) fn take(&self, attach: impl FnOnce() -> HolderId) -> Option<HolderId> {
        let mut place = self.0.lock();
        match *place {
            RegistrationState::Free => {
                let holder = attach();
                *place = RegistrationState::Taken(holder);
                Some(holder)
            }
            RegistrationState::Taken(_) | RegistrationState::Void => None,
        }
    }

    pub(super) fn holder(&self) -> Option<HolderId> {
        match *self.0.lock() {
            RegistrationState::Taken(holder) => Some(holder),
            RegistrationState::Free | RegistrationState::Void => None,
        }
    }

    /// Ends the place if nobody has taken it. Returns `false` if somebody has.
    pub(super) fn end_if_free(&self) -> bool {
        let mut place = self.0.lock();
        let is_free = matches!(*place, RegistrationState::Free);
        if is_free {
            *place = RegistrationState::Void;
        }
        is_free
    }

    /// Ends the place, and returns its holder.
    pub(super) fn end(&self) -> Option<HolderId> {
        match std::mem::replace(&mut *self.0.lock(), RegistrationState::Void) {
            RegistrationState::Taken(holder) => Some(holder),
            RegistrationState::Free | RegistrationState::Void => None,
        }
    }
}

/// The end of an order to a fork server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrderEnd {
    /// The worker has this pid.
    Born(u32),
    /// The fork server died, like this, without having answered.
    Lost(Exit),
    /// There is no worker, for this reason.
    Refused(String),
}

#[derive(Debug)]
pub(super) enum Note {
    /// A worker is ready and has its place at the queue.
    Ready {
        life: Life,
        pid: u32,
        /// The control group that holds it and all that it starts to its items' limit of memory, if there is one.
        group: Option<BoundedGroup>,
    },
    /// A worker's channel was read to the end, or was given up for this reason.
    LinkClosed {
        life: Life,
        why: Option<String>,
    },
    /// This became of the order to fork a worker.
    Forked {
        life: Life,
        end: OrderEnd,
    },
    /// A worker has reached a bound.
    Worn {
        life: Life,
    },
    /// A delivery that a worker has was cancelled.
    Revoked {
        life: Life,
        ordinal: u64,
        is_spare: bool,
    },
    /// A worker that had nothing was given something.
    Given {
        life: Life,
    },
    /// A worker wrote an invalid record.
    Faulty {
        life: Life,
        why: String,
    },
    /// All workers must be suspended. The channel ends when they have been told.
    Suspend(Sender<()>),
    /// All workers must go on.
    Resume,
    /// Somebody asks whether the thread is alive. The channel ends with the answer.
    Answer(Sender<()>),
    /// The files that workers are given are not needed any more.
    CloseContextFiles,
    /// There must be this many workers. The channel takes the result.
    Scale {
        workers: usize,
        told: ChangeSender,
    },
    /// All workers must be replaced. The channel takes the result.
    Reload {
        told: ChangeSender,
    },
    /// The worker of this name must be replaced. The channel takes the result.
    Replace {
        name: String,
        told: ChangeSender,
    },
    /// The worker of this name must end, and is started again. The channel takes the result.
    End {
        name: String,
        told: ChangeSender,
    },
    Stop,
    Drain,
    Kill,
}

/// Takes the result of a change. It is dropped without one when the workers are over.
pub(super) type ChangeSender = Sender<Result<(), Shortfall>>;

#[derive(Debug, Clone)]
pub(super) struct NoteSender {
    sender: Sender<Note>,
    waker: Arc<EventFd>,
}

impl NoteSender {
    pub(super) fn channel(waker: Arc<EventFd>) -> (Self, Receiver<Note>) {
        let (sender, receiver) = unbounded();
        (NoteSender { sender, waker }, receiver)
    }

    /// Passes the note on. After the supervising thread's end it is dropped.
    pub(super) fn post(&self, note: Note) {
        if self.sender.send(note).is_ok() {
            self.wake();
        }
    }

    /// Wakes the thread, so that it looks at its notes.
    pub(super) fn wake(&self) {
        // This fails only if the counter is full, and then the thread is being woken anyway.
        let _ = self.waker.write(1);
    }
}

/// Passes the broker's news of one life to the supervising thread.
#[derive(Debug)]
pub(super) struct LifeOverseer {
    pub(super) life: Life,
    pub(super) notes: NoteSender,
}

impl Overseer for LifeOverseer {
    fn worn(&self) {
        let life = self.life;
        self.notes.post(Note::Worn { life });
    }

    fn revoked(&self, ordinal: u64, is_spare: bool) {
        let life = self.life;
        self.notes.post(Note::Revoked {
            life,
            ordinal,
            is_spare,
        });
    }

    fn given(&self) {
        let life = self.life;
        self.notes.post(Note::Given { life });
    }

    fn faulty(&self, why: PeerError) {
        let life = self.life;
        let why = why.to_string();
        self.notes.post(Note::Faulty { life, why });
    }
}
