//! The child's side: being a worker process.
//!
//! [`serve`] is the one call at the beginning of `main`. In the supervisor's process it notes the
//! functions that workers may run, and returns. In a worker process it connects, runs deliveries,
//! acknowledges them, and ends the process. It knows nothing of scheduling or restarts.

pub(crate) mod boot;
mod context;
pub(crate) mod current;
mod descriptor_check;
mod handling;
mod inbox;
pub(crate) mod keeper;
mod orphan;
pub(crate) mod roles;
pub(crate) mod session;
pub(crate) mod stopping;
mod uplink;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use context::{context, take_context_file};
pub use current::slot;
pub use roles::Roles;
use session::Session;

use crate::handler::{copies, held};
use crate::sys::{exit, title};

/// Names the functions that worker processes may run, and serves them.
///
/// Call it first thing in `main`, before threads, arguments and files: in a worker process it never
/// returns. Every worker process repeats what the program does before it; for forked workers, the
/// fork server does it once. A program that forgets the call gets an error from
/// [`Supervisor`](crate::Supervisor), and starts nothing.
///
/// # Example
///
/// ```no_run
/// fn dry(dish: String) -> Result<usize, String> {
///     Ok(dish.len())
/// }
///
/// fn main() -> Result<(), dishrack::Error> {
///     dishrack::serve(|roles| roles.handler(dry));
///     let queue = dishrack::JoinableQueue::unbounded();
///     let pool = dishrack::Supervisor::builder().processes(2).handler(&queue, dry)?;
///     queue.put("dish-1")?;
///     queue.join()?;
///     pool.stop();
///     Ok(())
/// }
/// ```
pub fn serve(register: impl FnOnce(&mut Roles)) {
    if let Some(code) = keeper::serve() {
        exit::with(code);
    }
    roles::register(register);
    if let Some(call) = boot::call() {
        exit::with(boot::answer(call));
    }
}

/// Shows in the process title what this worker is doing: `ps` prints its name and this text.
///
/// The title stays until the worker is idle. It costs no system call. Elsewhere this does nothing.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor, describe};
///
/// fn dry(dishes: Vec<String>) -> Result<(), String> {
///     for (n, dish) in (1..).zip(&dishes) {
///         // `ps` shows of a process: dryer-1 dries the cup, 1 of 2
///         describe(format_args!("dries the {dish}, {n} of {}", dishes.len()));
///     }
///     Ok(())
/// }
/// let rack = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(1).name("dryer").handler(&rack, dry)?;
/// rack.put(&vec!["cup".to_owned(), "plate".to_owned()])?;
/// assert_eq!(rack.join()?.done, 1);
/// # Ok::<(), dishrack::Error>(())
/// ```
pub fn describe(activity: impl fmt::Display) {
    title::set_activity(&activity);
}

/// Runs one role until there is no more work. Returns the exit code.
///
/// A panic of a loop that holds an item is charged to the item, as for a handler, and the loop is
/// run again. A panic without an item ends the process.
fn run(role: &roles::Role, session: &Arc<Session>) -> i32 {
    held::end_with_process();
    loop {
        let outcome = catch_unwind(AssertUnwindSafe(|| (role.run)(session)));
        copies::end_copy();
        match outcome {
            Ok(()) => held::give_back(),
            Err(_) => held::charge_all(),
        }
        session.flush();
        match outcome {
            Ok(()) => return 0,
            Err(_) if held::take_panics() > 0 => {}
            Err(_) => return exit::PANICKED,
        }
    }
}
