//! The open files that this process has inherited from whoever started it, such as locks and pipes.

use std::os::fd::RawFd;

use nix::libc;

use super::program::close_range;

/// Has no program that this process executes from now on have another of its open files than the
/// standard streams.
pub(crate) fn keep_from_programs() {
    if close_range(3, libc::CLOSE_RANGE_CLOEXEC).is_ok() {
        return;
    }
    // A kernel before 5.11.
    let entries = std::fs::read_dir("/proc/self/fd");
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number: &RawFd| *number > 2) {
            // SAFETY: it changes only what becomes of the file at the next exec.
            let _ = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}
