//! The supervising thread: starts worker processes, notices their ends, and carries out what
//! `child` decides. It sleeps until something happens or a deadline comes.
//!
//! It lives as long as its workers, because the kernel takes the end of the thread that started a
//! child for the parent's death.

mod exits;
mod forks;
mod memory;
mod roster;
mod scaling;
mod slot;
mod starts;
mod time_limits;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use nix::sys::signal::Signal;

use self::scaling::{PendingChanges, seed_of_slot};
use self::slot::Slot;
use super::fork::{ForkServer, Forks};
use super::notes::{Life, Note, NoteSender};
use super::oom::OomCounter;
use super::reap::Reaper;
use super::spawn::Position;
use super::status::{EndedWorker, Roster, RosterEntry, RunState, Stage};
use crate::broker::{Broker, TokenNeed};
use crate::observe::EventKind;
use crate::supervision::spawn::{Launch, StartMethod};
use crate::sys::clock::monotonic_ns;
use crate::sys::program::Handover;
use crate::sys::stderr::{Outlet, Relay};
use dishrack_core::ledger::{Credit, Exit};
use dishrack_core::pool::child::{Child, ChildEffect, ChildEvent, Phase};
use dishrack_core::pool::clock::Clock;
use dishrack_core::pool::scaler::Scaler;
use dishrack_core::pool::spec::{Bounds, ChildSpec, PoolName};

/// Bits of a worker's key at the reaper that name the slot; the others count its lives.
const SLOT_BITS: u32 = 20;

fn key_of(life: Life) -> u64 {
    life.number << SLOT_BITS | life.slot as u64
}

fn life_of(key: u64) -> Option<Life> {
    let slot = usize::try_from(key & ((1 << SLOT_BITS) - 1)).ok()?;
    let number = key >> SLOT_BITS;
    Some(Life { slot, number })
}

/// Returns the fork server that was given, or the pool's own. A journal's workers have one of their own,
/// too, because it bears the mark by which a later run knows them.
fn fork_server_of(plan: &ProcessPlan) -> ForkServer {
    let given = plan.fork_server.clone();
    given
        .filter(|_| plan.launch.journal.is_none())
        .unwrap_or_else(|| ForkServer::of_pool(&plan.name.name, &plan.launch, &plan.spec))
}

/// The plan of a supervisor of processes.
#[derive(Debug)]
pub(super) struct ProcessPlan {
    pub(super) name: PoolName,
    pub(super) workers: usize,
    pub(super) spec: ChildSpec,
    pub(super) method: StartMethod,
    /// The fork server that it has together with others.
    pub(super) fork_server: Option<ForkServer>,
    pub(super) position: Position,
    pub(super) credit: Credit,
    pub(super) bounds: Bounds,
    pub(super) launch: Launch,
    pub(super) stderr_to: Outlet,
    /// The tokens that its items need; they go back when it ends.
    pub(super) tokens: Option<Arc<TokenNeed>>,
}

pub(super) struct Watch {
    plan: ProcessPlan,
    broker: Arc<Broker>,
    slots: Vec<Slot>,
    reaper: Reaper,
    /// Files on their way to processes that are started.
    handover: Option<Handover>,
    notes: Receiver<Note>,
    sender: NoteSender,
    forks: Forks,
    roster: Roster,
    origin: Instant,
    /// Shows the time since the beginning, without the time in which the workers were suspended.
    clock: Clock,
    /// The same moment on the monotonic clock.
    origin_ns: u64,
    /// Passes on the workers' stderr.
    relay: Option<Relay>,
    oom: OomCounter,
    /// The reason why the last worker was given up.
    loss: Option<String>,
    scaler: Scaler,
    /// Workers that are to be started, first come first.
    unstarted: VecDeque<usize>,
    changes: PendingChanges,
    is_stopping: bool,
    /// Lives that were ordered from a fork server and are taken for never born.
    unborn: HashSet<Life>,
    /// Channels that ended before it was heard what became of the order.
    early_ends: HashMap<Life, Option<String>>,
    /// The workers that the queue knows of: those that are there or will be.
    told: usize,
}

impl Watch {
    pub(super) fn new(
        plan: ProcessPlan,
        broker: Arc<Broker>,
        reaper: Reaper,
        (sender, notes): (NoteSender, Receiver<Note>),
        roster: Roster,
    ) -> Self {
        let slot = |index: usize| {
            let name = plan.name.of_worker(index);
            Slot::new(name, Child::new(plan.spec, seed_of_slot(index)))
        };
        // Without it workers write to our stderr themselves.
        let outlet = match plan.launch.hides_stderr {
            true => |_: &[u8]| {},
            false => plan.stderr_to,
        };
        let relay = match plan.launch.inherits_stderr {
            true => None,
            false => {
                let guard = broker.guard();
                Relay::start(plan.spec.shutdown, outlet, move |why| guard.end(why)).ok()
            }
        };
        let forks = Forks::new(fork_server_of(&plan), sender.clone());
        roster.with(|roster| roster.wanted = plan.workers);
        let mut watch = Watch {
            slots: (0..plan.workers).map(slot).collect(),
            scaler: Scaler::new(plan.workers),
            unstarted: (0..plan.workers).collect(),
            changes: PendingChanges::default(),
            told: plan.workers,
            plan,
            broker,
            reaper,
            handover: None,
            notes,
            forks,
            sender,
            roster,
            origin: Instant::now(),
            clock: Clock::default(),
            origin_ns: monotonic_ns(),
            relay,
            oom: OomCounter::new(),
            loss: None,
            is_stopping: false,
            unborn: HashSet::new(),
            early_ends: HashMap::new(),
        };
        for index in 0..watch.slots.len() {
            watch.enter_in_roster(index);
        }
        watch
    }

    fn now(&self) -> Duration {
        self.clock.at(self.origin.elapsed())
    }

    /// Supervises until every worker is over. [`end`](Self::end) follows.
    pub(super) fn run(&mut self) {
        self.reaper.adopt(self.plan.launch.owns_process);
        if self.plan.launch.has_keeper
            && let Err(error) = self.reaper.keep(
                self.plan.launch.image.clone(),
                self.plan.tokens.as_ref().and_then(|need| need.pipe()),
            )
        {
            let name = Arc::clone(&self.slots[0].name);
            self.report(EventKind::Notice {
                why: format!("{name} has no keeper for what it starts: {error}"),
            });
        }
        while !self.is_over() {
            // One at a time, so that ready workers work, and a stop is heard meanwhile.
            if !self.is_stopping
                && let Some(slot) = self.unstarted.pop_front()
            {
                self.begin(slot);
                self.follow_scaler();
                if self.is_over() {
                    // It could not even be started, so no event would wake this thread.
                    break;
                }
            }
            let timeout = match self.unstarted.is_empty() || self.is_stopping {
                true => self.next_deadline().map(|at| at.saturating_sub(self.now())),
                false => Some(Duration::ZERO),
            };
            let ended = self.reaper.wait(timeout);
            // News of the workers' lives comes first, because it may explain their ends.
            while let Ok(note) = self.notes.try_recv() {
                self.take(note);
            }
            for (key, exit) in ended {
                self.ended(key, exit);
            }
            for slot in 0..self.slots.len() {
                let deadline = self.slots[slot].child.poll_timeout();
                if deadline.is_some_and(|at| at <= self.now()) {
                    self.happen(slot, ChildEvent::DeadlinePassed);
                }
            }
            self.make_round();
            self.measure();
            self.follow_scaler();
            self.tell_workers();
            self.reap_orphans();
        }
    }

    /// Tells the queue how many workers there are or will be: an item that waits for one more may
    /// wait in vain.
    fn tell_workers(&mut self) {
        let slots = self.slots.iter();
        let here = slots
            .filter(|slot| slot.child.phase() != Phase::Over)
            .count();
        let before = std::mem::replace(&mut self.told, here);
        if here != before {
            self.broker.with(|core| core.workers_change(here, before));
        }
    }

    /// Returns `true` if all workers are over, and none will come.
    fn is_over(&self) -> bool {
        self.are_all_over() && (self.is_stopping || self.scaler.is_over())
    }

    fn are_all_over(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.all(|slot| slot.child.phase() == Phase::Over)
    }

    fn next_deadline(&self) -> Option<Duration> {
        let deadlines = self
            .slots
            .iter()
            .filter_map(|slot| slot.child.poll_timeout());
        let watched = self.next_round().into_iter().chain(self.next_measurement());
        deadlines.chain(watched).min()
    }

    /// Tells of the end, and leaves what was used.
    pub(super) fn end(mut self) {
        self.tell_workers();
        // Those who were killed before their birth was heard of must not stay.
        while self.forks.has_unheard() {
            for (key, exit) in self.reaper.wait(None) {
                self.ended(key, exit);
            }
            while let Ok(note) = self.notes.try_recv() {
                self.take(note);
            }
        }
        self.plan.tokens = None;
        self.reaper.end_keeper();
        self.reaper.leave_orphans();
        let is_spent = self.loss.is_some() && !self.is_stopping;
        let why = self.loss.unwrap_or_else(|| match self.is_stopping {
            true => "they were stopped".into(),
            false => "they ended by themselves".into(),
        });
        let is_stopping = self.is_stopping;
        self.broker.with(|core| {
            core.pool_ended(&why, is_spent);
            if is_stopping {
                core.stop_is_over();
            }
        });
    }

    /// Tells a worker's state machine the event, and does what it says.
    fn happen(&mut self, index: usize, event: ChildEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let now = self.now();
            let child = &mut self.slots[index].child;
            let is_booting = child.phase() == Phase::Booting;
            let effect = child.handle(event, now);
            // The end of its channel is already its end, whatever its cause.
            let is_our_wish = !matches!(event, ChildEvent::LinkClosed | ChildEvent::Ended);
            if effect == Some(ChildEffect::Kill) && is_our_wish {
                self.slots[index].is_killed = true;
            }
            if is_booting && event == ChildEvent::DeadlinePassed {
                let deadline = self.plan.spec.boot_deadline;
                self.slots[index].complaint = Some(format!("was not ready within {deadline:?}"));
            }
            next = effect.and_then(|effect| self.carry_out(index, effect));
        }
        self.enter_in_roster(index);
    }

    fn carry_out(&mut self, index: usize, effect: ChildEffect) -> Option<ChildEvent> {
        match effect {
            ChildEffect::Start => match self.start_counted(index) {
                Ok(()) => None,
                Err(error) => {
                    let why = format!("could not be started: {error}");
                    let slot = &mut self.slots[index];
                    slot.ended = Some(EndedWorker {
                        name: slot.name.to_string(),
                        pid: 0,
                        exit: Exit::Unknown,
                        complaint: Some(why.clone()),
                    });
                    slot.complaint = Some(why);
                    self.report_failed_start(index, None, Exit::Unknown);
                    Some(ChildEvent::StartFailed)
                }
            },
            ChildEffect::AskToStop => {
                if let Some(holder) = self.slots[index].registration.holder() {
                    self.broker.ask_to_stop(holder);
                }
                None
            }
            ChildEffect::Kill => self.kill(index),
            ChildEffect::Conclude => Some(self.conclude(index)),
            ChildEffect::Finish => {
                self.leave_pool(index, "it ended by itself");
                None
            }
            ChildEffect::GiveUp => {
                let ChildSpec {
                    intensity, period, ..
                } = self.plan.spec;
                let slot = &self.slots[index];
                let last = match &slot.complaint {
                    Some(complaint) if slot.exit == Exit::Unknown => complaint.clone(),
                    Some(complaint) => format!("{} ({complaint})", slot.exit),
                    None => slot.exit.to_string(),
                };
                let why = format!(
                    "{} died again after {intensity} restarts (allowed within {period:?}): {last}",
                    slot.name
                );
                self.report(EventKind::WorkerGivenUp {
                    worker: Arc::clone(&slot.name),
                    why: why.clone(),
                });
                self.leave_pool(index, &why);
                self.loss = Some(why);
                None
            }
        }
    }

    fn kill(&mut self, index: usize) -> Option<ChildEvent> {
        let life = self.slots[index].life(index);
        if self.slots[index].pid.is_some() {
            self.reaper.kill(key_of(life));
            return None;
        }
        // It was ordered from the fork server and is not born. The order is taken back, or the
        // worker is killed at its birth. If that takes too long, the hanging fork server is killed
        // with its orders.
        if self.forks.cancel(life) {
            self.slots[index].is_lost = true;
            return Some(ChildEvent::Ended);
        }
        if std::mem::replace(&mut self.slots[index].is_kill_due, true) {
            self.forks.condemn(life);
        }
        None
    }

    /// Waits for orphans, unless a fork server's child may still be unknown.
    fn reap_orphans(&mut self) {
        if !self.forks.has_unheard() {
            self.reaper.reap_orphans();
        }
    }

    fn is_current(&self, life: Life) -> bool {
        self.slots[life.slot].life == life.number
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Ready { life, pid, group } if self.is_current(life) => {
                self.born(life, pid);
                self.begin_watchdog(life.slot);
                self.begin_memory_watch(life.slot, group);
                self.happen(life.slot, ChildEvent::Ready);
                self.note_ready(life.slot);
            }
            // Its end may be that of the fork server that had its order: that is heard soon.
            Note::LinkClosed { life, why } if self.forks.is_awaited(life) => {
                self.early_ends.insert(life, why);
            }
            Note::LinkClosed { life, why } if self.is_current(life) => {
                self.close_link(life.slot, why);
            }
            Note::Worn { life } if self.is_current(life) => self.recycle(life.slot),
            Note::Given { life } if self.is_current(life) => self.given(life.slot),
            Note::Revoked {
                life,
                ordinal,
                is_spare,
            } if self.is_current(life) => self.revoke(life, ordinal, is_spare),
            Note::Faulty { life, why } if self.is_current(life) => self.condemn(life.slot, why),
            // The life is over.
            Note::Worn { .. } | Note::Given { .. } | Note::Revoked { .. } | Note::Faulty { .. } => {
            }
            Note::Ready { life, pid, .. } => self.end_late_born(life, pid),
            Note::LinkClosed { .. } => {}
            Note::Forked { life, end } => self.order_ended(life, end),
            Note::Suspend(told) => {
                self.clock.suspend(self.origin.elapsed());
                // No softer signal stops them, because their groups are in a session without a
                // terminal.
                self.reaper.signal_groups(Signal::SIGSTOP);
                drop(told);
            }
            Note::Resume => {
                self.reaper.signal_groups(Signal::SIGCONT);
                self.clock.resume(self.origin.elapsed());
            }
            Note::Answer(told) => drop(told),
            Note::CloseContextFiles => self.plan.position.files.clear(),
            Note::Scale { workers, told } => self.scale(workers, told),
            Note::Reload { told } => self.reload(told),
            Note::Replace { name, told } => self.replace(&name, told),
            Note::End { name, told } => self.end_worker(&name, told),
            Note::Stop => self.stop(ChildEvent::StopAsked),
            Note::Drain => self.stop(ChildEvent::DrainAsked),
            Note::Kill => self.stop(ChildEvent::KillAsked),
        }
    }

    fn close_link(&mut self, index: usize, why: Option<String>) {
        if let Some(why) = why {
            self.condemn(index, why);
        }
        self.happen(index, ChildEvent::LinkClosed);
    }

    /// Ends a worker that broke the rules or cannot be reached.
    fn condemn(&mut self, index: usize, why: String) {
        self.slots[index].complaint = Some(why);
        self.slots[index].is_killed = true;
        self.reaper.kill(key_of(self.slots[index].life(index)));
    }

    fn stop(&mut self, event: ChildEvent) {
        let was_stopping = std::mem::replace(&mut self.is_stopping, true);
        self.scaler.handle_stop();
        self.roster.with(|roster| {
            roster.state = match event {
                ChildEvent::DrainAsked if !was_stopping => RunState::Draining,
                _ => RunState::Stopping,
            }
        });
        for index in 0..self.slots.len() {
            self.happen(index, event);
        }
        // No worker takes the items that go back by this.
        if !was_stopping {
            self.broker.with(|core| core.stop_begins());
        }
    }

    fn ended(&mut self, key: u64, exit: Exit) {
        let Some(life) = life_of(key) else {
            return;
        };
        let index = life.slot;
        if !self.is_current(life) || self.slots[index].is_lost {
            return;
        }
        self.slots[index].exit = exit;
        self.happen(index, ChildEvent::Ended);
    }
}
