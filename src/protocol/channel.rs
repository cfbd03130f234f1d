//! An end of a channel of ipc-channel on a socket that two processes have in common already.
//!
//! ipc-channel takes a channel into another process by a socket that has a name in the temporary
//! folder, and it makes no end of a socket that is there already. But an end is to it no more than
//! the number of a descriptor. So a new channel's end is made, and what has its number is replaced
//! by our socket: from then on it is the end of a channel between these two processes, and nothing
//! had a name.
//!
//! The number stands in what the end says of itself (`Debug`). That is no promise of ipc-channel's,
//! whose version is pinned, and is looked at before anything is replaced: a descriptor that is no
//! such socket stays. It knows nothing of what travels.

use std::fmt::Debug;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use rustix::io::{DupFlags, dup3};
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use serde::{Deserialize, Serialize};

use crate::sys::descriptors::DescriptorSocket;

/// The end that sends what the other process receives.
pub(crate) fn sender_on<M>(socket: &DescriptorSocket) -> io::Result<IpcSender<M>>
where
    M: Debug + Serialize + for<'de> Deserialize<'de>,
{
    let (sender, _) = ipc::channel()?;
    replace(&sender, socket)?;
    Ok(sender)
}

/// The end that receives it.
pub(crate) fn receiver_on<M>(socket: &DescriptorSocket) -> io::Result<IpcReceiver<M>>
where
    M: Debug + Serialize + for<'de> Deserialize<'de>,
{
    let (_, receiver) = ipc::channel()?;
    replace(&receiver, socket)?;
    Ok(receiver)
}

/// Puts our socket in the place of the one that this end was made with.
fn replace(end: &impl Debug, socket: &DescriptorSocket) -> io::Result<()> {
    let number = number_of(end).ok_or_else(|| io::Error::other("a channel without a number"))?;
    // SAFETY: only looked at; where no file has this number the first call says so.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    if socket_domain(file)? != AddressFamily::UNIX || socket_type(file)? != SocketType::SEQPACKET {
        return Err(io::Error::other("a channel that is no socket"));
    }
    // SAFETY: the number is the end's own, which is borrowed, and stays its own: it is not closed
    // here, and has a file at every moment.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(dup3(socket, &mut place, DupFlags::CLOEXEC)?)
}

/// The number of an end's descriptor: the only one in what it says of `fd`.
fn number_of(end: &impl Debug) -> Option<RawFd> {
    let said = format!("{end:?}");
    let (_, said) = said.split_once("fd: ")?;
    // What follows names the type of the messages, in which there may be digits, too.
    let said = said.split([')', '}']).next()?;
    let digits = said.trim_matches(|c: char| !c.is_ascii_digit());
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails where another version of ipc-channel says something else of itself.
    #[test]
    fn a_channel_goes_over_a_socket_that_is_there() {
        let (ours, theirs) = DescriptorSocket::pair().unwrap();
        let sender = sender_on::<(u32, IpcSender<u8>)>(&ours).unwrap();
        let receiver = receiver_on::<(u32, IpcSender<u8>)>(&theirs).unwrap();
        let (reply, answer) = ipc::channel().unwrap();
        sender.send((7, reply)).unwrap();
        ours.send(&8_u32, &[]).unwrap();
        drop((sender, ours));
        let (number, reply) = receiver.recv().unwrap();
        assert_eq!(number, 7);
        reply.send(9).unwrap();
        assert_eq!(answer.recv().unwrap(), 9);
        // What is sent on the socket itself comes in its turn.
        assert_eq!(theirs.receive::<u32>().unwrap().unwrap().message, 8);
        assert!(receiver.recv().is_err(), "the other end is gone");
    }

    #[test]
    fn the_number_is_that_of_the_descriptor() {
        let (sender, receiver) = ipc::channel::<[u8; 3]>().unwrap();
        let numbers = [number_of(&sender).unwrap(), number_of(&receiver).unwrap()];
        assert_ne!(numbers[0], numbers[1]);
        for number in numbers {
            let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
            assert!(link.to_string_lossy().starts_with("socket:"), "{link:?}");
        }
        assert_eq!(number_of(&"fd: none"), None);
    }
}
