//! The copies of one attempt: which run, how the others ended, and whether a result counts.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ledger::leases::CopyMark;
use crate::ledger::policy::{Ballot, Copies};
use crate::ledger::report::CopyEnd;
use crate::ledger::unfinished::UnfinishedItem;
use crate::ledger::{Blame, Cause, CopySaid, Handed, HolderId, Scene, Token};

/// The end of a copy.
#[derive(Debug)]
pub(super) struct Ended<R> {
    pub(super) handed: Handed,
    /// Its result, as far as that is kept, or the cause of its failure.
    pub(super) said: Result<Option<R>, Cause>,
    /// The time that it took, if it is done.
    pub(super) service: Duration,
    /// The rest before the next attempt, if it asked for one.
    pub(super) rest: Option<Duration>,
    pub(super) scene: Scene,
}

/// The consequence of the ends so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing yet.
    Open,
    /// The end of the copy in this place counts.
    Won(usize),
    /// No result can count any more.
    Over,
    /// No result can count, as long as there are no more workers.
    Short,
}

#[derive(Debug)]
pub(in crate::ledger) struct Group<P, R> {
    pub(super) entry: UnfinishedItem<P>,
    pub(super) policy: Copies,
    /// The time when it began.
    pub(super) since: Duration,
    /// The number of copies that may be begun by now.
    allowed: u32,
    /// Copies that run, in the order of their beginning.
    pub(super) running: Vec<Handed>,
    pub(super) ended: Vec<Ended<R>>,
    /// The holders that have begun one.
    pub(super) used: Vec<HolderId>,
}

impl<P, R> Group<P, R> {
    pub(super) fn new(entry: UnfinishedItem<P>, policy: Copies, since: Duration) -> Self {
        Group {
            entry,
            since,
            allowed: match policy.hedging() {
                Some(_) => policy.needed(),
                None => policy.count(),
            },
            policy,
            running: Vec::new(),
            ended: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Returns the number of copies that were begun and not given back.
    fn begun(&self) -> usize {
        self.running.len() + self.ended.len()
    }

    fn left(&self) -> usize {
        (self.policy.count() as usize).saturating_sub(self.begun())
    }

    /// Returns `true` if copies are held back until it takes long.
    pub(super) fn is_hedging(&self) -> bool {
        self.allowed < self.policy.count()
    }

    /// Returns `true` if all that was allowed has ended, so that only later copies can decide.
    pub(super) fn is_waiting_for_later_copies(&self) -> bool {
        self.running.is_empty() && self.begun() >= self.allowed as usize
    }

    /// Allows all copies from now on.
    pub(super) fn release(&mut self) {
        self.allowed = self.policy.count();
    }

    /// Returns `true` if another copy is to be handed out. `is_waiting`: other items wait. Where no
    /// copy runs, those that ended came to nothing, and nothing but another one ends the item.
    pub(super) fn wants_copy(&self, is_waiting: bool) -> bool {
        let begun = self.begun();
        let is_backup = self.policy.hedging().is_some() && begun >= self.policy.needed() as usize;
        let is_backup = is_backup && !self.running.is_empty();
        let is_held_back = is_backup && is_waiting && !self.policy.is_pressing();
        begun < self.allowed as usize && !is_held_back
    }

    /// Returns the mark of the next copy: the first number that no copy of this attempt has.
    pub(super) fn next_mark(&self) -> CopyMark {
        let ended = self.ended.iter().map(|one| one.handed.copy);
        let mut taken: Vec<u32> = self.running.iter().map(|one| one.copy).collect();
        taken.extend(ended);
        let free = (1..).find(|number| !taken.contains(number));
        CopyMark {
            number: free.unwrap_or(u32::MAX),
            of: self.policy.count(),
            attempt: self.entry.attempt(),
        }
    }

    pub(super) fn begin(&mut self, handed: Handed) {
        self.running.push(handed);
        self.used.push(handed.holder);
    }

    /// Notes that a copy was given back, as if it had never been handed out.
    pub(super) fn forget(&mut self, token: Token) {
        self.running.retain(|one| one.token != token);
        if let Some(place) = self.used.iter().position(|one| *one == token.holder) {
            self.used.swap_remove(place);
        }
    }

    pub(super) fn end(&mut self, ended: Ended<R>) {
        self.running.retain(|one| one.token != ended.handed.token);
        self.ended.push(ended);
    }
}

impl<P, R: Ballot> Group<P, R> {
    /// Returns the number of copies that agree with this one, itself included, whatever a
    /// comparison says of that; 0 if it does not count. Where one copy is enough, no failure counts
    /// before all have failed.
    fn votes(&self, one: &Ended<R>) -> usize {
        let is_a_vote = match &one.said {
            Ok(_) => true,
            Err(cause) => self.policy.needed() > 1 && cause.is_a_vote(),
        };
        if !is_a_vote {
            return 0;
        }
        let others = self.ended.iter();
        let others = others.filter(|other| other.handed.token != one.handed.token);
        1 + others.filter(|other| one.agrees(other)).count()
    }

    /// Decides what follows, if this many workers may still begin a copy.
    pub(super) fn decide(&self, workers_left: usize) -> Decision {
        let needed = self.policy.needed() as usize;
        let votes = self.ended.iter().map(|one| self.votes(one));
        let votes: Vec<usize> = votes.collect();
        if let Some(place) = votes.iter().rposition(|votes| *votes >= needed) {
            return Decision::Won(place);
        }
        let best = votes.into_iter().max().unwrap_or(0);
        let running = self.running.len();
        let to_come = self.to_come();
        if best + running + to_come < needed {
            return Decision::Over;
        }
        if best + running + to_come.min(workers_left) < needed {
            return Decision::Short;
        }
        Decision::Open
    }

    /// Returns the number of copies that are not begun and are waited for, whatever the others come
    /// to. A backup of the first one is made because that is slow; once it has failed, none is.
    fn to_come(&self) -> usize {
        match self.policy.needed() == 1 && self.policy.hedging().is_some() {
            true => 0,
            false => self.left(),
        }
    }

    /// Returns the end of a copy, if that of the copy in this place counts.
    pub(super) fn end_of(&self, one: &Ended<R>, place: usize) -> CopyEnd {
        let winner = &self.ended[place];
        match &one.said {
            _ if one.handed.token == winner.handed.token => CopyEnd::Counted,
            _ if one.agrees(winner) => CopyEnd::Agreed,
            Err(_) => CopyEnd::Failed,
            Ok(result) => CopyEnd::Disagreed {
                said: describe(result.as_ref()),
                counted: match &winner.said {
                    Ok(result) => describe(result.as_ref()),
                    Err(cause) => alloc::format!("a failure ({cause})"),
                },
            },
        }
    }

    /// Returns the item with the cause of its failed attempt: that of its copy, or, if there were
    /// several, what each of them said.
    pub(super) fn into_blame(mut self) -> (UnfinishedItem<P>, Blame, Option<Duration>) {
        let rest = self.ended.iter().filter_map(|one| one.rest).max();
        let last = self.ended.pop();
        let (cause, scene) = match last {
            Some(Ended {
                said: Err(cause),
                scene,
                ..
            }) if self.ended.is_empty() && self.policy.needed() == 1 => (cause, scene),
            last => {
                let scene = last.as_ref().map(|one| one.scene.clone());
                let said = self.ended.into_iter().chain(last).map(Ended::into_said);
                let copies = said.collect();
                let needed = self.policy.needed();
                let cause = Cause::Copies { needed, copies };
                (cause, scene.unwrap_or_default())
            }
        };
        (self.entry, Blame { cause, scene }, rest)
    }
}

impl<R: Ballot> Ended<R> {
    /// Returns the cause, if it is a failure.
    pub(super) fn cause(&self) -> Option<Cause> {
        match &self.said {
            Ok(result) => result.as_ref().and_then(Ballot::failure),
            Err(cause) => Some(cause.clone()),
        }
    }

    fn agrees(&self, other: &Self) -> bool {
        match (&self.said, &other.said) {
            (Ok(Some(one)), Ok(Some(other))) => one.agrees(other),
            (Ok(None), Ok(None)) => true,
            (Err(one), Err(other)) => one == other && one.is_a_vote(),
            (Ok(_), Ok(_)) | (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }

    fn into_said(self) -> CopySaid {
        CopySaid {
            copy: self.handed.copy,
            worker: self.scene.worker,
            pid: self.scene.pid,
            said: self.said.map(|result| describe(result.as_ref())),
        }
    }
}

fn describe<R: Ballot>(result: Option<&R>) -> alloc::string::String {
    result.map_or_else(|| "done".into(), Ballot::describe)
}
