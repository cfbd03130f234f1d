//! Payloads in shared memory that an item goes on reading.
//!
//! While an item is decoded and handled, this thread knows the place of its payload, so bytes of it
//! can be read there instead of being copied (see `Blob`). The supervisor reuses the memory when
//! the delivery is settled. If the payload is still read by then, the supervisor is told to wait,
//! and told again when the last reader is gone.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::protocol::segments::SegmentView;

/// The owner of the memory that payloads lie in.
pub(crate) trait Owner: Send + Sync {
    /// Keeps the payload of this delivery, because it is read beyond the delivery's end.
    fn keep(&self, ordinal: u64);

    /// Releases the payload, because it is not read any more.
    fn release(&self, ordinal: u64);
}

/// One delivery's payload, for as long as it is read.
struct Pin {
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
pub(crate) struct Lender {
    view: SegmentView,
    pin: Arc<Pin>,
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lender({} bytes)", self.view.len())
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
        Lender { view, pin }
    }

    /// Tells the owner, just before the delivery is settled, if its payload is still read.
    pub(crate) fn settle(self, owner: &dyn Owner) {
        if Arc::strong_count(&self.pin) > 1 {
            owner.keep(self.pin.ordinal);
            // The last handle to be dropped, perhaps in this function, tells the owner.
            self.pin.is_kept.store(true, Ordering::Release);
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
pub(crate) struct Borrowed {
    view: SegmentView,
    _pin: Arc<Pin>,
}

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Borrowed({} bytes)", self.view.len())
    }
}

impl Deref for Borrowed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.view
    }
}

/// Lends these bytes, if they are part of the payload that is being decoded in this thread.
pub(crate) fn borrow(bytes: &[u8]) -> Option<Borrowed> {
    LENDER.with_borrow(|lender| {
        let lender = lender.as_ref()?;
        Some(Borrowed {
            view: lender.view.part(bytes)?,
            _pin: Arc::clone(&lender.pin),
        })
    })
}
