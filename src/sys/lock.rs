//! Locks on open files (flock(2)), which end with their process, however that ends. The module does
//! not know who may have a lock, nor the message for those who may not.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The longest time that the lock of a killed process lives on: until the kernel has come to it,
/// and, if that process had just forked, until the child executes its program.
pub(crate) const AFTERLIFE: Duration = Duration::from_secs(1);

/// Tries to take the lock. Returns `false` if another open file has it.
pub(crate) fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Tries to take a lock until it succeeds, fails, or exceeds the time, which is asked for each try.
pub(crate) fn take_in_time<T>(
    mut time: impl FnMut() -> Duration,
    mut take: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let began = Instant::now();
    loop {
        let taken = take();
        if !matches!(taken, Ok(None)) || began.elapsed() > time() {
            return taken;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: FlockOperation = FlockOperation::NonBlockingLockExclusive;

    #[test]
    fn a_lock_is_taken_when_it_is_given_up_and_waited_for_no_longer_than_told() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("file")).unwrap();
        let (mut first, second) = (Some(open()), open());
        assert!(try_lock(first.as_ref().unwrap(), ALONE).unwrap());
        let take = || Ok(try_lock(&second, ALONE)?.then_some(()));
        assert_eq!(take_in_time(|| Duration::ZERO, take).unwrap(), None);
        // The other holder gives it up during the wait.
        let time = || {
            first = None;
            AFTERLIFE
        };
        assert_eq!(take_in_time(time, take).unwrap(), Some(()));
    }
}
