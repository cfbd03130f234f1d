//! The copies of items, counted apart from the code under test: who runs which, what they said, and
//! when an attempt is over by that.

use std::collections::{BTreeMap, BTreeSet};

use dishrack_core::ledger::{Copies, CopyEnd, CopyReport, Handed, HolderId, Token};

use crate::envelope::Envelope;

/// The state of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    /// It is done, with this result if it was told.
    Said(Option<u64>),
    /// It failed by its own doing, in these words.
    Refused(&'static str),
    /// It failed by something else.
    Lost,
}

#[derive(Debug, Clone)]
struct Run {
    handed: Handed,
    state: State,
}

/// The consequence of the copies of an item so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    /// It is done. These copies run no more.
    Done(Vec<Token>),
    /// Its attempt has failed. These copies run no more.
    Failed(Vec<Token>),
}

#[derive(Debug, Default)]
pub(crate) struct Votes {
    runs: BTreeMap<u64, Vec<Run>>,
    /// Deliveries whose end as a copy was told.
    told: BTreeSet<Token>,
}

impl Votes {
    /// Notes that a copy was handed out.
    pub(crate) fn begin(&mut self, handed: Handed, number: u64, policy: Copies, is_thread: bool) {
        let runs = self.runs.entry(number).or_default();
        let has_one = runs.iter().any(|one| one.handed.holder == handed.holder);
        assert!(
            !has_one || is_thread,
            "two copies of {number} for one worker"
        );
        let has_number = runs.iter().any(|one| one.handed.copy == handed.copy);
        assert!(!has_number, "two copies {} of {number}", handed.copy);
        runs.push(Run {
            handed,
            state: State::Runs,
        });
        assert!(
            runs.len() <= policy.count() as usize,
            "too many copies of {number}"
        );
    }

    pub(crate) fn said(&mut self, number: u64, token: Token, result: Option<u64>) {
        self.set(number, token, State::Said(result));
    }

    /// Notes that a copy failed; `words` are those of its handler, if it was that which failed.
    pub(crate) fn failed(&mut self, number: u64, token: Token, words: Option<&'static str>) {
        self.set(number, token, words.map_or(State::Lost, State::Refused));
    }

    fn set(&mut self, number: u64, token: Token, state: State) {
        let runs = self.runs.get_mut(&number).expect("it has copies");
        let run = runs.iter_mut().find(|one| one.handed.token == token);
        run.expect("it is one of them").state = state;
    }

    /// Notes that a copy was given back. If there is no other one, there was no attempt.
    pub(crate) fn returned(&mut self, number: u64, token: Token) {
        let Some(runs) = self.runs.get_mut(&number) else {
            return;
        };
        runs.retain(|one| one.handed.token != token);
        if runs.is_empty() {
            self.runs.remove(&number);
        }
    }

    /// Ends the item's copies for another reason. Returns those that run.
    pub(crate) fn end(&mut self, number: u64) -> Vec<Token> {
        let runs = self.runs.remove(&number).unwrap_or_default();
        let running = runs.iter().filter(|one| one.state == State::Runs);
        running.map(|one| one.handed.token).collect()
    }

    /// Forgets all, because the supervisor is gone.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.told.clear();
    }

    /// Returns the items that have copies.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.runs.keys().copied().collect()
    }

    /// Returns the holders of an item's copies.
    pub(crate) fn holders(&self, number: u64) -> Vec<HolderId> {
        let runs = self.runs.get(&number).into_iter().flatten();
        runs.map(|one| one.handed.holder).collect()
    }

    /// Decides what follows, if so many workers may still begin a copy.
    /// What must agree waits where it `lacks` workers for that.
    pub(crate) fn decide(
        &mut self,
        number: u64,
        policy: Copies,
        further: usize,
        lacks: bool,
    ) -> Outcome {
        let Some(runs) = self.runs.get(&number) else {
            return Outcome::Open;
        };
        let mut results: BTreeMap<Option<u64>, usize> = BTreeMap::new();
        let mut refusals: BTreeMap<&str, usize> = BTreeMap::new();
        for run in runs {
            match run.state {
                State::Said(result) => *results.entry(result).or_default() += 1,
                State::Refused(words) => *refusals.entry(words).or_default() += 1,
                State::Runs | State::Lost => {}
            }
        }
        let most = |counts: Vec<usize>| counts.into_iter().max().unwrap_or(0);
        let done = most(results.into_values().collect());
        let needed = policy.needed() as usize;
        if done >= needed {
            return Outcome::Done(self.end(number));
        }
        // Where one is enough, no failure counts before all have failed.
        let refused = match needed {
            1 => 0,
            _ => most(refusals.into_values().collect()),
        };
        if refused >= needed {
            return Outcome::Failed(self.end(number));
        }
        let running = runs.iter().filter(|one| one.state == State::Runs).count();
        let left = policy.count() as usize - runs.len();
        let to_come = match needed == 1 && policy.hedging().is_some() {
            true => 0,
            false => left,
        };
        let votes = done.max(refused) + running;
        let is_short = votes + to_come.min(further) < needed;
        match votes + to_come < needed || (is_short && !lacks) {
            true => Outcome::Failed(self.end(number)),
            false => Outcome::Open,
        }
    }

    /// Checks that each copy's end is told once.
    pub(crate) fn told(&mut self, report: &CopyReport<Envelope>) {
        let is_new = self.told.insert(report.handed.token);
        assert!(is_new, "the end of a copy was told twice: {report:?}");
        if let CopyEnd::Disagreed { said, counted } = &report.end {
            assert_ne!(said, counted);
        }
    }
}
