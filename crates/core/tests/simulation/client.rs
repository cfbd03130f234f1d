//! A program that has reached the queue by a connection of its own, and both ends of that. What the
//! program has said arrives, whether it lives or not; what it has not read is lost with it. How much it
//! can have seen is decided by the real code (`SentDeliveries`). MIRRORED from `src/link/stream.rs` and
//! `src/queue/connection.rs`: the frames on their way, and the requests of a program.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dishrack_core::dispatcher::SentDeliveries;
use dishrack_core::ledger::{Cause, HolderId, Refusal};

use crate::dispatcher::Outcome;
use crate::envelope::Envelope;
use crate::process::{Job, Surroundings};

/// The number of frames that a socket has room for.
const ROOM: usize = 3;

/// The greatest number of puts that a program has under way, each in a thread of its own.
const PUTS_MAX: usize = 3;

/// A word of the program.
#[derive(Debug)]
pub(crate) enum Said {
    /// A put, and true if it waits for room.
    Put(u64, Envelope, bool),
    /// A get of at most so many items, and true if it waits for one.
    Get(u64, usize, bool),
    /// The program has waited long enough.
    Cancel(u64),
    Settled(Job, Outcome),
    /// Deliveries that follow each other are done.
    DoneRun(Vec<Job>),
    /// It is to end, and wants nothing more.
    Stopping,
}

/// A frame to the program.
#[derive(Debug)]
pub(crate) enum Frame {
    /// An item, and true if it is the last of its answer.
    Item(Job, bool),
    Accepted(u64),
    Refused(u64, Refusal),
}

impl Frame {
    fn job(&self) -> Option<Job> {
        match self {
            Frame::Item(job, _) => Some(*job),
            Frame::Accepted(_) | Frame::Refused(..) => None,
        }
    }

    fn ordinal(&self) -> Option<u64> {
        self.job().map(|job| job.ordinal)
    }
}

/// The end of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgramEnd {
    Crashed,
    InOrder,
}

#[derive(Debug, Default)]
struct Program {
    requests: u64,
    /// The get that is not answered.
    getting: Option<u64>,
    /// The items of an answer of which more is to come.
    coming: Vec<Job>,
    /// The items that it works on.
    held: Vec<Job>,
    /// The number of each item whose put is not answered, by its request.
    putting: BTreeMap<u64, u64>,
    /// The requests that it has cancelled.
    cancelled: BTreeSet<u64>,
    /// The items that are left of those that it puts one after the other.
    batch_left: u64,
    is_stopping: bool,
}

/// The fate of a delivery, as the world knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The program works on it.
    Begun,
    /// It was sent, and it may have been seen.
    Sent,
    /// It cannot have been seen.
    Unseen,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) holder: HolderId,
    program: Option<Program>,
    /// The words of the program that were not heard.
    pub(crate) said: VecDeque<Said>,
    /// The frames to be sent; a part of the first may be on its way.
    unsent: VecDeque<Frame>,
    is_in_part: bool,
    /// The frames that were sent and not read. The part of one may be unread as well.
    unread: VecDeque<Frame>,
    is_part_unread: bool,
    pub(crate) sent: SentDeliveries,
    pub(crate) is_asked_to_end: bool,
    /// The facts about a program that has ended.
    pub(crate) has_left_unread: bool,
    begun: Vec<u64>,
    unseen: Vec<u64>,
}

impl Client {
    pub(crate) fn new(holder: HolderId) -> Self {
        Client {
            holder,
            program: Some(Program::default()),
            said: VecDeque::new(),
            unsent: VecDeque::new(),
            is_in_part: false,
            unread: VecDeque::new(),
            is_part_unread: false,
            sent: SentDeliveries::default(),
            is_asked_to_end: false,
            has_left_unread: false,
            begun: Vec::new(),
            unseen: Vec::new(),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.program.is_some()
    }

    /// Returns the items that a living program has, or that are on their way to it.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Job> + '_ {
        self.program.iter().flat_map(|program| {
            let here = program.held.iter().chain(&program.coming).copied();
            let coming = self.unread.iter().chain(&self.unsent);
            here.chain(coming.filter_map(Frame::job))
        })
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.unsent.push_back(frame);
    }

    /// Sends a frame, or a part of it. What is sent to a program that has ended is lost.
    pub(crate) fn send(&mut self, around: &mut Surroundings<'_>, notes_parts: bool) {
        let Some(frame) = self.unsent.front() else {
            return;
        };
        if self.program.is_none() {
            self.unseen.extend(frame.ordinal());
            self.unsent.pop_front();
        } else if self.unread.len() >= ROOM {
            // There is no room.
        } else if !self.is_in_part && around.chance.below(4) == 0 {
            around.coverage.frames_in_parts += 1;
            self.is_in_part = true;
            self.is_part_unread = true;
            if notes_parts {
                self.sent.sent_a_part();
            }
        } else if let Some(frame) = self.unsent.pop_front() {
            self.sent.sent(frame.ordinal());
            self.is_in_part = false;
            self.is_part_unread = false;
            self.unread.push_back(frame);
        }
    }

    /// Ends the program. What it has said stays.
    pub(crate) fn end(&mut self) {
        let Some(program) = self.program.take() else {
            return;
        };
        self.has_left_unread = self.is_part_unread || !self.unread.is_empty();
        self.begun = program.held.iter().map(|job| job.ordinal).collect();
        if let (Some(last), false) = (self.unread.back(), self.is_in_part) {
            self.unseen.extend(last.ordinal());
        }
        self.unread.clear();
    }

    /// Returns what became of a delivery that was not settled when the program ended.
    pub(crate) fn sight(&self, ordinal: u64) -> Sight {
        let is_unsent = |frame: &Frame| frame.ordinal() == Some(ordinal);
        if self.begun.contains(&ordinal) {
            Sight::Begun
        } else if self.unseen.contains(&ordinal) || self.unsent.iter().any(is_unsent) {
            Sight::Unseen
        } else {
            Sight::Sent
        }
    }

    /// Takes one step of the program's life. Returns its end after the last one.
    pub(crate) fn step(&mut self, around: &mut Surroundings<'_>) -> Option<ProgramEnd> {
        let program = self.program.as_mut()?;
        let (chance, is_calm) = (&mut *around.chance, around.is_calm);
        match chance.below(8) {
            0..3 => match self.unread.pop_front() {
                Some(frame) => program.read(frame, around),
                None => self.is_part_unread = false,
            },
            3 | 4 if !program.held.is_empty() => {
                if !is_calm && chance.permille(around.rates.client_crash) {
                    return Some(ProgramEnd::Crashed);
                }
                program.settle(around, &mut self.said);
            }
            5 => program.put(around, &mut self.said),
            6 => program.get(around, &mut self.said),
            _ => {
                if !is_calm && !program.is_stopping && chance.below(40) == 0 {
                    program.is_stopping = true;
                    self.said.push_back(Said::Stopping);
                }
                program.cancel(around, &mut self.said);
            }
        }
        let is_leaving = is_calm || program.is_stopping || around.chance.below(60) == 0;
        let is_idle = program.is_idle() && self.unsent.is_empty() && self.unread.is_empty();
        (is_leaving && is_idle).then_some(ProgramEnd::InOrder)
    }
}

impl Program {
    fn is_idle(&self) -> bool {
        let is_answered = self.getting.is_none() && self.putting.is_empty();
        is_answered && self.held.is_empty() && self.coming.is_empty()
    }

    fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn read(&mut self, frame: Frame, around: &mut Surroundings<'_>) {
        match frame {
            Frame::Item(job, is_last) => {
                self.coming.push(job);
                if is_last {
                    let request = self.getting.take().expect("it asked for items");
                    let was_cancelled = self.cancelled.remove(&request);
                    around.coverage.crossing_answers += u64::from(was_cancelled);
                    self.held.append(&mut self.coming);
                }
            }
            Frame::Accepted(request) => {
                let number = self.putting.remove(&request).expect("it put something");
                around.coverage.puts_of_clients_told += 1;
                around.truth.put_told(number, around.step);
            }
            Frame::Refused(request, refusal) => {
                self.is_stopping |= refusal == Refusal::Closed;
                if self.putting.remove(&request).is_none() {
                    assert_eq!(self.getting.take(), Some(request), "it asked for nothing");
                }
            }
        }
    }

    /// Ends one delivery, or as done all that follow each other.
    fn settle(&mut self, around: &mut Surroundings<'_>, said: &mut VecDeque<Said>) {
        let first = self.held[0];
        let chance = &mut *around.chance;
        if self.held.len() > 1 && chance.below(2) == 0 {
            let follows = |(at, job): &(usize, &Job)| job.ordinal == first.ordinal + *at as u64;
            let run = self.held.iter().enumerate().take_while(follows).count();
            let run: Vec<Job> = self.held.drain(..run).collect();
            for job in &run {
                around.truth.acknowledged(job.number, job.token);
            }
            said.push_back(Said::DoneRun(run));
            return;
        }
        let job = self.held.swap_remove(chance.index(self.held.len()));
        let outcome = match chance.permille(around.rates.nack) {
            true => Outcome::failed(Cause::Nack("no".into())),
            false => {
                around.truth.acknowledged(job.number, job.token);
                Outcome::Done(job.number)
            }
        };
        said.push_back(Said::Settled(job, outcome));
    }

    fn put(&mut self, around: &mut Surroundings<'_>, said: &mut VecDeque<Said>) {
        if around.is_calm || self.is_stopping || self.putting.len() >= PUTS_MAX {
            return;
        }
        match self.batch_left {
            0 => self.batch_left = around.chance.below(4),
            _ => self.batch_left -= 1,
        }
        if self.batch_left > 0 {
            let (request, number) = (self.next_request(), around.truth.new_number());
            self.putting.insert(request, number);
            let waits = around.chance.below(4) > 0;
            said.push_back(Said::Put(request, Envelope::new(number, None), waits));
        }
    }

    fn get(&mut self, around: &mut Surroundings<'_>, said: &mut VecDeque<Said>) {
        if around.is_calm || self.is_stopping || self.getting.is_some() {
            return;
        }
        let request = self.next_request();
        self.getting = Some(request);
        let at_most = 1 + around.chance.index(4);
        said.push_back(Said::Get(request, at_most, around.chance.below(4) > 0));
    }

    /// Cancels a request that takes too long. Its answer may be on the way already.
    fn cancel(&mut self, around: &mut Surroundings<'_>, said: &mut VecDeque<Said>) {
        let open = self.getting.iter().chain(self.putting.keys()).copied();
        let open: Vec<u64> = open.filter(|one| !self.cancelled.contains(one)).collect();
        let is_impatient = around.is_calm || around.chance.below(4) == 0;
        if is_impatient && !open.is_empty() {
            let request = around.chance.pick(&open);
            self.cancelled.insert(request);
            said.push_back(Said::Cancel(request));
        }
    }
}
