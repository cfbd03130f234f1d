//! What the broker does with the ledger, without locks, bells and links. MIRRORED: the order of
//! decisions is that of `src/broker/core.rs` (`pump`, `settle`, `detach`, `join_state`) and
//! `src/broker/requests.rs`, written again over the same real ledger. Whoever changes one of them
//! changes the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dishrack::ledger::{
    Blame, Cancelled, Cause, Credit, Handed, HolderId, ItemId, Ledger, Refusal, Report, Scene,
    Stale, Started, Token,
};

use crate::parcel::Parcel;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) holder: HolderId,
    pub(crate) number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted(ItemId),
    Item(Handed),
    Empty,
    Closed,
    Full,
    NoWorkersLeft,
    JournalFailed,
}

#[derive(Debug)]
pub(crate) enum Said {
    Deliver(Handed),
    Answer(Request, Answer),
    Worn(HolderId),
    Report(Report<Parcel, u64>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Done(u64),
    Failed(Cause),
    Deferred(Cause, Duration),
    Returned,
}

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) ledger: Ledger<Parcel, u64>,
    puts: VecDeque<(Request, Parcel)>,
    staged: VecDeque<(Request, ItemId)>,
    gets: VecDeque<Request>,
    local: HolderId,
    local_getters: usize,
    /// Whether workers may come back, and if not, whether they were given up on.
    pub(crate) is_crew_active: bool,
    pub(crate) is_crew_spent: bool,
    /// Which put each item is.
    pub(crate) numbers: BTreeMap<ItemId, u64>,
}

impl Desk {
    pub(crate) fn new(mut ledger: Ledger<Parcel, u64>, numbers: BTreeMap<ItemId, u64>) -> Self {
        let local = ledger.handle_join_as_getter();
        Desk {
            ledger,
            puts: VecDeque::new(),
            staged: VecDeque::new(),
            gets: VecDeque::new(),
            local,
            local_getters: 0,
            is_crew_active: true,
            is_crew_spent: false,
            numbers,
        }
    }

    pub(crate) fn try_put(
        &mut self,
        parcel: Parcel,
        is_beyond_bound: bool,
    ) -> Result<ItemId, Answer> {
        if self.is_crew_spent && !self.is_crew_active {
            return Err(Answer::NoWorkersLeft);
        }
        let result = match is_beyond_bound {
            true => self.ledger.handle_put_beyond_bound(parcel),
            false => self.ledger.handle_put(parcel),
        };
        if let Ok(id) = result {
            self.numbers.insert(id, parcel.number);
        }
        result.map_err(|refusal| match refusal {
            Refusal::Closed => Answer::Closed,
            Refusal::Full if !self.is_crew_active => Answer::NoWorkersLeft,
            Refusal::Full => Answer::Full,
            Refusal::Broken => Answer::JournalFailed,
        })
    }

    pub(crate) fn ask_put(&mut self, request: Request, parcel: Parcel, said: &mut Vec<Said>) {
        let holder = request.holder;
        let is_holding = self.ledger.is_worker(holder) && self.ledger.held_by(holder) > 0;
        match self.try_put(parcel, is_holding) {
            Err(Answer::Full) => self.puts.push_back((request, parcel)),
            Ok(id) => {
                self.staged.push_back((request, id));
                self.answer_staged(said);
            }
            Err(refusal) => said.push(Said::Answer(request, refusal)),
        }
    }

    pub(crate) fn ask_get(&mut self, request: Request, said: &mut Vec<Said>) {
        if !self.answer_get(request, said) {
            self.ledger.handle_getter_waiting(true);
            self.gets.push_back(request);
        }
    }

    fn answer_get(&mut self, request: Request, said: &mut Vec<Said>) -> bool {
        if let Some(handed) = self.ledger.handle_get(request.holder) {
            said.push(Said::Answer(request, Answer::Item(handed)));
            return true;
        }
        if self.ledger.is_broken() {
            said.push(Said::Answer(request, Answer::JournalFailed));
            return true;
        }
        if !self.ledger.is_open(request.holder) {
            said.push(Said::Answer(request, Answer::Closed));
            return true;
        }
        false
    }

    /// Otherwise its answer is on the way already.
    pub(crate) fn cancel_request(&mut self, request: Request, said: &mut Vec<Said>) {
        if let Some(at) = self.puts.iter().position(|(other, _)| *other == request) {
            self.puts.remove(at);
            said.push(Said::Answer(request, Answer::Full));
        } else if let Some(at) = self.gets.iter().position(|other| *other == request) {
            self.gets.remove(at);
            self.ledger.handle_getter_waiting(false);
            said.push(Said::Answer(request, Answer::Empty));
        }
    }

    /// A consumer in the supervisor's own process takes an item.
    pub(crate) fn try_get(&mut self) -> Option<Handed> {
        self.ledger.handle_get(self.local)
    }

    pub(crate) fn getter_waits(&mut self, is_waiting: bool) {
        self.ledger.handle_getter_waiting(is_waiting);
        match is_waiting {
            true => self.local_getters += 1,
            false => self.local_getters -= 1,
        }
    }

    pub(crate) fn attach(&mut self, credit: Option<Credit>, quota: u64) -> HolderId {
        self.ledger.handle_join_for(credit, quota)
    }

    pub(crate) fn ask_to_stop(&mut self, holder: HolderId, said: &mut Vec<Said>) {
        self.ledger.handle_stop(holder);
        while let Some(at) = self.gets.iter().position(|r| r.holder == holder) {
            if let Some(request) = self.gets.remove(at) {
                self.ledger.handle_getter_waiting(false);
                said.push(Said::Answer(request, Answer::Closed));
            }
        }
    }

    pub(crate) fn detach(
        &mut self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
        now: Duration,
    ) -> usize {
        self.puts.retain(|(r, _)| r.holder != holder);
        self.staged.retain(|(r, _)| r.holder != holder);
        let waiting = self.gets.len();
        self.gets.retain(|r| r.holder != holder);
        for _ in self.gets.len()..waiting {
            self.ledger.handle_getter_waiting(false);
        }
        self.ledger.handle_leave(holder, started, blame, now)
    }

    /// What a worker said of a delivery: whether it was still its own.
    pub(crate) fn receive_verdict(
        &mut self,
        holder: HolderId,
        token: Token,
        ending: Ending,
        now: Duration,
    ) -> bool {
        let handed = self.ledger.handed(token);
        if handed.is_some_and(|handed| handed.holder == holder) {
            let settled = self.settle(token, ending, now);
            assert_eq!(settled, Ok(()), "a delivery that was there a moment ago");
            return true;
        }
        match ending {
            Ending::Returned => drop(self.ledger.handle_return(token)),
            _ => self.ledger.handle_late(token),
        }
        false
    }

    pub(crate) fn settle(
        &mut self,
        token: Token,
        ending: Ending,
        now: Duration,
    ) -> Result<(), Stale> {
        let scene = Scene {
            ended: now,
            ..Scene::default()
        };
        match ending {
            Ending::Done(result) => {
                let service = Duration::from_micros(result % 50);
                self.ledger.handle_done(token, service, Some(result))
            }
            Ending::Failed(cause) => {
                let blame = Blame { cause, scene };
                self.ledger.handle_nack(token, blame, None, now)
            }
            Ending::Deferred(cause, rest) => {
                let blame = Blame { cause, scene };
                self.ledger.handle_nack(token, blame, Some(rest), now)
            }
            Ending::Returned => self.ledger.handle_return(token),
        }
    }

    pub(crate) fn cancel(&mut self, id: ItemId, now: Duration) -> Cancelled {
        let scene = Scene {
            ended: now,
            ..Scene::default()
        };
        self.ledger.handle_cancel(id, scene)
    }

    /// How a `join` ends, if it does now.
    pub(crate) fn join_state(&self) -> Option<Result<(u64, u64), Answer>> {
        if self.ledger.is_finished() {
            let counts = self.ledger.counts();
            return Some(Ok((counts.done, counts.dead)));
        }
        if self.ledger.is_broken() {
            return Some(Err(Answer::JournalFailed));
        }
        let is_served_here = self.local_getters > 0 || self.ledger.held_by(self.local) > 0;
        (!self.is_crew_active && !is_served_here).then_some(Err(Answer::NoWorkersLeft))
    }

    /// All that follows from what the ledger was told.
    pub(crate) fn pump(&mut self, said: &mut Vec<Said>) {
        loop {
            self.hand_out(said);
            if !self.admit_waiting_puts(said) {
                break;
            }
        }
        while let Some(holder) = self.ledger.poll_worn() {
            said.push(Said::Worn(holder));
        }
        while let Some(report) = self.ledger.poll_report() {
            said.push(Said::Report(report));
        }
        self.answer_staged(said);
    }

    fn hand_out(&mut self, said: &mut Vec<Said>) {
        while let Some(request) = self.gets.pop_front() {
            if !self.answer_get(request, said) {
                self.gets.push_front(request);
                break;
            }
            self.ledger.handle_getter_waiting(false);
        }
        while let Some(handed) = self.ledger.poll_delivery() {
            said.push(Said::Deliver(handed));
        }
    }

    fn admit_waiting_puts(&mut self, said: &mut Vec<Said>) -> bool {
        let mut is_any_admitted = false;
        while let Some((request, parcel)) = self.puts.pop_front() {
            match self.try_put(parcel, false) {
                Err(Answer::Full) => {
                    self.puts.push_front((request, parcel));
                    break;
                }
                Ok(id) => {
                    is_any_admitted = true;
                    self.staged.push_back((request, id));
                    self.answer_staged(said);
                }
                Err(refusal) => said.push(Said::Answer(request, refusal)),
            }
        }
        is_any_admitted
    }

    fn answer_staged(&mut self, said: &mut Vec<Said>) {
        while let Some((request, id)) = self.staged.pop_front() {
            if self.ledger.is_durable(id) {
                said.push(Said::Answer(request, Answer::Accepted(id)));
            } else if self.ledger.is_broken() {
                said.push(Said::Answer(request, Answer::JournalFailed));
            } else {
                self.staged.push_front((request, id));
                return;
            }
        }
    }
}
