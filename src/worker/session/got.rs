//! The deliveries that a `get` of this worker process takes, and their acknowledgement: a store where all
//! before it is settled, else a record.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{EARLY_RING, Session, nanos};
use crate::error::Kind;
use crate::fail;
use crate::handler::copies;
use crate::handler::held::Acknowledger;
use crate::payload::Payload;
use crate::protocol::frame::{Answer, Ask, RUN_ITEMS, Up, Wait};
use crate::sys::clock::{Deadline, RECALL, monotonic_ns};
use crate::worker::inbox::{Inbox, Incoming, Received, Unsettled};
use dishrack_core::ledger::{DoneRun, Outcome, Token};

impl Session {
    /// Takes the next item for a `get`, and those behind it that are there, up to `at_most` in all;
    /// waits for the first until the deadline. Where too few are here, the supervisor is asked.
    ///
    /// # Errors
    /// The answer, if it is not that there are items.
    pub(crate) fn get(
        &self,
        wait: Wait,
        at_most: u32,
        deadline: Deadline,
    ) -> Result<Vec<Received>, Answer<()>> {
        copies::end_copy();
        self.has_got.store(true, Ordering::Relaxed);
        let most = at_most.max(1) as usize;
        let mut items = Vec::new();
        loop {
            self.take_got(&mut items, most);
            let left = most - items.len();
            if left == 0 {
                return Ok(items);
            }
            let has_some = !items.is_empty();
            let wait = if has_some { Wait::No } else { wait };
            let request = self.next_request();
            let at_most = u32::try_from(left).unwrap_or(u32::MAX);
            let ask = Ask::Get { wait, at_most };
            self.uplink.push(&Up::Ask { request, ask });
            let (deadline, is_patient) = match wait {
                Wait::UntilCancelled => (deadline, true),
                Wait::No => (Deadline::lasting(RECALL), false),
            };
            let answer = self.wait_for(request, deadline, is_patient);
            match answer {
                Answer::Delivered => self.take_got(&mut items, most),
                answer if !has_some => return Err(answer),
                _ => {}
            }
            // What came may have been given back, or taken by another thread.
            if !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Takes up to this many of the deliveries that are there for a `get`.
    fn take_got(&self, items: &mut Vec<Received>, at_most: usize) {
        let mut inbox = self.inbox.lock();
        while items.len() < at_most && !inbox.is_stopping {
            let mut arrival = Received::none();
            let Incoming::Delivery = self.take_next(&mut inbox, &mut arrival) else {
                return;
            };
            self.begin_got(&mut inbox, &mut arrival);
            items.push(arrival);
        }
    }

    /// Begins a delivery that a `get` takes.
    fn begin_got(&self, inbox: &mut Inbox, arrival: &mut Received) {
        let (ordinal, since_ns) = (arrival.ordinal, monotonic_ns());
        let lender = self.lender_of(arrival);
        arrival.lend(lender.clone());
        inbox.begun.take(Unsettled {
            ordinal,
            since_ns,
            is_awaited: arrival.is_awaited,
            lender,
        });
        self.ring_pair.board().raise_begun(ordinal);
        fail::point("worker: got");
        if inbox.begun.shown == 0 {
            self.show_oldest(inbox);
        }
        if self.announces_starts {
            self.announce(ordinal, since_ns);
        }
        // Whoever waits for room hears in time that there is some.
        self.uplink.note_once();
        self.uplink.watch();
    }

    /// Ends a delivery that `get` took. Returns `false` if it was ended before.
    fn settle_got(&self, ordinal: u64, service: Duration, outcome: Outcome<Payload>) -> bool {
        copies::end_copy();
        let mut inbox = self.inbox.lock();
        let shown = inbox.begun.shown;
        let Some(one) = inbox.begun.settle(ordinal) else {
            return false;
        };
        self.check_memory(shown, inbox.begun.last);
        if let Some(lender) = one.lender {
            lender.settle(&*self.uplink);
        }
        let through = inbox.begun.through();
        let waiting = match outcome {
            Outcome::Done(_) if !one.is_awaited && ordinal <= through => {
                let service_ns = inbox.begun.service_ns(one.since_ns, monotonic_ns());
                self.ring_pair.board().set_through(through, service_ns);
                self.uplink.note()
            }
            outcome => self.report(ordinal, service, outcome),
        };
        self.show_oldest(&mut inbox);
        let last = inbox.begun.last;
        drop(inbox);
        self.watch_memory();
        self.ring_for_settled(ordinal, last, waiting);
        true
    }

    /// Ends many deliveries that `get` took as done, given by ordinal and time. Returns for each
    /// `false` if it was ended before.
    pub(crate) fn settle_many(&self, done: &[(u64, Duration)]) -> Vec<bool> {
        copies::end_copy();
        let mut inbox = self.inbox.lock();
        let shown = inbox.begun.shown;
        let settled = done.iter().map(|(ordinal, _)| inbox.begun.settle(*ordinal));
        let settled: Vec<Option<Unsettled>> = settled.collect();
        let were_held: Vec<bool> = settled.iter().map(Option::is_some).collect();
        let Some(since_ns) = settled.iter().flatten().map(|one| one.since_ns).min() else {
            return were_held;
        };
        self.check_memory(shown, inbox.begun.last);
        let through = inbox.begun.through();
        let needs_record = |one: &Unsettled| one.is_awaited || one.ordinal > through;
        let by_record = done.iter().zip(&settled).filter_map(|(said, one)| {
            one.as_ref().filter(|one| needs_record(one))?;
            Some(*said)
        });
        let runs = DoneRun::join(by_record, RUN_ITEMS);
        let lenders = settled.into_iter().flatten().filter_map(|one| one.lender);
        lenders.for_each(|lender| lender.settle(&*self.uplink));
        let mut waiting = 0;
        for run in runs {
            waiting = self.uplink.push(&Up::SettledRun {
                first: run.first,
                last: run.last,
                service_ns: nanos(run.service),
            });
            fail::point("worker: run settled");
        }
        // After the records of those before it.
        if through > self.ring_pair.board().through().0 {
            let service_ns = inbox.begun.service_ns(since_ns, monotonic_ns());
            self.ring_pair.board().set_through(through, service_ns);
            waiting = self.uplink.note();
        }
        self.show_oldest(&mut inbox);
        let last = inbox.begun.last;
        drop(inbox);
        self.watch_memory();
        self.ring_for_settled(last, last, waiting);
        were_held
    }

    /// Wakes the supervisor for what was settled: at once if nothing is left to begin, and else in
    /// time for more to come.
    fn ring_for_settled(&self, ordinal: u64, last: u64, waiting: usize) {
        fail::point("worker: settled what it got");
        let left = self.ring_pair.handed().saturating_sub(last);
        let unseen = ordinal.saturating_sub(self.ring_pair.seen());
        if left == 0 || (waiting >= EARLY_RING && unseen >= left) {
            self.uplink.ring();
        } else {
            self.uplink.watch();
        }
    }
}

impl Acknowledger for Session {
    fn acknowledge(
        &self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        match self.settle_got(token.ordinal(), service, outcome) {
            true => Ok(()),
            false => Err(Kind::Stale),
        }
    }
}
