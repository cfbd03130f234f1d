//! For a program that waits for all its children: those that others left to it.

use super::Supervisor;
pub(crate) use super::reap::are_adopted;

impl<T, R> Supervisor<T, R> {
    /// Waits for those who were left to this process and have ended.
    pub(crate) fn reap_orphans(&self) {
        self.pool.reap_orphans();
    }
}
