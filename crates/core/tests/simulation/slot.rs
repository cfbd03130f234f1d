//! A worker's place at its supervisor: the real rules of its life, its process and its link, and a
//! second check of its restarts.

use std::collections::VecDeque;
use std::time::Duration;

use dishrack_core::ledger::{Cause, Exit, HolderId, Started};
use dishrack_core::pool::child::{Child, ChildEffect};
use dishrack_core::pool::spec::ChildSpec;

use crate::process::{Down, Job, Process, Up};

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) child: Child,
    pub(crate) is_loop: bool,
    pub(crate) process: Option<Process>,
    pub(crate) down: VecDeque<Down>,
    pub(crate) up: VecDeque<Up>,
    pub(crate) holder: Option<HolderId>,
    /// The exit of the process, if its supervisor does not know it yet.
    pub(crate) untold_exit: Option<Exit>,
    pub(crate) exit: Exit,
    pub(crate) is_link_open: bool,
    /// True if something else holds the channel open.
    pub(crate) lingers: bool,
    /// Up to which delivery a dead process is through by its scoreboard, and up to which that was
    /// heard.
    pub(crate) through: u64,
    pub(crate) through_heard: u64,
    /// The scoreboard that a dead process left, and its real work.
    pub(crate) board: Started,
    pub(crate) begun: Option<Job>,
    /// Set if its supervisor killed it, with the cause if that is an item's fault.
    pub(crate) killed_for: Option<Option<Cause>>,
    pub(crate) is_over: bool,
    /// True if it is not wanted any more.
    pub(crate) is_leaving: bool,
    /// The step in which its process was started.
    pub(crate) born: u64,
    /// True if an item was really charged with its last death.
    pub(crate) was_guilty: bool,
    is_uncounted: bool,
    /// The times of the restarts that were charged to it.
    stamps: Vec<Duration>,
    failed_boots: u32,
    was_ready: bool,
}

impl Slot {
    pub(crate) fn new(spec: ChildSpec, seed: u64, is_loop: bool) -> Self {
        Slot {
            child: Child::new(spec, seed),
            is_loop,
            process: None,
            down: VecDeque::new(),
            up: VecDeque::new(),
            holder: None,
            untold_exit: None,
            exit: Exit::Unknown,
            is_link_open: false,
            lingers: false,
            through: 0,
            through_heard: 0,
            board: Started::default(),
            begun: None,
            killed_for: None,
            is_over: false,
            is_leaving: false,
            born: 0,
            was_guilty: false,
            is_uncounted: false,
            stamps: Vec::new(),
            failed_boots: 0,
            was_ready: false,
        }
    }

    pub(crate) fn start(&mut self, step: u64) {
        self.born = step;
        assert!(self.process.is_none() && self.holder.is_none());
        self.process = Some(Process::new(self.is_loop));
        self.down.clear();
        self.up.clear();
        self.exit = Exit::Unknown;
        self.is_link_open = true;
        self.lingers = false;
        self.board = Started::default();
        self.through = 0;
        self.through_heard = 0;
        self.begun = None;
        self.killed_for = None;
        self.was_ready = false;
    }

    /// Begins a life, even if the process cannot be started.
    pub(crate) fn begin(&mut self) {
        self.failed_boots += 1;
        self.is_uncounted = false;
        self.was_guilty = false;
    }

    pub(crate) fn ready(&mut self, is_in_time: bool) {
        self.was_ready = true;
        if is_in_time {
            self.failed_boots = 0;
        }
    }

    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Excuses the next end of this process from being counted against the slot.
    pub(crate) fn excuse(&mut self) {
        self.is_uncounted = true;
    }

    /// Ends the process: messages that it did not send or did not read are lost.
    pub(crate) fn die(&mut self, exit: Exit) {
        if let Some(process) = self.process.take() {
            self.board = process.board;
            self.through = process.through;
            self.begun = process.begun;
            self.untold_exit = Some(exit);
            self.down.clear();
        }
    }

    /// Checks the rules' decision after a conclusion. Deaths that no item is charged with count,
    /// and one too many of them within the period ends the slot.
    pub(crate) fn judge(
        &mut self,
        effect: Option<ChildEffect>,
        is_stopping: bool,
        spec: &ChildSpec,
        now: Duration,
    ) {
        if is_stopping {
            assert_eq!(effect, Some(ChildEffect::Finish), "it was to stop");
            return;
        }
        if self.was_guilty || self.is_uncounted {
            assert_eq!(
                effect,
                Some(ChildEffect::Start),
                "an item's fault, or nobody's"
            );
            return;
        }
        self.stamps.retain(|at| now - *at <= spec.period);
        self.stamps.push(now);
        let is_too_often = self.stamps.len() > spec.intensity as usize;
        match is_too_often || self.failed_boots > spec.intensity {
            true => assert_eq!(effect, Some(ChildEffect::GiveUp), "{:?}", self.stamps),
            false => assert_eq!(effect, None, "it rests first"),
        }
    }
}
