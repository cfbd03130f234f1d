//! The face that workers of any kind have for their supervisor: processes, threads, tasks, or nobody.

use std::fmt;
use std::time::Duration;

use super::{PoolStatus, WorkerInfo};
use crate::broker::Deadline;
use crate::error::Kind;

/// Stops a supervisor's workers, whatever they are.
pub(super) trait Pool: Send + Sync + fmt::Debug {
    /// Lets every worker finish what it has started, within its grace, and waits for the end.
    fn stop(&self);

    /// As [`stop`](Self::stop), but with as much time as they need. Only processes can be waited
    /// for like that.
    fn drain(&self) {
        self.stop();
    }

    /// Ends the workers at once, as far as they can be, and waits for that.
    fn kill(&self);

    /// Has the workers stand still until [`resume`](Self::resume), where they do not anyway when
    /// this process does.
    fn suspend(&self) {}

    /// Has them go on. The time in between counts for no limit.
    fn resume(&self) {}

    /// A child of this process has ended that nobody may be waiting for.
    fn reap_orphans(&self) {}

    /// Closes the files that are kept here for workers. Only processes are given some.
    fn close_context_files(&self) {}

    /// Returns `true` if whoever supervises the workers answers within this time. Without a thread
    /// that does so there is nobody to ask.
    fn is_responsive(&self, _time: Duration) -> bool {
        true
    }

    /// The workers that are ready.
    fn workers(&self) -> Vec<WorkerInfo>;

    /// Makes it so many workers, and waits until it is so.
    fn scale(&self, workers: usize, deadline: Deadline) -> Result<(), Kind>;

    /// Replaces all workers, and waits until that is done.
    fn reload(&self, deadline: Deadline) -> Result<(), Kind>;

    /// Ends the process of the worker of this name, which is started again, and waits for its end.
    fn end_worker(&self, name: &str) -> Result<(), Kind>;

    /// Replaces the worker of this name, and waits until that is done.
    fn replace_worker(&self, name: &str) -> Result<(), Kind>;

    /// Waits until it has no workers any more. Returns `false` if the time is over first.
    fn wait_until_over(&self, deadline: Deadline) -> bool;

    /// Waits until each worker has a process, or is over. Returns `false` if the time is over first.
    fn wait_until_started(&self, _deadline: Deadline) -> bool {
        true
    }

    /// The pool, and all its workers.
    fn status(&self) -> PoolStatus;
}
