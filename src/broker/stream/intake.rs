//! The intake: takes from the stream what somebody here wants, renews the lease on it, and takes over
//! what others left behind.
//!
//! It takes no more than workers and callers of `get` would have at once, so that other supervisors
//! get their share, and sleeps in the stream's own wait when there is nothing.

use std::time::{Duration, Instant};

use super::super::bells::Bells;
use super::super::core::Core;
use super::super::{Parcel, Patience, lock, sleep};
use super::Post;
use crate::ledger::{Fate, ItemId, Scene};
use crate::store::stream::{Arrival, Standing, Tended};

/// What is taken in one go, at most.
const TAKEN_MAX: usize = 4096;

/// What is to be done next.
enum Plan {
    End,
    /// Renew the lease, and take over so many.
    Tend(usize),
    /// Give these back, which are not here any more.
    GiveBack(Vec<ItemId>),
    /// Take so many, and wait for them so long; the question that is answered by that.
    Take(usize, Duration, u64),
}

/// The intake's thread.
pub(super) fn run(post: &Post, bells: &Bells) {
    let every = post.stream.tend_every();
    let mut has_begun = false;
    let mut due = Instant::now() + every;
    loop {
        let plan = plan(post, bells, due);
        if !std::mem::replace(&mut has_begun, true)
            && !matches!(plan, Plan::End)
            && let Err(why) = post.stream.begin()
        {
            return post.break_off(why);
        }
        let done = match plan {
            Plan::End => return,
            Plan::Tend(count) => {
                let tended = post.stream.tend(count);
                due = Instant::now() + every;
                tended.map(|tended| {
                    let surplus = post.with(|core| core.tended(tended));
                    give_back(post, &surplus);
                })
            }
            Plan::GiveBack(ids) => {
                // What cannot be given back is taken over when its lease is over.
                let _ = post.stream.release(&ids);
                Ok(())
            }
            Plan::Take(count, wait, question) => {
                let taken = post.stream.take(count, wait);
                taken.map(|(arrivals, standing)| {
                    post.with(|core| core.took(arrivals, standing, question));
                })
            }
        };
        if let Err(why) = done {
            return post.break_off(why);
        }
    }
}

/// Sleeps until there is something to do.
fn plan(post: &Post, bells: &Bells, due: Instant) -> Plan {
    let mut core = lock(&post.core);
    loop {
        if core.traffic.is_leaving || core.desk.ledger.is_broken() {
            return Plan::End;
        }
        let surplus = core.surplus();
        if !surplus.is_empty() {
            return Plan::GiveBack(surplus);
        }
        let wanted = core.wanted();
        let is_to_tend = Instant::now() >= due;
        if is_to_tend && (wanted > 0 || core.holds_something()) {
            return Plan::Tend(wanted.min(TAKEN_MAX));
        }
        let is_asked = core
            .shared()
            .is_some_and(|shared| shared.glances.is_asked());
        if is_asked && wanted == 0 {
            // There is nobody to take anything for.
            core.took_nothing();
            super::super::with_guard(&mut core, |_| ());
            continue;
        }
        if wanted > 0 {
            let wait = match is_asked {
                true => Duration::ZERO,
                false => due.saturating_duration_since(Instant::now()),
            };
            let question = core.shared().map_or(0, |shared| shared.glances.begin());
            core.traffic.is_taking = true;
            return Plan::Take(wanted, wait, question);
        }
        let patience = match core.holds_something() {
            true => Patience::Until(due),
            false => Patience::Forever,
        };
        core = sleep(&bells.intake, core, patience).0;
    }
}

/// Gives back what nobody here wants.
fn give_back(post: &Post, surplus: &[ItemId]) {
    if !surplus.is_empty() && post.stream.release(surplus).is_ok() {
        post.with(|core| {
            for id in surplus {
                core.desk.ledger.handle_lost(*id, Fate::Open);
            }
        });
    }
}

impl Core {
    /// How many items are wanted here that are not here.
    fn wanted(&mut self) -> usize {
        let wanted = self.desk.ledger.appetite().min(TAKEN_MAX);
        let is_closed = self.desk.ledger.is_closed();
        match self.shared() {
            Some(shared) if shared.is_quitting || (is_closed && shared.is_dry) => 0,
            Some(shared) => shared.portion(wanted),
            None => 0,
        }
    }

    /// What waits here and is to be given back. It is not here any more, so that nobody gets it.
    fn surplus(&mut self) -> Vec<ItemId> {
        // First it is told how its attempts went.
        if !self.has_surplus() || !self.desk.ledger.is_written() {
            return Vec::new();
        }
        let surplus: Vec<ItemId> = self.desk.ledger.waiting_ids().into_iter().collect();
        for id in &surplus {
            self.desk.ledger.handle_lost(*id, Fate::Open);
        }
        super::super::with_guard(self, |_| ());
        surplus
    }

    fn holds_something(&self) -> bool {
        self.desk.ledger.counts().unfinished() > 0
    }

    fn took_nothing(&mut self) {
        let is_closed = self.desk.ledger.is_closed();
        if let Some(shared) = self.shared() {
            let question = shared.glances.begin();
            shared.glances.answer(question);
            shared.is_dry |= is_closed;
        }
        self.wake_getters();
    }

    fn took(&mut self, arrivals: Vec<Arrival>, standing: Standing, question: u64) {
        self.traffic.is_taking = false;
        let is_empty = arrivals.is_empty();
        self.arrive(arrivals);
        let is_closed = self.desk.ledger.is_closed();
        let Some(shared) = self.shared() else {
            return;
        };
        shared.standing = standing;
        // Whatever was asked while it was waited, must be looked for anew.
        shared.glances.answer(question);
        shared.is_dry |= is_closed && is_empty && !shared.glances.is_asked();
        if is_empty {
            self.wake_getters();
        }
    }

    /// Those who were about to go may do so.
    fn wake_getters(&mut self) {
        self.bells.items.notify_all();
        self.wakers.values().for_each(std::task::Waker::wake_by_ref);
    }

    fn arrive(&mut self, arrivals: Vec<Arrival>) {
        let wants_results = self.traffic.wants_results;
        for arrival in arrivals {
            let Arrival {
                item,
                fault,
                is_awaited,
            } = arrival;
            let id = item.id;
            let bytes = item.payload.len();
            let item =
                item.map_payload(|body| Parcel::of_stream(body, is_awaited || wants_results));
            self.desk.ledger.handle_arrival(item);
            if let Some(shared) = self.shared() {
                shared.weigh(bytes);
            }
            if let Some(fault) = fault {
                let scene = Scene {
                    ended: self.emitter.now_unix(),
                    ..Scene::default()
                };
                self.desk.ledger.handle_condemned(id, fault, scene);
            }
        }
    }

    /// What nobody here wants, and is to be given back.
    fn tended(&mut self, tended: Tended) -> Vec<ItemId> {
        for id in tended.lost {
            self.desk.ledger.handle_lost(id, Fate::Open);
        }
        self.arrive(tended.arrivals);
        if let Some(shared) = self.shared() {
            shared.standing = tended.standing;
            shared.others = tended.others;
        }
        match self.desk.has_takers() {
            true => Vec::new(),
            false => self.desk.ledger.waiting_ids().into_iter().collect(),
        }
    }
}
