//! Payloads in shared memory that an item's own bytes go on reading.
//!
//! While an item is decoded and handled, this thread knows where its payload lies, so that bytes of it need not
//! be copied but can be read there (see `Blob`). The supervisor uses the memory again when the
//! delivery is settled; if something still reads there by then it is told to wait, and told again
//! when nothing does.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::protocol::segments::View;

/// Whose memory a payload lies in.
pub(crate) trait Owner: Send + Sync {
    /// Something reads the payload of this delivery beyond its end.
    fn keep(&self, ordinal: u64);

    /// Nothing reads it any more.
    fn release(&self, ordinal: u64);
}

/// One delivery's payload, as long as anything reads it.
struct Pin {
    owner: Weak<dyn Owner>,
    ordinal: u64,
    /// The supervisor waits until this is gone.
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
    view: View,
    pin: Arc<Pin>,
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lender({} bytes)", self.view.len())
    }
}

impl Lender {
    pub(crate) fn new<O: Owner + 'static>(view: View, owner: &Arc<O>, ordinal: u64) -> Self {
        let owner: Weak<O> = Arc::downgrade(owner);
        let pin = Arc::new(Pin {
            owner,
            ordinal,
            is_kept: AtomicBool::new(false),
        });
        Lender { view, pin }
    }

    /// The delivery is about to be settled: if something still reads its payload, the supervisor is
    /// told so.
    pub(crate) fn settle(self, owner: &dyn Owner) {
        if Arc::strong_count(&self.pin) > 1 {
            owner.keep(self.pin.ordinal);
            // Whoever drops the last handle, perhaps this function, says when it is over.
            self.pin.is_kept.store(true, Ordering::Release);
        }
    }
}

thread_local! {
    static LENDER: RefCell<Option<Lender>> = const { RefCell::new(None) };
}

/// Runs this while the payload may be lent.
pub(crate) fn lending<R>(lender: Option<&Lender>, run: impl FnOnce() -> R) -> R {
    if lender.is_none() {
        return run();
    }
    /// Takes it back, also when what runs panics.
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
pub(crate) struct Loan {
    view: View,
    _pin: Arc<Pin>,
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({} bytes)", self.view.len())
    }
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.view
    }
}

/// Lends these bytes, if they are part of the payload that is just decoded in this thread.
pub(crate) fn borrow(bytes: &[u8]) -> Option<Loan> {
    LENDER.with_borrow(|lender| {
        let lender = lender.as_ref()?;
        Some(Loan {
            view: lender.view.part(bytes)?,
            _pin: Arc::clone(&lender.pin),
        })
    })
}
