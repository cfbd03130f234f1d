//! The files that make a process a certain worker, sent next to its assignment.
//!
//! A spawned worker already has its socket and its stderr. A forked one is sent them too, by way of
//! the fork server, which passes everything on to its worker. None is sent another's files.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sys::descriptors::{Datagram, DescriptorSocket, FILES_MAX};
use crate::sys::memory::ReadableMapping;

/// The list of the files that follow the ring pair, in this order. The number is the assignment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    number: u64,
    has_context: bool,
    has_socket: bool,
    has_stderr: bool,
    /// The number of files that the program gives its workers.
    files: usize,
}

/// The greatest number of files that a program can give its workers: what a message can hold beside the
/// others.
pub(crate) const CONTEXT_FILES_MAX: usize = FILES_MAX - 4;

#[derive(Debug)]
pub(crate) struct Endpoints {
    /// The number of the assignment that they belong to.
    pub(crate) number: u64,
    /// Its memory (see `protocol::ring_pair`).
    pub(crate) ring_pair: OwnedFd,
    /// The context that all workers of the pool are given.
    pub(crate) context: Option<Arc<OwnedFd>>,
    /// The files that the program gives all workers of the pool.
    pub(crate) files: Vec<Arc<OwnedFd>>,
    /// Its end of the socket to the supervisor, for a forked worker.
    pub(crate) socket: Option<DescriptorSocket>,
    /// The file that its stderr goes to, for a forked worker.
    pub(crate) stderr: Option<OwnedFd>,
}

impl Endpoints {
    /// Sends the endpoints, at once or not at all.
    pub(crate) fn send(&self, by: &DescriptorSocket) -> io::Result<()> {
        let manifest = Manifest {
            number: self.number,
            has_context: self.context.is_some(),
            has_socket: self.socket.is_some(),
            has_stderr: self.stderr.is_some(),
            files: self.files.len(),
        };
        let mut files: Vec<BorrowedFd<'_>> = vec![self.ring_pair.as_fd()];
        files.extend(self.context.as_deref().map(AsFd::as_fd));
        files.extend(self.socket.as_ref().map(AsFd::as_fd));
        files.extend(self.stderr.as_ref().map(AsFd::as_fd));
        files.extend(self.files.iter().map(|file| file.as_fd()));
        by.send(&manifest, &files)
    }

    /// Receives the endpoints with this number, which were sent before. Earlier ones were for a
    /// worker that was never ordered, and are dropped.
    pub(crate) fn receive(by: &DescriptorSocket, number: u64) -> io::Result<Self> {
        loop {
            let datagram: Option<Datagram<Manifest>> = by.receive()?;
            let Datagram { message, files } = datagram.ok_or(io::ErrorKind::UnexpectedEof)?;
            if message.number == number {
                return Endpoints::of(message, files);
            }
        }
    }

    fn of(manifest: Manifest, files: Vec<OwnedFd>) -> io::Result<Self> {
        let mut files = files.into_iter();
        let mut next = |is_there: bool| match is_there {
            true => files.next().ok_or(io::ErrorKind::InvalidData).map(Some),
            false => Ok(None),
        };
        Ok(Endpoints {
            number: manifest.number,
            ring_pair: next(true)?.ok_or(io::ErrorKind::InvalidData)?,
            context: next(manifest.has_context)?.map(Arc::new),
            socket: next(manifest.has_socket)?.map(DescriptorSocket::of),
            stderr: next(manifest.has_stderr)?,
            files: (0..manifest.files)
                .map(|_| Ok(next(true)?.ok_or(io::ErrorKind::InvalidData)?.into()))
                .collect::<io::Result<_>>()?,
        })
    }

    pub(crate) fn map_context(&self) -> io::Result<Option<ReadableMapping>> {
        self.context.as_ref().map(ReadableMapping::map).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory;

    #[test]
    fn each_file_arrives_in_its_place() {
        let (ours, theirs) = DescriptorSocket::pair().unwrap();
        let ring_pair = || memory::make_for_two(4096).unwrap().1;
        let send = |number, is_forked: bool| {
            let (socket, _) = DescriptorSocket::pair().unwrap();
            let stderr = std::io::pipe().unwrap().1;
            let endpoints = Endpoints {
                number,
                ring_pair: ring_pair(),
                context: is_forked.then(|| memory::make_for_readers(9).unwrap().1.into()),
                socket: is_forked.then_some(socket),
                stderr: is_forked.then(|| stderr.into()),
                files: (0..CONTEXT_FILES_MAX * usize::from(is_forked))
                    .map(|_| Arc::new(std::io::pipe().unwrap().0.into()))
                    .collect(),
            };
            endpoints.send(&ours).unwrap();
        };
        for (number, is_forked) in [(1, false), (2, true), (3, false)] {
            send(number, is_forked);
        }
        let forked = Endpoints::receive(&theirs, 2).unwrap();
        assert_eq!(forked.map_context().unwrap().unwrap().len(), 9);
        assert!(memory::map_to_write(&forked.ring_pair, 4096).is_ok());
        assert!(forked.socket.is_some() && forked.stderr.is_some());
        assert_eq!(forked.files.len(), CONTEXT_FILES_MAX);
        let spawned = Endpoints::receive(&theirs, 3).unwrap();
        assert!(spawned.map_context().unwrap().is_none() && spawned.socket.is_none());
        assert!(Endpoints::receive(&theirs, 4).is_err(), "nothing is left");
    }
}
