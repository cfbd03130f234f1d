//! Reads and writes that wait, even if the open file was made non-blocking. A process that shares
//! stdin, stdout or stderr with us may have done that at any time, and the flag belongs to the open
//! file, so it must not be taken back either. The module knows nothing of the content.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

/// A stream whose calls wait until there is something to read, or room.
#[derive(Debug)]
pub(crate) struct Blocking<T>(pub(crate) T);

impl<T: AsFd> Blocking<T> {
    /// Repeats the call until it does not ask to wait.
    pub(crate) fn until_done<R>(
        &mut self,
        flags: PollFlags,
        mut call: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match call(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // After a signal or a hang-up, the next call says which.
                    match poll(&mut [PollFd::new(&self.0, flags)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                result => return result,
            }
        }
    }
}

impl<T: AsFd + Read> Read for Blocking<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.until_done(PollFlags::IN, |stream| stream.read(bytes))
    }
}

impl<T: AsFd + Write> Write for Blocking<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_done(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.until_done(PollFlags::OUT, T::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::io::ioctl_fionbio;

    use super::*;

    #[test]
    fn a_non_blocking_pipe_is_waited_for_at_both_ends() {
        let (reader, writer) = io::pipe().unwrap();
        ioctl_fionbio(&reader, true).unwrap();
        ioctl_fionbio(&writer, true).unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writing = thread::spawn(move || Blocking(writer).write_all(&sent));
        let mut read = Vec::new();
        Blocking(reader).read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert!(read == expected);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        ioctl_fionbio(&writer, true).unwrap();
        let writing = thread::spawn(move || Blocking(writer).write_all(&[0; 1_000_000]));
        // It blocks only once the pipe is full.
        while rustix::io::ioctl_fionread(&reader).unwrap() < 65536 {
            thread::yield_now();
        }
        drop(reader);
        let error = writing.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
