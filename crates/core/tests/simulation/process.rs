//! A worker process and the two directions of its link. Messages arrive in their order; those that
//! a process has not sent or not read yet are lost with it. Its scoreboard's words are visible at
//! once, and stay. MIRRORED from `src/worker/session.rs`: these words, and the times of
//! acknowledgements.

use std::collections::VecDeque;
use std::time::Duration;

use dishrack_core::ledger::{Cause, Exit, Handed, Refusal, Started, Token};

use crate::chance::Chance;
use crate::coverage::Coverage;
use crate::dispatcher::{Outcome, Reply};
use crate::envelope::Envelope;
use crate::plan::Rates;
use crate::truth::Truth;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) token: Token,
    pub(crate) ordinal: u64,
    pub(crate) number: u64,
    /// The slot that it was lent; 0 if none.
    pub(crate) slot: u32,
}

impl Job {
    pub(crate) fn new(handed: &Handed, number: u64) -> Self {
        Job {
            token: handed.token,
            ordinal: handed.ordinal,
            number,
            slot: handed.slot,
        }
    }
}

/// A message from the supervisor.
#[derive(Debug)]
pub(crate) enum Down {
    Deliver(Job),
    Revoke(Token),
    /// The worker must give back the items that it has not begun.
    GiveBack,
    Stop,
    Answer(Reply, Option<Job>),
}

/// A message from the worker.
#[derive(Debug)]
pub(crate) enum Up {
    Ready,
    Settled(Job, Outcome),
    HasBegun(Token),
    Get(u64),
    Put(u64, Envelope),
    /// The worker has waited long enough.
    Cancel(u64),
}

#[derive(Debug, Clone, Copy)]
struct Running {
    job: Job,
    since: Duration,
    is_hung: bool,
}

/// The parts of the world that a worker's step needs.
pub(crate) struct Surroundings<'a> {
    pub(crate) chance: &'a mut Chance,
    pub(crate) rates: &'a Rates,
    pub(crate) coverage: &'a mut Coverage,
    pub(crate) truth: &'a mut Truth,
    pub(crate) now: Duration,
    pub(crate) step: u64,
    /// True if faults are over, so that hanging parts go on.
    pub(crate) is_calm: bool,
    /// True if it was told that nothing is begun.
    pub(crate) is_paused: bool,
    /// True if results are compared, and some are wrong.
    pub(crate) is_voting: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Process {
    is_loop: bool,
    is_ready: bool,
    is_hung: bool,
    is_stopping: bool,
    inbox: VecDeque<Job>,
    running: Option<Running>,
    /// The scoreboard's words.
    pub(crate) board: Started,
    /// The worker is through with the deliveries up to this one: done, unless a word said
    /// otherwise.
    pub(crate) through: u64,
    /// The item that was begun and not acknowledged on the wire.
    pub(crate) begun: Option<Job>,
    unsent: Vec<Up>,
    requests: u64,
    is_asking: bool,
    has_cancelled: bool,
    /// The number of an item whose acceptance it waits for.
    putting: Option<u64>,
}

impl Process {
    pub(crate) fn new(is_loop: bool) -> Self {
        Process {
            is_loop,
            ..Process::default()
        }
    }

    /// Returns the unfinished items of the process.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Job> + '_ {
        let running = self.running.iter().map(|running| running.job);
        running.chain(self.inbox.iter().copied())
    }

    /// Returns the item that it is at, if it does not wait there for something else. A handler always
    /// counts.
    pub(crate) fn at_work(&self) -> Option<Job> {
        let waits = self.is_loop && (self.putting.is_some() || self.is_asking);
        let running = self.running.filter(|_| !waits)?;
        Some(running.job)
    }

    /// Returns the time that it has been at an item.
    pub(crate) fn overrun(&self, now: Duration) -> Duration {
        let running = self.running.map(|running| now - running.since);
        running.unwrap_or_default()
    }

    /// Takes one step of its life. Returns its exit after the last one.
    pub(crate) fn step(
        &mut self,
        around: &mut Surroundings<'_>,
        down: &mut VecDeque<Down>,
        up: &mut VecDeque<Up>,
    ) -> Option<Exit> {
        if !self.is_ready {
            return self.boot(around, up);
        }
        if around.chance.below(4) == 0 {
            self.flush(up);
        }
        if around.chance.below(2) == 0
            && let Some(news) = down.pop_front()
        {
            self.read(news, around);
            return None;
        }
        if self.running.is_some() {
            if self.putting.is_none() {
                let before = self.running;
                let exit = self.work(around);
                self.acknowledge_by_store(before, around, up);
                return exit;
            }
        } else if let Some(job) = self.inbox.pop_front() {
            // What was given back before is known before.
            self.flush(up);
            self.begin(job, around);
            return None;
        } else if around.chance.permille(around.rates.crash_in_idle) && self.unsent.is_empty() {
            return Some(Exit::Signaled(11));
        }
        self.cancel_request(around);
        self.flush(up);
        let is_idle = self.running.is_none() && self.inbox.is_empty() && !self.is_asking;
        if self.is_stopping && is_idle && down.is_empty() {
            return Some(Exit::Exited(0));
        }
        if self.is_loop && is_idle && !self.is_stopping {
            self.requests += 1;
            self.is_asking = true;
            self.has_cancelled = false;
            self.unsent.push(Up::Get(self.requests));
        }
        None
    }

    /// Cancels a request that takes too long. Its answer may be on the way already.
    fn cancel_request(&mut self, around: &mut Surroundings<'_>) {
        let is_waiting = self.is_asking || self.putting.is_some();
        if is_waiting
            && !self.has_cancelled
            && around.chance.permille(around.rates.cancelled_request)
        {
            self.has_cancelled = true;
            self.unsent.push(Up::Cancel(self.requests));
        }
    }

    fn boot(&mut self, around: &mut Surroundings<'_>, up: &mut VecDeque<Up>) -> Option<Exit> {
        let rates = around.rates;
        if self.is_hung && !around.is_calm {
            return None;
        }
        if around.chance.permille(rates.crash_in_boot) {
            return Some(Exit::Exited(1));
        }
        self.is_hung = around.chance.permille(rates.hang_in_boot);
        if !self.is_hung {
            self.is_ready = true;
            up.push_back(Up::Ready);
        }
        None
    }

    fn read(&mut self, news: Down, around: &mut Surroundings<'_>) {
        match news {
            Down::Deliver(job) if self.is_stopping => self.give_back(job),
            Down::Deliver(job) => self.inbox.push_back(job),
            Down::Revoke(token) => self.drop_revoked(token),
            Down::GiveBack => {
                for job in std::mem::take(&mut self.inbox) {
                    around.coverage.taken_back += 1;
                    self.give_back(job);
                }
            }
            Down::Stop => {
                self.is_stopping = true;
                for job in std::mem::take(&mut self.inbox) {
                    self.give_back(job);
                }
            }
            Down::Answer(Reply::Accepted(_), _) => {
                let number = self.putting.take().expect("it put something");
                around.coverage.puts_of_workers_told += 1;
                around.truth.put_told(number, around.step);
            }
            Down::Answer(Reply::Items(_), job) => {
                self.is_asking = false;
                around.coverage.crossing_answers += u64::from(self.has_cancelled);
                // It is taken as one that came in advance.
                self.inbox.push_back(job.expect("an item comes with it"));
            }
            Down::Answer(Reply::Ahead, _) => {
                around.coverage.answered_in_advance += 1;
                self.is_asking = false;
            }
            Down::Answer(Reply::Refused(Refusal::Empty), _) => self.is_asking = false,
            Down::Answer(_, _) if self.putting.take().is_some() => {}
            Down::Answer(_, _) => {
                self.is_asking = false;
                self.is_stopping = true;
            }
        }
    }

    fn give_back(&mut self, job: Job) {
        self.unsent.push(Up::Settled(job, Outcome::Returned));
    }

    fn drop_revoked(&mut self, token: Token) {
        if let Some(at) = self.inbox.iter().position(|job| job.token == token)
            && let Some(job) = self.inbox.remove(at)
        {
            self.give_back(job);
        } else if self.running.is_some_and(|one| one.job.token == token) {
            self.unsent.push(Up::HasBegun(token));
        }
    }

    fn begin(&mut self, job: Job, around: &mut Surroundings<'_>) {
        self.board = Started::at(job.ordinal);
        self.run(job, around);
    }

    fn run(&mut self, job: Job, around: &mut Surroundings<'_>) {
        let is_revoked = around.truth.is_revoked(job.token);
        assert!(!around.is_paused || is_revoked, "begun in a pause");
        self.begun = Some(job);
        self.running = Some(Running {
            job,
            since: around.now,
            is_hung: false,
        });
        // A loop's put may wait, until it is cancelled, for room that only the loop itself could
        // make.
        if around.chance.permille(around.rates.worker_put) {
            let number = around.truth.new_number();
            self.putting = Some(number);
            self.has_cancelled = false;
            self.requests += 1;
            self.unsent
                .push(Up::Put(self.requests, Envelope::new(number, None)));
        }
    }

    fn work(&mut self, around: &mut Surroundings<'_>) -> Option<Exit> {
        let running = self.running.as_mut().expect("it is at an item");
        if running.is_hung && !around.is_calm {
            return None;
        }
        let (rates, chance) = (around.rates, &mut *around.chance);
        if chance.permille(rates.hang) {
            running.is_hung = true;
            return None;
        }
        if chance.permille(rates.crash_in_item) {
            // One of them may mean a stop, but none ever comes.
            return Some(Exit::Signaled(chance.pick(&[11, 15])));
        }
        let job = running.job;
        // The dice of worlds without such kills are as they were.
        let is_short = rates.memory_kill > 0 && chance.permille(rates.memory_kill);
        let outcome = if is_short {
            around.coverage.memory_kills += 1;
            Outcome::failed(Cause::OutOfMemory)
        } else if chance.permille(rates.panic) {
            around.coverage.panics += 1;
            Outcome::failed(Cause::Panicked("oh".into()))
        } else if chance.permille(rates.nack) {
            around.coverage.nacks += 1;
            Outcome::failed(Cause::Nack("no".into()))
        } else if chance.permille(rates.deferred_nack) {
            around.coverage.deferred_nacks += 1;
            let rest = Duration::from_millis(chance.below(80));
            Outcome::Failed {
                cause: Cause::Nack("later".into()),
                rest: Some(rest),
            }
        } else if chance.permille(rates.shortage) {
            Outcome::Short("no process".into())
        } else if around.is_voting && !around.is_calm && chance.below(10) == 0 {
            around.coverage.wrong_results += 1;
            Outcome::Done(job.number + 1_000_000 * (1 + around.step))
        } else {
            Outcome::Done(job.number)
        };
        self.running = None;
        self.unsent.push(Up::Settled(job, outcome));
        None
    }

    /// Acknowledges by a store, after all earlier words, an item whose end is not waited for.
    fn acknowledge_by_store(
        &mut self,
        before: Option<Running>,
        around: &mut Surroundings<'_>,
        up: &mut VecDeque<Up>,
    ) {
        // A result that is compared is told.
        if self.running.is_some() || around.is_voting || around.chance.below(2) == 0 {
            return;
        }
        if let (Some(running), Some(Up::Settled(job, Outcome::Done(_)))) =
            (before, self.unsent.last())
            && job.ordinal == running.job.ordinal
        {
            self.unsent.pop();
            up.extend(self.unsent.drain(..));
            around.coverage.done_by_loops += u64::from(self.is_loop);
            self.through = running.job.ordinal;
        }
    }

    fn flush(&mut self, up: &mut VecDeque<Up>) {
        up.extend(self.unsent.drain(..));
        if self.running.is_none() {
            self.begun = None;
            self.board.current = 0;
        }
    }
}
