//! Segments of shared memory that another process must map before it can read what lies in them, and
//! other files that go the same way.
//!
//! The writing side keeps [`SentSegments`], which the other side knows; the reading side keeps
//! [`ReceivedSegments`]. A segment is sent before the first record that names it is shown, so a
//! reader which meets an unknown segment finds it in its socket and never waits.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::frame::Body;
use super::peer_error::PeerError;
use crate::payload::segment::{Segment, SegmentPart};
use crate::sys::descriptors::{Datagram, DescriptorSocket};
use crate::sys::memory::{PrivateMapping, ReadableMapping};

/// The message with a file: the number by which records name it.
#[derive(Debug, Serialize, Deserialize)]
enum FileNumber {
    Segment(u32),
    /// A socket, which is a connection to a queue.
    Socket(u32),
}

/// Our segments that the other side knows.
#[derive(Debug, Default)]
pub(crate) struct SentSegments {
    known: HashMap<u32, Weak<Segment>>,
    unsent: Vec<Arc<Segment>>,
}

impl SentSegments {
    /// Makes the body of a record about this part, and queues a new segment for sending.
    pub(crate) fn body_of(&mut self, part: &SegmentPart) -> Body<'static> {
        Body::Shared {
            segment: self.share(&part.segment),
            start: part.start(),
            length: part.len(),
        }
    }

    /// Returns the number by which records may name a segment.
    pub(crate) fn share(&mut self, segment: &Arc<Segment>) -> u32 {
        let number = segment.number;
        if !self.known.contains_key(&number) {
            self.unsent.push(Arc::clone(segment));
            self.known.insert(number, Arc::downgrade(segment));
        }
        number
    }

    /// Takes the segments that must be sent before records that name them are shown.
    pub(crate) fn take_unsent(&mut self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.unsent)
    }

    /// Forgets a segment that could not be sent.
    pub(crate) fn withdraw(&mut self, segment: &Segment) {
        self.known.remove(&segment.number);
    }

    /// Takes the segments that are gone, which the other side may forget. It is called when there
    /// is a new one, so they are never many.
    pub(crate) fn take_gone(&mut self) -> Vec<u32> {
        if self.unsent.is_empty() {
            return Vec::new();
        }
        let gone = self
            .known
            .extract_if(|_, segment| segment.strong_count() == 0);
        gone.map(|(number, _)| number).collect()
    }
}

/// Sends a segment, at once or not at all.
///
/// # Errors
/// The other side is gone, or has not taken the earlier ones (`WouldBlock`).
pub(crate) fn send(socket: &DescriptorSocket, segment: &Segment) -> io::Result<()> {
    let number = FileNumber::Segment(segment.number);
    socket.send(&number, &[segment.file()])
}

/// Sends a segment, and waits until there is room for it.
pub(crate) fn send_in_time(socket: &DescriptorSocket, segment: &Segment) -> io::Result<()> {
    let number = FileNumber::Segment(segment.number);
    socket.send_in_time(&number, &[segment.file()])
}

/// Sends a socket, and waits until there is room for it.
pub(crate) fn send_socket(by: &DescriptorSocket, number: u32, socket: &OwnedFd) -> io::Result<()> {
    by.send_in_time(&FileNumber::Socket(number), &[socket.as_fd()])
}

/// A segment of another process, as this one has it.
struct ReceivedSegment {
    memory: ReadableMapping,
    /// The file, for whoever maps a part of it anew.
    file: Option<OwnedFd>,
}

/// A part of another process's segment.
#[derive(Clone)]
pub(crate) struct SegmentView {
    segment: Arc<ReceivedSegment>,
    start: usize,
    end: usize,
}

impl fmt::Debug for SegmentView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({}..{})", self.start, self.end)
    }
}

impl Deref for SegmentView {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.segment.memory[self.start..self.end]
    }
}

impl SegmentView {
    /// Returns a view of these bytes, if they are a part of this one.
    pub(crate) fn part(&self, bytes: &[u8]) -> Option<SegmentView> {
        let start = bytes
            .as_ptr()
            .addr()
            .checked_sub(self.segment.memory.as_ptr().addr())?;
        let end = start.checked_add(bytes.len())?;
        (self.start <= start && end <= self.end).then(|| SegmentView {
            segment: Arc::clone(&self.segment),
            start,
            end,
        })
    }

    /// Maps it anew, for this process to write to what nobody else sees; `None` if that cannot be.
    pub(crate) fn to_private(&self) -> Option<PrivateMapping> {
        let file = self.segment.file.as_ref()?;
        PrivateMapping::map(file.as_fd(), self.start..self.end).ok()
    }
}

/// The other side's segments that we were sent, and sockets that nobody has taken yet.
pub(crate) struct ReceivedSegments {
    socket: Arc<DescriptorSocket>,
    known: HashMap<u32, Arc<ReceivedSegment>>,
    sockets: HashMap<u32, OwnedFd>,
    /// True if parts of them may be mapped anew, for which each keeps a file open.
    keeps_files: bool,
}

impl fmt::Debug for ReceivedSegments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.known.keys()).finish()
    }
}

impl ReceivedSegments {
    /// Makes the set of those that will come by this socket.
    pub(crate) fn by(socket: Arc<DescriptorSocket>) -> Self {
        ReceivedSegments {
            socket,
            known: HashMap::new(),
            sockets: HashMap::new(),
            keeps_files: false,
        }
    }

    /// Makes the set of those whose parts may be mapped anew.
    pub(crate) fn with_files_by(socket: Arc<DescriptorSocket>) -> Self {
        ReceivedSegments {
            keeps_files: true,
            ..Self::by(socket)
        }
    }

    /// Takes the socket that was sent with this number.
    ///
    /// # Errors
    /// The reason for which it is missing.
    pub(crate) fn take_socket(&mut self, number: u32) -> Result<OwnedFd, PeerError> {
        if !self.sockets.contains_key(&number) {
            let is_it =
                |file: &FileNumber| matches!(file, FileNumber::Socket(one) if *one == number);
            self.meet(is_it).map_err(PeerError::NoFile)?;
        }
        let socket = self.sockets.remove(&number);
        socket.ok_or(PeerError::UnsentSocket)
    }

    pub(crate) fn forget(&mut self, number: u32) {
        self.known.remove(&number);
    }

    /// Returns the bytes of a payload in a segment of the other side.
    ///
    /// # Errors
    /// The reason for which they are missing.
    pub(crate) fn find(
        &mut self,
        segment: u32,
        start: usize,
        length: usize,
    ) -> Result<SegmentView, PeerError> {
        if !self.known.contains_key(&segment) {
            let is_it =
                |file: &FileNumber| matches!(file, FileNumber::Segment(one) if *one == segment);
            self.meet(is_it).map_err(PeerError::NoFile)?;
        }
        let segment = self.known.get(&segment);
        let segment = segment.ok_or(PeerError::UnsentSegment)?;
        let end = start.checked_add(length);
        let end = end.filter(|end| *end <= segment.memory.len());
        Ok(SegmentView {
            segment: Arc::clone(segment),
            start,
            end: end.ok_or(PeerError::BeyondSegment)?,
        })
    }

    /// Receives files up to the wanted one. A socket holds a few hundred at most, so a sender that
    /// goes on while we read is not trusted beyond `FILES_MAX`.
    fn meet(&mut self, is_wanted: impl Fn(&FileNumber) -> bool) -> io::Result<()> {
        for _ in 0..FILES_MAX {
            let datagram: Option<Datagram<FileNumber>> = self.socket.receive()?;
            let Some(Datagram { message, files }) = datagram else {
                break;
            };
            let file = files.into_iter().next();
            let file = file.ok_or(io::ErrorKind::InvalidData)?;
            let is_last = is_wanted(&message);
            match message {
                FileNumber::Segment(number) => {
                    let memory = ReadableMapping::map(file.as_fd())?;
                    let file = self.keeps_files.then_some(file);
                    let segment = ReceivedSegment { memory, file };
                    self.known.insert(number, Arc::new(segment));
                }
                FileNumber::Socket(number) if self.sockets.len() < SOCKETS_MAX => {
                    self.sockets.insert(number, file);
                }
                FileNumber::Socket(_) => {
                    return Err(io::Error::other("there are sockets that it never names"));
                }
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

/// The greatest number of sockets that wait to be named.
const SOCKETS_MAX: usize = 64;

/// More files than a socket holds.
const FILES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_introduced_once_and_then_found() {
        let part = SegmentPart::copy_of(&[7; 100_000]).unwrap();
        let (socket, theirs) = DescriptorSocket::pair().unwrap();
        let mut ours = SentSegments::default();
        let mut theirs = ReceivedSegments::by(theirs.into());
        let Body::Shared {
            segment,
            start,
            length,
        } = ours.body_of(&part)
        else {
            panic!("it is shared");
        };
        assert!(theirs.find(segment, start, length).is_err());
        let unsent = ours.take_unsent();
        assert_eq!(unsent.len(), 1);
        send(&socket, &unsent[0]).unwrap();
        ours.body_of(&part);
        assert!(ours.take_unsent().is_empty());
        let view = theirs.find(segment, start, length).unwrap();
        assert_eq!(*view, *part);
        assert!(theirs.find(segment, usize::MAX, 2).is_err());
        theirs.forget(segment);
        assert!(theirs.find(segment, start, length).is_err());
    }
}
