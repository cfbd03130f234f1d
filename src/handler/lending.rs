//! Large payloads that an item goes on reading.
//!
//! While an item is decoded and handled, this thread knows the place of its payload, so bytes of it
//! can be read there instead of being copied (see `Blob`). If it was sent by a supervisor, that reuses
//! the memory when the delivery is settled. If the payload is still read by then, the supervisor is
//! told to wait, and told again when the last reader is gone. One of this process stays by itself.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::payload::Payload;
use crate::protocol::segments::SegmentView;
use crate::sys::memory::PrivateMapping;

/// The owner of the memory that payloads lie in.
pub(crate) trait Owner: Send + Sync {
    /// Keeps the payload of this delivery, because it is read beyond the delivery's end.
    fn keep(&self, ordinal: u64);

    /// Releases the payload, because it is not read any more.
    fn release(&self, ordinal: u64);
}

/// One delivery's payload, for as long as it is read.
pub(crate) struct Pin {
    owner: Weak<dyn Owner>,
    ordinal: u64,
    /// True if the owner waits until this is dropped.
    is_kept: AtomicBool,
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Acquire)
            && let Some(owner) = self.owner.upgrade()
        {
            owner.release(self.ordinal);
        }
    }
}

/// A payload that may be lent to the item that is decoded from it.
#[derive(Clone)]
pub(crate) struct Lender(LentPayload);

#[derive(Clone)]
enum LentPayload {
    Sent { view: SegmentView, pin: Arc<Pin> },
    Own(Payload),
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = match &self.0 {
            LentPayload::Sent { view, .. } => view.len(),
            LentPayload::Own(payload) => payload.len(),
        };
        write!(f, "Lender({length} bytes)")
    }
}

impl Lender {
    pub(crate) fn new<O: Owner + 'static>(view: SegmentView, owner: &Arc<O>, ordinal: u64) -> Self {
        let owner: Weak<O> = Arc::downgrade(owner);
        let pin = Arc::new(Pin {
            owner,
            ordinal,
            is_kept: AtomicBool::new(false),
        });
        Lender(LentPayload::Sent { view, pin })
    }

    /// Makes one of a payload of this process, unless it is so small that a copy is better.
    pub(crate) fn of(payload: &Payload) -> Option<Self> {
        (!payload.is_small()).then(|| Lender(LentPayload::Own(payload.clone())))
    }

    /// Tells the owner, just before the delivery is settled, if its payload is still read.
    pub(crate) fn settle(self, owner: &dyn Owner) {
        if let LentPayload::Sent { pin, .. } = self.0
            && Arc::strong_count(&pin) > 1
        {
            owner.keep(pin.ordinal);
            // The last handle to be dropped, perhaps in this function, tells the owner.
            pin.is_kept.store(true, Ordering::Release);
        }
    }
}

thread_local! {
    static LENDER: RefCell<Option<Lender>> = const { RefCell::new(None) };
}

/// Runs `run` while the payload may be lent.
pub(crate) fn lending<R>(lender: Option<&Lender>, run: impl FnOnce() -> R) -> R {
    if lender.is_none() {
        return run();
    }
    /// Restores the lender before, also when `run` panics.
    struct Lending(Option<Lender>);
    impl Drop for Lending {
        fn drop(&mut self) {
            LENDER.set(self.0.take());
        }
    }
    let _lending = Lending(LENDER.replace(lender.cloned()));
    run()
}

/// Bytes that are read where they lie.
#[derive(Clone)]
pub(crate) enum Borrowed {
    Sent {
        view: SegmentView,
        _pin: Arc<Pin>,
    },
    Own {
        payload: Payload,
        bytes: Range<usize>,
    },
}

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Borrowed({} bytes)", self.len())
    }
}

impl Deref for Borrowed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Borrowed::Sent { view, .. } => view,
            Borrowed::Own { payload, bytes } => &payload[bytes.clone()],
        }
    }
}

impl Borrowed {
    /// Maps them anew, for this process to write to what nobody else sees; `None` if that cannot be.
    /// As long as the mapping exists, this must.
    pub(crate) fn to_private(&self) -> Option<PrivateMapping> {
        match self {
            Borrowed::Sent { view, .. } => view.to_private(),
            Borrowed::Own { payload, bytes } => payload.to_private(bytes.clone()),
        }
    }
}

/// Lends these bytes, if they are part of the payload that is being decoded in this thread.
pub(crate) fn borrow(bytes: &[u8]) -> Option<Borrowed> {
    LENDER.with_borrow(|lender| match &lender.as_ref()?.0 {
        LentPayload::Sent { view, pin } => Some(Borrowed::Sent {
            view: view.part(bytes)?,
            _pin: Arc::clone(pin),
        }),
        LentPayload::Own(payload) => Some(Borrowed::Own {
            bytes: payload.place_of(bytes)?,
            payload: payload.clone(),
        }),
    })
}
