//! Threads of our own: their names, and what becomes of a panic in one, which is a bug.

#[cfg(feature = "cli")]
pub(crate) mod owner;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::thread;

use crate::fail;

/// The name of the threads of the control API, which begin no work of their own.
pub(crate) const CONTROL: &str = "control";

/// Hears of panics, in words, and ends the process.
static HEARER: OnceLock<fn(String)> = OnceLock::new();

/// Begins a thread of this name, which `ps` shows and nobody waits for.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(|| watch(run)).map(drop)
}

/// Does the work of a thread; whoever has the process hears of a panic in it.
pub(crate) fn watch(work: impl FnOnce()) {
    catch(work, |why| {
        tell(why);
    });
}

/// Tells whoever has the process of a panic. Returns `true` if the process ends now.
pub(crate) fn tell(why: String) -> bool {
    let hearer = HEARER.get();
    hearer.inspect(|hear| hear(why)).is_some()
}

/// Does the work of a thread. After a panic in it `end` is called with that, in words.
pub(crate) fn catch(work: impl FnOnce(), end: impl FnOnce(String)) {
    let work = || {
        fail::thread_begins();
        work();
    };
    attempt(work).unwrap_or_else(end);
}

/// Does something; a panic in it is an error, in words.
pub(crate) fn attempt<R>(act: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| in_words(&*panic))
}

/// Says that this thread has panicked.
pub(crate) fn in_words(panic: &(dyn Any + Send)) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    format!("the thread {name} panicked: {}", message_of(panic))
}

/// Returns the text of a panic.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
