//! Segments of shared memory that another process must have before it can read what lies in them.
//!
//! The side that writes keeps [`Introductions`]: which segments the other one knows. The side that
//! reads keeps [`Acquaintances`]: those that it was sent.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcSender, IpcSharedMemory};

use super::frame::{Body, Nudge};
use crate::payload::segment::{Part, Segment};

/// Which of our segments the other side knows.
#[derive(Debug, Default)]
pub(crate) struct Introductions {
    known: HashMap<u32, Weak<Segment>>,
    unsent: Vec<Nudge>,
}

impl Introductions {
    /// The body of a record that speaks of this part; its segment is introduced if need be.
    ///
    /// # Errors
    /// Why the segment cannot be sent.
    pub(crate) fn body_of(&mut self, part: &Part) -> Result<Body<'static>, String> {
        Ok(Body::Shared {
            segment: self.introduce(&part.segment)?,
            start: part.start(),
            length: part.len(),
        })
    }

    /// The number by which records may speak of a segment.
    ///
    /// # Errors
    /// Why the segment cannot be sent.
    pub(crate) fn introduce(&mut self, segment: &Arc<Segment>) -> Result<u32, String> {
        let number = segment.number;
        if !self.known.contains_key(&number) {
            let memory = segment.to_send()?;
            self.unsent.push(Nudge {
                segment: Some((number, memory)),
            });
            self.known.insert(number, Arc::downgrade(segment));
        }
        Ok(number)
    }

    /// What must be sent before records that speak of it can be understood.
    pub(crate) fn take_unsent(&mut self) -> Vec<Nudge> {
        std::mem::take(&mut self.unsent)
    }

    /// Segments that are gone and that the other side may forget. Looked for when there is a new
    /// one, so that they are never many.
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

/// Sends a nudge. ipc-channel panics where it cannot copy the handle of shared memory.
///
/// # Errors
/// Why not; a channel whose other end is gone is none, because that is noticed elsewhere.
pub(crate) fn send(sender: &IpcSender<Nudge>, nudge: Nudge) -> Result<(), String> {
    let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    match catch_unwind(AssertUnwindSafe(|| sender.send(nudge))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(IpcError::Io(error))) if !gone.contains(&error.kind()) => {
            Err(format!("cannot be sent shared memory: {error}"))
        }
        Ok(Err(_)) => Ok(()),
        Err(_) => Err("cannot be sent shared memory: too few open files, or too little".into()),
    }
}

/// A part of another process's segment.
#[derive(Clone)]
pub(crate) struct View {
    memory: Arc<IpcSharedMemory>,
    start: usize,
    end: usize,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({}..{})", self.start, self.end)
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }
}

impl View {
    /// These bytes as a view of their own, if they are a part of this one.
    pub(crate) fn part(&self, bytes: &[u8]) -> Option<View> {
        let start = bytes
            .as_ptr()
            .addr()
            .checked_sub(self.memory.as_ptr().addr())?;
        let end = start.checked_add(bytes.len())?;
        (self.start <= start && end <= self.end).then(|| View {
            memory: Arc::clone(&self.memory),
            start,
            end,
        })
    }
}

/// The other side's segments that we were sent.
#[derive(Default)]
pub(crate) struct Acquaintances(HashMap<u32, Arc<IpcSharedMemory>>);

impl fmt::Debug for Acquaintances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a payload is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Its segment is on its way.
    NotYet,
    /// It cannot be.
    Nowhere,
}

impl Acquaintances {
    pub(crate) fn meet(&mut self, number: u32, memory: IpcSharedMemory) {
        self.0.insert(number, Arc::new(memory));
    }

    pub(crate) fn forget(&mut self, number: u32) {
        self.0.remove(&number);
    }

    /// The bytes of a payload in one of them.
    ///
    /// # Errors
    /// Why they are not there.
    pub(crate) fn find(&self, segment: u32, start: usize, length: usize) -> Result<View, Missing> {
        let memory = self.0.get(&segment).ok_or(Missing::NotYet)?;
        let end = start.checked_add(length).ok_or(Missing::Nowhere)?;
        if end > memory.len() {
            return Err(Missing::Nowhere);
        }
        Ok(View {
            memory: Arc::clone(memory),
            start,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::segment::Part;

    #[test]
    fn a_segment_is_introduced_once_and_then_found() {
        let part = Part::copy_of(&[7; 100_000]).unwrap();
        let (mut ours, mut theirs) = (Introductions::default(), Acquaintances::default());
        let Body::Shared {
            segment,
            start,
            length,
        } = ours.body_of(&part).unwrap()
        else {
            panic!("it is shared");
        };
        assert_eq!(
            theirs.find(segment, start, length).err(),
            Some(Missing::NotYet)
        );
        for nudge in ours.take_unsent() {
            let (number, memory) = nudge.segment.expect("it brings one");
            theirs.meet(number, memory);
        }
        ours.body_of(&part).unwrap();
        assert!(ours.take_unsent().is_empty());
        let view = theirs.find(segment, start, length).unwrap();
        assert_eq!(*view, *part);
        let beyond = theirs.find(segment, usize::MAX, 2);
        assert_eq!(beyond.err(), Some(Missing::Nowhere));
    }
}
