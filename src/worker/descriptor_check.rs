//! Notices that a handler has closed this process's files, and with them the way to its supervisor.
//!
//! One file of our own stands for all, because code that closes what it does not own does so for
//! whole ranges. Its number is high, where it is not reused at once.

use std::os::fd::{IntoRawFd, RawFd};

use nix::libc;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;

/// The lowest number that the file may have.
const NUMBER_MIN: RawFd = 200;

#[derive(Debug)]
pub(super) struct DescriptorCheck(Option<RawFd>);

impl DescriptorCheck {
    /// Opens the file. Without a number to spare there is none, and nothing is noticed.
    pub(super) fn new() -> Self {
        let file = eventfd(0, EventfdFlags::CLOEXEC);
        let far = file.and_then(|file| fcntl_dupfd_cloexec(&file, NUMBER_MIN));
        DescriptorCheck(far.ok().map(IntoRawFd::into_raw_fd))
    }

    pub(super) fn is_alive(&self) -> bool {
        let Some(number) = self.0 else {
            return true;
        };
        // SAFETY: a system call that takes any number and changes nothing.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        flags != -1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_alive_until_it_is_closed() {
        let descriptor_check = DescriptorCheck::new();
        assert!(descriptor_check.is_alive());
        nix::unistd::close(descriptor_check.0.unwrap()).unwrap();
        assert!(!descriptor_check.is_alive());
    }
}
