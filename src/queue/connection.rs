//! A connection to a queue of another process, as its client has it.
//!
//! Any number of threads use it. There is no thread that reads: of those that wait for an answer one
//! reads for all, and another one takes its turn when that one has its own. What a thread says is
//! written at once, so what was acknowledged is known there however this process ends. The other side
//! never waits for this one, so writing ends too.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::far::{ArrivedBody, ArrivedItem};
use crate::broker::Deadline;
use crate::error::Kind;
use crate::fail;
use crate::handler::copies;
use crate::payload::Payload;
use crate::protocol::address::QueueAddress;
use crate::protocol::frame::{self, Answer, Ask, Body, Down, Given, RUN_ITEMS, Up, Wait, clipped};
use crate::protocol::peer_error::PeerError;
use crate::protocol::stream::{Came, FrameReader, Hello, ITEM_BYTES_MAX, OutFrame, Welcome};
use crate::sys::stream;
use crate::worker::stopping::Stoppable;
use dishrack_core::ledger::{DoneRun, Outcome, Refusal};

/// The longest time in which the other side says whether it takes a connection.
const WELCOME_TIME: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct QueueConnection {
    socket: OwnedFd,
    /// The process that opened it. One that was forked must not write between its frames.
    pid: u32,
    pub(super) address: QueueAddress,
    /// True if the queue's items outlive the process that has it.
    pub(super) keeps_items: bool,
    next_request: AtomicU64,
    writing: Mutex<()>,
    reader: Mutex<FrameReader>,
    replies: Mutex<Replies>,
    /// Rung when there are replies, or when nobody reads any more.
    changed: Condvar,
    /// Deliveries that are not ended.
    held: Mutex<HashSet<u64>>,
}

#[derive(Debug, Default)]
struct Replies {
    answers: HashMap<u64, Answer<ArrivedItem>>,
    /// The items that came for a request before its answer.
    items: HashMap<u64, Vec<ArrivedItem>>,
    is_read: bool,
    /// The reason why there will be no more, once that is so.
    end: Option<PeerError>,
}

impl QueueConnection {
    /// Says which queue is wanted, and waits until the other side has answered.
    pub(super) fn open(
        socket: OwnedFd,
        received: Vec<u8>,
        hello: &Hello<'_>,
    ) -> Result<Arc<Self>, Kind> {
        let mut reader = FrameReader::with(received);
        let sent = OutFrame::of_greeting(hello).send(&socket, true);
        sent.map_err(|error| gone(&error.to_string()))?;
        let until = Instant::now() + WELCOME_TIME;
        let record = reader.await_record(&socket, until);
        let (address, keeps_items) = welcomed(&record.map_err(|why| gone(&format!("it {why}")))?)?;
        Ok(Arc::new(QueueConnection {
            socket,
            pid: std::process::id(),
            address,
            keeps_items,
            next_request: AtomicU64::new(1),
            writing: Mutex::new(()),
            reader: Mutex::new(reader),
            replies: Mutex::default(),
            changed: Condvar::new(),
            held: Mutex::default(),
        }))
    }

    fn write(&self, mut frame: OutFrame) -> Result<(), Kind> {
        copies::end_copy();
        if self.pid != std::process::id() {
            let why = "a connection is of the process that opened it, and this one was forked";
            return Err(gone(&format!("it {why}")));
        }
        let _writing = self.writing.lock();
        fail::point("connection: to be sent");
        match frame.send(&self.socket, true) {
            Ok(_) => {
                fail::point("connection: sent");
                Ok(())
            }
            Err(error) => Err(gone(&error.to_string())),
        }
    }

    /// Puts an item, and waits for the answer until the deadline.
    pub(super) fn ask_put(
        &self,
        wait: Wait,
        item: Payload,
        deadline: Deadline,
    ) -> Result<Answer<ArrivedItem>, Kind> {
        if item.len() > ITEM_BYTES_MAX {
            let (bytes, bytes_max) = (item.len() as u64, ITEM_BYTES_MAX as u64);
            return Err(Refusal::TooLarge { bytes, bytes_max }.into());
        }
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let body = Body::Inline(&[]);
        let ask = Ask::Put { wait, body };
        self.write(OutFrame::with_body(&Up::Ask { request, ask }, item))?;
        self.wait_for(request, deadline)
    }

    /// Asks for what is no item, and waits for the answer until the deadline.
    pub(super) fn ask(
        &self,
        ask: Ask<'_>,
        deadline: Deadline,
    ) -> Result<Answer<ArrivedItem>, Kind> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.write(OutFrame::of(&Up::Ask { request, ask }))?;
        self.wait_for(request, deadline)
    }

    /// Asks for items. `Err` is an answer that is none.
    pub(super) fn ask_items(
        &self,
        wait: Wait,
        at_most: u32,
        deadline: Deadline,
    ) -> Result<Result<Vec<ArrivedItem>, Answer<ArrivedItem>>, Kind> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let ask = Ask::Get { wait, at_most };
        self.write(OutFrame::of(&Up::Ask { request, ask }))?;
        let last = match self.wait_for(request, deadline)? {
            Answer::Item(last) => last,
            answer => return Ok(Err(answer)),
        };
        let before = self.replies.lock().items.remove(&request);
        let mut items = before.unwrap_or_default();
        items.push(last);
        let ordinals = items.iter().map(|item| item.ordinal);
        self.held.lock().extend(ordinals);
        Ok(Ok(items))
    }

    /// Waits for the answer. At the deadline the request is cancelled, and the answer tells if that
    /// came too late.
    fn wait_for(&self, request: u64, deadline: Deadline) -> Result<Answer<ArrivedItem>, Kind> {
        let mut until = match deadline {
            Deadline::Until(until) => Some(until),
            Deadline::None | Deadline::Forever => None,
        };
        let mut replies = self.replies.lock();
        loop {
            if let Some(answer) = replies.answers.remove(&request) {
                fail::point("connection: answered");
                return Ok(answer);
            }
            if let Some(why) = &replies.end {
                return Err(gone(&format!("it {why}")));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                until = None;
                drop(replies);
                self.write(OutFrame::of(&Up::Cancel { request }))?;
            } else if replies.is_read {
                match until {
                    Some(until) => drop(self.changed.wait_until(&mut replies, until)),
                    None => self.changed.wait(&mut replies),
                }
                continue;
            } else {
                replies.is_read = true;
                drop(replies);
                let read = self.read(until);
                replies = self.replies.lock();
                replies.is_read = false;
                replies.end = read.err();
                self.changed.notify_all();
                continue;
            }
            replies = self.replies.lock();
        }
    }

    /// Reads until something has come, or until then.
    fn read(&self, until: Option<Instant>) -> Result<(), PeerError> {
        let mut reader = self.reader.lock();
        loop {
            let mut is_any = false;
            while let Some(record) = reader.next()? {
                self.sort(record)?;
                is_any = true;
            }
            let wait = || stream::wait_to_receive(&self.socket, until);
            if is_any || !wait().map_err(PeerError::Unheard)? {
                return Ok(());
            }
            match reader.receive(&self.socket) {
                Ok(Came::Bytes | Came::Nothing) => {}
                Ok(Came::End { .. }) => return Err(PeerError::Ended),
                Err(error) => return Err(PeerError::Unheard(error)),
            }
        }
    }

    fn sort(&self, record: &[u8]) -> Result<(), PeerError> {
        let record = frame::decode::<Down<'_>>(record)?;
        let mut replies = self.replies.lock();
        match record {
            Down::Answer { request, answer } => {
                let answer = answer.try_map(framed)?;
                replies.answers.insert(request, answer);
            }
            Down::Item { request, item } => {
                replies
                    .items
                    .entry(request)
                    .or_default()
                    .push(framed(item)?);
            }
            Down::Deliver { .. }
            | Down::Revoke { .. }
            | Down::Stop
            | Down::GiveBack
            | Down::Forget { .. } => return Err(PeerError::Misplaced("a worker is told")),
        }
        Ok(())
    }

    /// Ends a delivery.
    ///
    /// # Errors
    /// It was ended before, or the connection has ended.
    pub(super) fn settle(
        &self,
        ordinal: u64,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        if !self.held.lock().remove(&ordinal) {
            return Err(Kind::Stale);
        }
        let outcome = clipped(outcome.map(|_| Body::Inline(&[])));
        self.write(OutFrame::of(&Up::Settled {
            ordinal,
            service_ns: nanos(service),
            outcome,
        }))
    }

    /// Ends deliveries as done. Returns for each `false` if it was ended before, or cannot be ended
    /// because the connection has.
    pub(super) fn settle_many(&self, done: &[(u64, Duration)]) -> Vec<bool> {
        let mut held = self.held.lock();
        let mut are_done: Vec<bool> = done.iter().map(|(one, _)| held.remove(one)).collect();
        drop(held);
        let all = done.iter().zip(&are_done);
        let ours: Vec<_> = all
            .filter_map(|(one, was_held)| was_held.then_some(*one))
            .collect();
        let mut is_lost = false;
        for run in DoneRun::join(ours, RUN_ITEMS) {
            is_lost |= self
                .write(OutFrame::of(&Up::SettledRun {
                    first: run.first,
                    last: run.last,
                    service_ns: nanos(run.service),
                }))
                .is_err();
        }
        if is_lost {
            are_done.fill(false);
        }
        are_done
    }
}

impl Stoppable for QueueConnection {
    fn stop(&self) {
        // Where the connection has ended, nobody is left to be told.
        let _ = self.write(OutFrame::of(&Up::Stopping));
    }
}

fn framed(item: Given<'_>) -> Result<ArrivedItem, PeerError> {
    let Body::Inline(bytes) = item.body else {
        return Err(PeerError::NoBytes);
    };
    Ok(ArrivedItem {
        ordinal: item.ordinal,
        id: item.id,
        attempt: item.attempt,
        body: ArrivedBody::Frame(bytes.to_vec()),
    })
}

fn welcomed(record: &[u8]) -> Result<(QueueAddress, bool), Kind> {
    match postcard::from_bytes(record) {
        Ok(Welcome::Accepted {
            address,
            keeps_items,
        }) => Ok((address, keeps_items)),
        Ok(Welcome::Refused { why }) => Err(Kind::invalid("queue", why)),
        Err(_) => Err(gone("it answered with what is no welcome")),
    }
}

fn gone(why: &str) -> Kind {
    Kind::OwnerGone { why: why.into() }
}

fn nanos(service: Duration) -> u64 {
    u64::try_from(service.as_nanos()).unwrap_or(u64::MAX)
}
