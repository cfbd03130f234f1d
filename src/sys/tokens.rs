//! Tokens in a pipe that many processes share, each a byte.
//!
//! A process that is killed gives nothing back by itself. So a token is taken by moving it into a
//! second pipe, which another process has open too and can empty, and moving it is one system call
//! (`splice`): at every moment it is in one of the two. It is moved back in the same way, unless the
//! shared pipe might be left without room for others: each byte that is moved takes a buffer of the
//! pipe's, where those that are written share one. Then it is read and written, and a kill between
//! the two would lose it.
//!
//! The shared pipe's own flags are never changed: they are everybody's. This file does not know whose
//! tokens they are, nor what they are good for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::retry_on_intr;

/// The bytes of one of a pipe's buffers.
const BUFFER_BYTES: usize = 4096;

/// The size that the pipe for tokens in hand is to have: a buffer for each of 256.
const HAND_BYTES: i32 = 1 << 20;

/// The shared pipe, and the pipe with what this process has taken.
#[derive(Debug)]
pub(crate) struct TokenPipe {
    shared: SharedTokens,
    hand: [OwnedFd; 2],
    /// The most tokens that there may be in hand.
    most: usize,
    count: AtomicUsize,
}

/// The ends of the shared pipe.
#[derive(Debug)]
pub(crate) struct SharedTokens {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    /// True if there are no more of them than the pipe has buffers.
    pub(crate) are_few: bool,
}

impl SharedTokens {
    /// Takes the ends of a pipe with so many tokens in all, if their number is known.
    pub(crate) fn new(read: OwnedFd, write: OwnedFd, count: Option<usize>) -> Self {
        let buffers = buffers(read.as_fd());
        SharedTokens {
            are_few: count.is_some_and(|count| count <= buffers),
            read,
            write,
        }
    }
}

impl TokenPipe {
    pub(crate) fn new(shared: SharedTokens) -> io::Result<Self> {
        let (read, write) = std::io::pipe()?;
        fcntl_setfl(&read, OFlags::NONBLOCK)?;
        // It stays as it is where users may not have so much.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(HAND_BYTES));
        Ok(TokenPipe {
            shared,
            most: buffers(write.as_fd()),
            hand: [read.into(), write.into()],
            count: AtomicUsize::new(0),
        })
    }

    /// Takes a token, and returns `true`, if there is one and there is room for it.
    ///
    /// # Errors
    /// The shared pipe cannot be read.
    pub(crate) fn take(&self) -> io::Result<bool> {
        let [_, hand] = &self.hand;
        let is_taken = !self.is_full() && move_one(self.shared.read.as_fd(), hand.as_fd())?;
        if is_taken {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(is_taken)
    }

    /// Returns `true` if no more can be taken before some went back.
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.most
    }

    /// Gives a token back, if there is one in hand.
    ///
    /// # Errors
    /// The shared pipe cannot be written to.
    pub(crate) fn give_back(&self) -> io::Result<bool> {
        let [hand, _] = &self.hand;
        let is_given = match self.shared.are_few {
            true => move_one(hand.as_fd(), self.shared.write.as_fd())?,
            false => write_one(hand.as_fd(), self.shared.write.as_fd())?,
        };
        if is_given {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(is_given)
    }

    /// Returns a file that is readable while there are tokens to be taken.
    pub(crate) fn shared(&self) -> BorrowedFd<'_> {
        self.shared.read.as_fd()
    }

    /// Returns the files for another process that is to [give everything back](give_all_back): what
    /// is in hand can be read from the first, and is written to the second.
    ///
    /// # Errors
    /// No more files can be open.
    pub(crate) fn for_keeper(&self) -> io::Result<[OwnedFd; 2]> {
        let [hand, _] = &self.hand;
        Ok([hand.try_clone()?, self.shared.write.try_clone()?])
    }
}

/// Gives back all tokens that a process had in hand and left.
pub(crate) fn give_all_back(hand: BorrowedFd<'_>, shared: BorrowedFd<'_>) {
    // Nobody could be told of an error.
    while write_one(hand, shared).unwrap_or(false) {}
}

/// Moves a byte from one pipe to another without waiting, and returns `true` if there was one.
fn move_one(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let moved = retry_on_intr(|| {
        // SAFETY: both are open, and there are no offsets in pipes.
        let moved = unsafe {
            libc::splice(
                from,
                ptr::null_mut(),
                to,
                ptr::null_mut(),
                1,
                libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE,
            )
        };
        match moved {
            -1 => Err(rustix::io::Errno::from_raw_os_error(
                nix::errno::Errno::last_raw(),
            )),
            moved => Ok(moved),
        }
    });
    match moved {
        Ok(moved) => Ok(moved == 1),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads a byte from the one, which does not wait, and writes it to the other.
fn write_one(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut token = [0];
    match retry_on_intr(|| rustix::io::read(from, &mut token)) {
        Ok(1) => {}
        Ok(_) | Err(rustix::io::Errno::AGAIN) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    retry_on_intr(|| rustix::io::write(to, &token))?;
    Ok(true)
}

/// Returns the number of a pipe's buffers.
fn buffers(pipe: BorrowedFd<'_>) -> usize {
    let bytes = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).unwrap_or(0);
    usize::try_from(bytes).unwrap_or(0) / BUFFER_BYTES
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};

    use super::*;

    fn shared(tokens: &[u8], count: Option<usize>) -> (TokenPipe, std::io::PipeReader) {
        let (read, mut write) = pipe().unwrap();
        write.write_all(tokens).unwrap();
        let other = read.try_clone().unwrap();
        let shared = SharedTokens::new(read.into(), write.into(), count);
        (TokenPipe::new(shared).unwrap(), other)
    }

    #[test]
    fn tokens_go_back_as_they_were() {
        for count in [Some(3), None, Some(1000)] {
            let (tokens, mut others) = shared(b"abc", count);
            for _ in 0..3 {
                assert!(tokens.take().unwrap());
            }
            assert!(!tokens.take().unwrap(), "it does not wait");
            for _ in 0..3 {
                assert!(tokens.give_back().unwrap());
            }
            assert!(!tokens.give_back().unwrap());
            let mut back = [0; 3];
            others.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"abc");
        }
    }

    #[test]
    fn another_process_gives_back_what_is_in_hand() {
        let (tokens, mut others) = shared(b"++", None);
        assert!(tokens.take().unwrap() && tokens.take().unwrap());
        let [hand, shared] = tokens.for_keeper().unwrap();
        drop(tokens);
        give_all_back(hand.as_fd(), shared.as_fd());
        let mut back = [0; 2];
        others.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"++");
    }

    /// A pipe has 16 buffers, and whoever writes to one without room would wait.
    #[test]
    fn many_tokens_leave_room_for_those_of_others() {
        let many = [b'+'; 100];
        let (tokens, mut others) = shared(&many, Some(100));
        for _ in 0..100 {
            assert!(tokens.take().unwrap());
        }
        while tokens.give_back().unwrap() {}
        let mut back = [0; 100];
        others.read_exact(&mut back).unwrap();
        assert_eq!(back, many);
    }
}
