//! The result of an item, and how two of them are compared where several copies of an item are made.
//! It is not known here what a result is.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::payload::Payload;
use dishrack_core::ledger::{Ballot, Cause, ItemId, Scene};

/// The result of an item, and its place.
#[derive(Debug)]
pub(crate) struct Product {
    pub(super) result: Payload,
    /// The place and the time, if events of single items are wanted.
    pub(super) scene: Option<Scene>,
    /// The program's own way to compare it with that of another copy, if there is one.
    pub(super) comparison: Option<Arc<Comparison>>,
}

/// A copy of an item that came to another result than the one that counts. One of the two is wrong.
///
/// # Example
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::Duration;
/// use dishrack::{Copies, JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// // Two are asked, and a third one where they disagree. One is wrong, the first time.
/// let copies = Copies::agree(2, 3).hedge_after(Duration::from_secs(3600));
/// let is_first = AtomicBool::new(true);
/// let square = move |n: u32| Ok::<_, String>(if is_first.swap(false, Ordering::Relaxed) { 0 } else { n * n });
/// let pool = Supervisor::builder().threads(3).copies(copies).compare(u32::eq).handler(&queue, square)?;
/// assert_eq!(pool.map([4]).next().unwrap().unwrap(), 16);
/// let wrong = &queue.take_disagreements()?[0];
/// assert_eq!((&*wrong.said, &*wrong.counted), ("0", "16"));
/// println!("look at {} (pid {})", wrong.worker, wrong.pid);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disagreement {
    /// The item.
    pub id: ItemId,
    /// The number of the attempt.
    pub attempt: u32,
    /// The number of the copy: 1 for the first.
    pub copy: u32,
    /// Its worker's name.
    pub worker: Arc<str>,
    /// The worker's process; this one for threads.
    pub pid: u32,
    /// Its result, in a few words.
    pub said: String,
    /// The result that counts.
    pub counted: String,
}

/// The number of bytes of a result that are shown to people.
const SHOWN_BYTES: usize = 32;

/// Returns `true` if two results are taken for the same.
type Agree = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// Returns a result in a few words.
type Describe = Box<dyn Fn(&[u8]) -> String + Send + Sync>;

/// Returns the cause, if a result says that the attempt has failed.
type Failing = Box<dyn Fn(&[u8]) -> Option<Cause> + Send + Sync>;

/// The program's own way to compare two results, and to show one to people.
pub(crate) struct Comparison {
    pub(crate) agree: Agree,
    pub(crate) describe: Describe,
    /// Tells failures that can be compared, if there are some.
    pub(crate) failing: Option<Failing>,
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison").finish_non_exhaustive()
    }
}

impl Ballot for Product {
    /// Compares the program's way, or byte for byte. Where that panics they do not agree: the lock
    /// is held, and an answer is needed.
    fn agrees(&self, other: &Self) -> bool {
        let (one, other): (&[u8], &[u8]) = (&self.result, &other.result);
        match &self.comparison {
            None => one == other,
            Some(comparison) => {
                let agree = || (comparison.agree)(one, other);
                catch_unwind(AssertUnwindSafe(agree)).unwrap_or(false)
            }
        }
    }

    fn describe(&self) -> String {
        let described = self.comparison.as_ref().and_then(|comparison| {
            let describe = || (comparison.describe)(&self.result);
            catch_unwind(AssertUnwindSafe(describe)).ok()
        });
        described.unwrap_or_else(|| describe_bytes(&self.result))
    }

    fn failure(&self) -> Option<Cause> {
        let failing = self.comparison.as_ref()?.failing.as_ref()?;
        failing(&self.result)
    }
}

/// Returns the bytes, or the first of them, as far as they can be printed.
fn describe_bytes(bytes: &Payload) -> String {
    let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
    match bytes.len() {
        0 => "done".to_owned(),
        1..=SHOWN_BYTES => format!("\"{shown}\""),
        length => format!("\"{shown}...\" ({length} bytes)"),
    }
}
