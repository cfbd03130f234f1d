//! Tests whose failure may be a hang: they fail when they take too long.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Lists tests as `trials!` does, for functions whose failure may be a hang.
#[macro_export]
macro_rules! timely_trials {
    ($($name:ident $(=> $call:expr)?),+ $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(
                libtest_mimic::Trial::test(
                    concat!(module_path!(), "::", stringify!($name)),
                    || { $crate::timely::in_time(|| $crate::call_of!($name $(=> $call)?)); Ok(()) },
                )
            ),+]
        }
    };
}

/// Far longer than any test takes, even on a busy machine.
const TIME: Duration = Duration::from_secs(300);

/// Runs a test in a thread of its own. One that hangs has failed, and its thread is left behind.
pub(crate) fn in_time(test: impl FnOnce() + Send + 'static) {
    let (sender, end) = channel();
    let running = std::thread::spawn(move || {
        test();
        // The receiver is gone if it took too long.
        let _ = sender.send(());
    });
    if end.recv_timeout(TIME) == Err(RecvTimeoutError::Timeout) {
        panic!("it hangs: no end within {TIME:?}");
    }
    if let Err(panic) = running.join() {
        resume_unwind(panic);
    }
}
