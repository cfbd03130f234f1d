//! The supervising thread: starts worker processes, notices their ends, and carries out what
//! `child` decides. It sleeps until something happens or a deadline comes.
//!
//! It lives as long as its workers, because the kernel takes the end of the thread that started a
//! child for the parent's death.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use nix::libc;

use super::WorkerInfo;
use super::child::{Child, Deed, Happening, Phase};
use super::fork::ForkServer;
use super::notes::{Berth, Life, Note, NoteSender};
use super::reap::Reaper;
use super::restart::Window;
use super::spawn::{self, Ends, Position};
use super::spec::{ChildSpec, StartMethod};
use super::uplink::{self, Reception};
use crate::broker::Broker;
use crate::ledger::{Blame, Cause, Credit, Exit};
use crate::link::scoreboard::Scoreboard;
use crate::observe::What;

/// The fork server's key at the reaper; workers' keys are made of slot and life.
const FORK_SERVER: u64 = u64::MAX - 1;

/// The workers that are ready, by slot; read by the program.
pub(super) type Roster = Arc<Mutex<BTreeMap<usize, WorkerInfo>>>;

/// Bits of a key that name the slot.
const SLOT_BITS: u32 = 20;

fn key_of(life: Life) -> u64 {
    life.number << SLOT_BITS | life.slot as u64
}

fn life_of(key: u64) -> Option<Life> {
    let slot = usize::try_from(key & ((1 << SLOT_BITS) - 1)).ok()?;
    let number = key >> SLOT_BITS;
    Some(Life { slot, number })
}

/// What a supervisor of processes was built with.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) workers: usize,
    pub(super) spec: ChildSpec,
    pub(super) method: StartMethod,
    pub(super) position: Position,
    pub(super) credit: Option<Credit>,
}

/// One worker: its life so far, and what belongs to the present one.
#[derive(Debug)]
struct Slot {
    name: Arc<str>,
    child: Child,
    life: u64,
    pid: Option<u32>,
    exit: Exit,
    berth: Berth,
    board: Option<Scoreboard>,
    /// Where a spawned worker is awaited.
    socket: Option<String>,
    /// Why its channel was given up, if it was.
    complaint: Option<String>,
    /// It was ordered from the fork server and taken for never born.
    is_lost: bool,
    /// It is to be killed as soon as its pid is known.
    is_kill_due: bool,
    has_begun: bool,
}

impl Slot {
    fn life(&self, slot: usize) -> Life {
        let number = self.life;
        Life { slot, number }
    }
}

pub(super) struct Watch {
    plan: Plan,
    broker: Arc<Broker>,
    slots: Vec<Slot>,
    reaper: Reaper,
    notes: Receiver<Note>,
    sender: NoteSender,
    fork_server: ForkServer,
    roster: Roster,
    origin: Instant,
    /// Why the last worker was given up.
    loss: Option<String>,
    is_stopping: bool,
    /// All workers are over: the fork server is not started again.
    is_over: bool,
    fork_server_restarts: Window,
    /// Lives that were ordered from a fork server and taken for never born.
    unborn: HashSet<Life>,
}

impl Watch {
    pub(super) fn new(
        plan: Plan,
        broker: Arc<Broker>,
        reaper: Reaper,
        (sender, notes): (NoteSender, Receiver<Note>),
        roster: Roster,
    ) -> Self {
        let slot = |index: usize| Slot {
            name: format!("{}-{}", plan.name, index + 1).into(),
            child: Child::new(
                plan.spec,
                index as u64 ^ u64::from(std::process::id()) << 32,
            ),
            life: 0,
            pid: None,
            exit: Exit::Unknown,
            berth: Berth::default(),
            board: None,
            socket: None,
            complaint: None,
            is_lost: false,
            is_kill_due: false,
            has_begun: false,
        };
        Watch {
            slots: (0..plan.workers).map(slot).collect(),
            plan,
            broker,
            reaper,
            notes,
            fork_server: ForkServer::new(),
            sender,
            roster,
            origin: Instant::now(),
            loss: None,
            is_stopping: false,
            is_over: false,
            fork_server_restarts: Window::default(),
            unborn: HashSet::new(),
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Supervises until every worker is over.
    pub(super) fn run(mut self) {
        if self.plan.method == StartMethod::Fork {
            self.start_fork_server();
        }
        let mut unstarted = 0..self.slots.len();
        while self
            .slots
            .iter()
            .any(|slot| slot.child.phase() != Phase::Over)
        {
            // One at a time, so that whoever is ready works, and a stop is heard meanwhile.
            if !self.is_stopping
                && let Some(slot) = unstarted.next()
            {
                self.happen(slot, Happening::Begin);
            }
            let timeout = match unstarted.is_empty() || self.is_stopping {
                true => self.next_deadline().map(|at| at.saturating_sub(self.now())),
                false => Some(Duration::ZERO),
            };
            for (key, exit) in self.reaper.wait(timeout) {
                self.ended(key, exit);
            }
            while let Ok(note) = self.notes.try_recv() {
                self.take(note);
            }
            for slot in 0..self.slots.len() {
                let deadline = self.slots[slot].child.poll_timeout();
                if deadline.is_some_and(|at| at <= self.now()) {
                    self.happen(slot, Happening::DeadlinePassed);
                }
            }
        }
        self.end();
    }

    fn next_deadline(&self) -> Option<Duration> {
        let deadlines = self
            .slots
            .iter()
            .filter_map(|slot| slot.child.poll_timeout());
        deadlines.min()
    }

    fn end(mut self) {
        self.is_over = true;
        if self.fork_server.is_alive() {
            self.reaper.kill(FORK_SERVER);
            while self.fork_server.is_alive() {
                for (key, exit) in self.reaper.wait(None) {
                    self.ended(key, exit);
                }
                while let Ok(note) = self.notes.try_recv() {
                    self.take(note);
                }
            }
        }
        let is_spent = self.loss.is_some() && !self.is_stopping;
        let why = self.loss.unwrap_or_else(|| match self.is_stopping {
            true => "they were stopped".into(),
            false => "they ended by themselves".into(),
        });
        self.broker.with(|core| core.crew_ended(&why, is_spent));
    }

    /// Tells a worker's state machine what happened, and does what it says.
    fn happen(&mut self, index: usize, happening: Happening) {
        let mut next = Some(happening);
        while let Some(happening) = next.take() {
            let now = self.now();
            let Some(deed) = self.slots[index].child.handle(happening, now) else {
                return;
            };
            next = self.carry_out(index, deed);
        }
    }

    fn carry_out(&mut self, index: usize, deed: Deed) -> Option<Happening> {
        match deed {
            Deed::Start => match self.start(index) {
                Ok(()) => None,
                Err(error) => {
                    let why = format!("could not be started: {error}");
                    self.slots[index].complaint = Some(why.clone());
                    self.report_failure(index, why);
                    Some(Happening::StartFailed)
                }
            },
            Deed::AskToStop => {
                if let Some(holder) = self.slots[index].berth.holder() {
                    self.broker.ask_to_stop(holder);
                }
                None
            }
            Deed::Kill => self.kill(index),
            Deed::Bury => Some(self.bury(index)),
            Deed::Finish => None,
            Deed::GiveUp => {
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
                self.report_failure(index, "is given up".into());
                self.loss = Some(why);
                None
            }
        }
    }

    fn kill(&mut self, index: usize) -> Option<Happening> {
        let life = self.slots[index].life(index);
        if self.slots[index].pid.is_some() {
            self.reaper.kill(key_of(life));
            return None;
        }
        // Ordered from the fork server and not born: the order is taken back, or it is killed when
        // it is born. If that takes too long the fork server hangs, and goes with its orders.
        if self.fork_server.cancel(life) {
            self.slots[index].is_lost = true;
            return Some(Happening::Ended);
        }
        if std::mem::replace(&mut self.slots[index].is_kill_due, true) {
            self.reaper.kill(FORK_SERVER);
        }
        None
    }

    fn start(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.slots[index];
        slot.life += 1;
        slot.pid = None;
        slot.exit = Exit::Unknown;
        slot.complaint = None;
        slot.is_lost = false;
        slot.is_kill_due = false;
        if std::mem::replace(&mut slot.has_begun, true) {
            self.broker.with(|core| core.restarts += 1);
        }
        match self.plan.method {
            StartMethod::Spawn => self.spawn(index),
            StartMethod::Fork => self.fork(index),
        }
    }

    fn spawn(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.slots[index];
        let (ends, appointment) = spawn::appoint(&slot.name, &self.plan.position)?;
        let started = spawn::start(&slot.name)?;
        let life = slot.life(index);
        self.reaper.watch(key_of(life), started.pid)?;
        slot.pid = Some(started.pid);
        slot.socket = Some(started.socket);
        let reception = self.reception(index, ends);
        uplink::receive(reception, Some((started.place, appointment))).or_else(|error| {
            // The process is there without a channel: it will be buried when it has ended.
            self.close_link(index, Some(error.to_string()));
            Ok(())
        })
    }

    fn fork(&mut self, index: usize) -> io::Result<()> {
        if self.fork_server.has_failed() {
            let why = self.fork_server.failure();
            return Err(io::Error::other(format!("no fork server: {why}")));
        }
        let slot = &self.slots[index];
        let (ends, appointment) = spawn::appoint(&slot.name, &self.plan.position)?;
        let life = slot.life(index);
        uplink::receive(self.reception(index, ends), None)?;
        self.fork_server.order(life, appointment);
        Ok(())
    }

    fn reception(&mut self, index: usize, ends: Ends) -> Reception {
        let slot = &mut self.slots[index];
        slot.board = Some(ends.board);
        slot.berth = Berth::default();
        Reception {
            life: slot.life(index),
            berth: slot.berth.clone(),
            notes: self.sender.clone(),
            broker: Arc::clone(&self.broker),
            worker: Arc::clone(&slot.name),
            credit: self.plan.credit,
            downlink: ends.downlink,
            uplink: ends.uplink,
            item_type: self.plan.position.item_type,
        }
    }

    fn start_fork_server(&mut self) {
        let title = format!("fork-server of {}", self.plan.name);
        let started = spawn::start(&title).and_then(|started| {
            self.reaper.watch_alone(FORK_SERVER, started.pid)?;
            let server = self.fork_server.next_number();
            uplink::receive_fork_server(server, started.place, self.sender.clone())?;
            Ok(started.socket)
        });
        match started {
            Ok(socket) => self.fork_server.began(socket),
            Err(error) => {
                // If its process is there, nobody would ever meet it.
                self.reaper.kill(FORK_SERVER);
                let orders = self.fork_server.fail(error.to_string());
                self.report_lost_orders(&orders, &format!("no fork server: {error}"));
            }
        }
    }

    fn report_lost_orders(&mut self, orders: &[Life], why: &str) {
        for life in orders {
            if self.is_current(*life) {
                self.report_failure(life.slot, why.to_owned());
                self.lose_unborn(life.slot);
            }
        }
    }

    /// A worker that was ordered will not come.
    fn lose_unborn(&mut self, index: usize) {
        // The channel's end is noticed by its reader; no process was there to end.
        self.slots[index].is_lost = true;
        self.unborn.insert(self.slots[index].life(index));
        self.happen(index, Happening::Ended);
    }

    fn is_current(&self, life: Life) -> bool {
        self.slots[life.slot].life == life.number
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Ready { life, pid } if self.is_current(life) => {
                self.born(life, pid);
                self.slots[life.slot].socket = None;
                self.enter_in_roster(life.slot, pid);
                self.happen(life.slot, Happening::Ready);
            }
            Note::LinkClosed { life, why } if self.is_current(life) => {
                self.close_link(life.slot, why);
            }
            // News of a life that is over.
            Note::Ready { life, pid } => self.end_late_born(life, pid),
            Note::LinkClosed { .. } => {}
            Note::ForkServerClosed { server } => {
                self.fork_server.closed(server);
                self.bury_fork_server();
            }
            Note::ForkServerReady { server, orders } => self.fork_server.ready(server, orders),
            Note::Forked { server, reply } => match (self.fork_server.replied(server), reply) {
                (Some(life), Ok(pid)) => self.born(life, pid),
                (Some(life), Err(why)) => self.report_lost_orders(&[life], &why),
                (None, _) => {}
            },
            Note::Stop => self.stop(Happening::StopAsked),
            Note::Kill => self.stop(Happening::KillAsked),
        }
    }

    /// The pid of a forked worker is known, by the fork server or by the worker itself.
    fn born(&mut self, life: Life, pid: u32) {
        let slot = &self.slots[life.slot];
        let is_buried = matches!(slot.child.phase(), Phase::Resting | Phase::Over);
        if !self.is_current(life) || is_buried {
            self.end_late_born(life, pid);
            return;
        }
        if slot.pid.is_some() {
            return;
        }
        self.slots[life.slot].pid = Some(pid);
        self.unborn.remove(&life);
        let is_dying = self.slots[life.slot].child.phase() == Phase::Dying;
        if let Err(error) = self.reaper.watch(key_of(life), pid) {
            self.slots[life.slot].complaint = Some(error.to_string());
            self.lose_unborn(life.slot);
        } else if is_dying {
            self.reaper.kill(key_of(life));
        }
    }

    /// A worker that was taken for never born is there after all: its fork server died before it
    /// could say so. It was never watched, so it was never waited for, and the pid is still its own.
    fn end_late_born(&mut self, life: Life, pid: u32) {
        if self.unborn.remove(&life) && self.reaper.watch(key_of(life), pid).is_ok() {
            self.reaper.kill(key_of(life));
        }
    }

    fn close_link(&mut self, index: usize, why: Option<String>) {
        if let Some(why) = why {
            self.slots[index].complaint = Some(why);
            self.reaper.kill(key_of(self.slots[index].life(index)));
        }
        self.happen(index, Happening::LinkClosed);
    }

    fn stop(&mut self, happening: Happening) {
        self.is_stopping = true;
        for index in 0..self.slots.len() {
            self.happen(index, happening);
        }
    }

    fn ended(&mut self, key: u64, exit: Exit) {
        if key == FORK_SERVER {
            self.fork_server_ended(exit);
            return;
        }
        let Some(life) = life_of(key) else {
            return;
        };
        let index = life.slot;
        if !self.is_current(life) || self.slots[index].is_lost {
            return;
        }
        let slot = &mut self.slots[index];
        slot.exit = exit;
        // Nobody comes to the meeting any more; whoever waits there must be told.
        if let Some(socket) = slot.socket.take() {
            spawn::release(&socket);
        }
        self.happen(index, Happening::Ended);
    }

    /// Its process has ended. What it said before is still to be read.
    fn fork_server_ended(&mut self, exit: Exit) {
        if let Some(socket) = self.fork_server.process_ended(exit) {
            spawn::release(&socket);
        }
        self.bury_fork_server();
    }

    /// When both its process and its replies have ended, its unanswered orders are lost.
    fn bury_fork_server(&mut self) {
        let Some((orders, exit)) = self.fork_server.bury() else {
            return;
        };
        self.report_lost_orders(&orders, &format!("the fork server {exit}"));
        let ChildSpec {
            intensity, period, ..
        } = self.plan.spec;
        let now = self.now();
        if self.is_stopping || self.is_over {
            return;
        }
        if self
            .fork_server_restarts
            .note(now, intensity, period)
            .is_some()
        {
            self.start_fork_server();
        } else {
            let why = format!("it died too often, at last: {exit}");
            let orders = self.fork_server.fail(why);
            self.report_lost_orders(&orders, "the fork server died too often");
        }
    }

    /// Both process and channel have ended: what the worker held goes back or is charged.
    fn bury(&mut self, index: usize) -> Happening {
        let slot = &mut self.slots[index];
        let (exit, pid) = (slot.exit, slot.pid.take());
        let started = slot
            .board
            .take()
            .map(|board| board.read())
            .unwrap_or_default();
        let mut charged = 0;
        let mut holding = None;
        let name = Arc::clone(&slot.name);
        let berth = slot.berth.clone();
        // From now on its news is old.
        slot.life += 1;
        if let Some(holder) = berth.end() {
            holding = self.broker.name_of_started(holder, started);
            self.report_exit(&name, pid, exit, holding);
            // Killed by us because it was told to stop: that is nothing against its item.
            let is_our_doing = self.is_stopping && exit == Exit::Signaled(libc::SIGKILL);
            let blame = (!is_our_doing).then(|| Blame::from(Cause::WorkerDied(exit)));
            charged = self.broker.detach(holder, started, blame.as_ref());
        } else {
            self.report_exit(&name, pid, exit, holding);
        }
        if let Some(complaint) = self.slots[index].complaint.clone() {
            self.report_failure(index, complaint);
        }
        self.roster().remove(&index);
        Happening::Buried { exit, charged }
    }

    fn report_exit(
        &self,
        worker: &Arc<str>,
        pid: Option<u32>,
        exit: Exit,
        holding: Option<String>,
    ) {
        let Some(pid) = pid else {
            return;
        };
        let what = What::WorkerExited {
            worker: Arc::clone(worker),
            pid,
            exit,
            holding,
            is_asked: self.is_stopping,
        };
        self.broker.read(|core| core.emitter.emit(what));
    }

    fn report_failure(&self, index: usize, why: String) {
        if self.is_stopping {
            return;
        }
        let worker = Arc::clone(&self.slots[index].name);
        let what = What::WorkerFailed { worker, why };
        self.broker.read(|core| core.emitter.emit(what));
    }

    fn roster(&self) -> MutexGuard<'_, BTreeMap<usize, WorkerInfo>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter_in_roster(&self, index: usize, pid: u32) {
        let name = self.slots[index].name.to_string();
        self.roster().insert(index, WorkerInfo { name, pid });
    }
}
