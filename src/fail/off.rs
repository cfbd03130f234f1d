//! The points in a build that is not for tests: nothing happens there.

/// Passes a point of the program; the tests know what must hold before it and after it.
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}

/// Returns `true` if a test wants this fault.
#[inline(always)]
pub(crate) fn is_planted(_fault: &'static str) -> bool {
    false
}

/// Sets the role of this process.
#[inline(always)]
pub(crate) fn set_role(_worker: &str) {}

/// Notes that a thread begins its work, or goes on with it.
#[inline(always)]
pub(crate) fn thread_begins() {}
