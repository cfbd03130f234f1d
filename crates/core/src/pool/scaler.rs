//! The workers of a pool as a whole: which of them come and which go, when their number is changed,
//! or all are replaced while the pool works.
//!
//! Each worker has a slot, and a slot that nobody has is used again. Going down, those that have
//! nothing to finish leave first, and the others leave when they have finished what they hold.
//! Replacing, a new worker is ready before an old one leaves, and one at a time is new, so there is
//! never more than one beyond the number that is wanted, besides those that are leaving. If a new
//! worker is given up, the old ones that are left stay. A slot's own restarts are those of its
//! worker's rules (`child`), and are no change here.
//!
//! Events go in, effects come out of [`Scaler::poll`]. It knows no clock, process or thread, and asks
//! by a function which workers are idle.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// An effect that is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScalerEffect {
    /// Start a new worker in this slot.
    Start(usize),
    /// Let the worker in this slot finish what it holds, and end.
    Leave {
        /// The slot.
        slot: usize,
        /// True if another worker has taken its place.
        is_replaced: bool,
    },
    /// Tell that there are as many workers as were asked for, or why there are not.
    Scaled(Result<usize, Shortfall>),
    /// Tell that the workers that were to be replaced are, or why they are not. It answers one wish.
    Reloaded(Result<(), Shortfall>),
}

/// The reason why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortfall {
    /// Workers were given up or ended by themselves, for this reason.
    Lost(String),
    /// Another change was asked for before this one was made.
    Superseded,
    /// The pool is being stopped.
    Stopped,
    /// There is no such worker, or it is to end anyway.
    NotThere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Free,
    /// Its worker is not ready.
    Starting,
    Ready,
    /// Its worker is to end.
    Leaving,
}

#[derive(Debug, Clone, Copy)]
struct ScaledSlot {
    state: SlotState,
    /// True if its worker is to be replaced.
    is_old: bool,
}

impl ScaledSlot {
    fn is_staying(self) -> bool {
        matches!(self.state, SlotState::Starting | SlotState::Ready)
    }
}

/// A change of the number of workers that is under way.
#[derive(Debug, Clone, Default)]
struct Scaling {
    /// The reason why a worker was lost meanwhile.
    lost: Option<String>,
}

/// The replacement of workers that is under way.
#[derive(Debug, Clone, Default)]
struct Reloading {
    /// The number of wishes that it fulfils.
    wishes: usize,
    /// The slot of the new worker that is not ready.
    newcomer: Option<usize>,
    /// The reason why it goes no further.
    lost: Option<String>,
}

/// The workers of a pool.
#[derive(Debug, Clone)]
pub struct Scaler {
    slots: Vec<ScaledSlot>,
    wanted: usize,
    scaling: Option<Scaling>,
    reloading: Option<Reloading>,
    is_stopping: bool,
    effects: VecDeque<ScalerEffect>,
}

impl Scaler {
    /// Makes the scaler of a pool with this many workers, all of which are being started.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let slot = ScaledSlot {
            state: SlotState::Starting,
            is_old: false,
        };
        Scaler {
            slots: alloc::vec![slot; workers],
            wanted: workers,
            scaling: None,
            reloading: None,
            is_stopping: false,
            effects: VecDeque::new(),
        }
    }

    /// Returns the number of workers that was asked for last.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Returns `true` if no worker is there and none will come: they have all ended, and not because
    /// none was wanted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let mut slots = self.slots.iter();
        let is_empty = slots.all(|slot| slot.state == SlotState::Free);
        is_empty && (self.is_stopping || self.wanted > 0) && self.effects.is_empty()
    }

    /// Returns `true` if the worker in this slot is to end.
    #[must_use]
    pub fn is_leaving(&self, slot: usize) -> bool {
        let slot = self.slots.get(slot);
        slot.is_some_and(|slot| slot.state == SlotState::Leaving)
    }

    fn staying(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_staying()).count()
    }

    /// Handles the wish for this many workers. `is_idle` tells which of them have nothing to finish.
    pub fn handle_scale(&mut self, workers: usize, is_idle: impl Fn(usize) -> bool) {
        if self.is_stopping {
            let stopped = ScalerEffect::Scaled(Err(Shortfall::Stopped));
            return self.effects.push_back(stopped);
        }
        if self.scaling.take().is_some() {
            let superseded = ScalerEffect::Scaled(Err(Shortfall::Superseded));
            self.effects.push_back(superseded);
        }
        self.wanted = workers;
        self.scaling = Some(Scaling::default());
        let newcomers = match &self.reloading {
            Some(reloading) => usize::from(reloading.newcomer.is_some()),
            None => 0,
        };
        let aim = match workers {
            0 => 0,
            _ => workers + newcomers,
        };
        for _ in self.staying()..aim {
            self.start_one();
        }
        for _ in aim..self.staying() {
            if let Some(slot) = self.next_to_leave(&is_idle) {
                self.leave(slot, false);
            }
        }
        self.go_on(is_idle);
    }

    /// Handles the wish that all workers are replaced by new ones.
    pub fn handle_reload(&mut self, is_idle: impl Fn(usize) -> bool) {
        if self.is_stopping {
            let stopped = ScalerEffect::Reloaded(Err(Shortfall::Stopped));
            return self.effects.push_back(stopped);
        }
        if let Some(reloading) = self.reloading.take() {
            self.answer_reload(&reloading, &Err(Shortfall::Superseded));
            if let Some(newcomer) = reloading.newcomer {
                // It was started before this was asked for, and is not ready.
                self.leave(newcomer, false);
            }
        }
        for slot in &mut self.slots {
            slot.is_old = slot.is_staying();
        }
        self.reloading = Some(Reloading {
            wishes: 1,
            ..Reloading::default()
        });
        self.go_on(is_idle);
    }

    /// Handles the wish that the worker in this slot is replaced by a new one, besides those that are being
    /// replaced.
    ///
    /// # Errors
    /// The pool is being stopped, or there is no such worker. Nothing comes out of the wish then.
    pub fn handle_replace(
        &mut self,
        slot: usize,
        is_idle: impl Fn(usize) -> bool,
    ) -> Result<(), Shortfall> {
        if self.is_stopping {
            return Err(Shortfall::Stopped);
        }
        let one = self.slots.get_mut(slot).filter(|one| one.is_staying());
        let one = one.ok_or(Shortfall::NotThere)?;
        let reloading = self.reloading.get_or_insert_default();
        reloading.wishes += 1;
        // One that was started to replace another is new already.
        one.is_old = reloading.newcomer != Some(slot);
        self.go_on(is_idle);
        Ok(())
    }

    fn answer_reload(&mut self, reloading: &Reloading, end: &Result<(), Shortfall>) {
        for _ in 0..reloading.wishes {
            let answer = ScalerEffect::Reloaded(end.clone());
            self.effects.push_back(answer);
        }
    }

    /// Handles the end of the pool: nothing is changed any more, and each worker is told by its own
    /// rules.
    pub fn handle_stop(&mut self) {
        self.is_stopping = true;
        self.effects.clear();
        if self.scaling.take().is_some() {
            let stopped = ScalerEffect::Scaled(Err(Shortfall::Stopped));
            self.effects.push_back(stopped);
        }
        if let Some(reloading) = self.reloading.take() {
            self.answer_reload(&reloading, &Err(Shortfall::Stopped));
        }
    }

    /// Notes that a worker is started again in this slot by its own rules: it is not ready, and as
    /// new as any.
    pub fn handle_restart(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot)
            && slot.is_staying()
        {
            slot.state = SlotState::Starting;
            slot.is_old = false;
        }
    }

    /// Notes that the worker in this slot is ready.
    pub fn handle_ready(&mut self, slot: usize, is_idle: impl Fn(usize) -> bool) {
        if let Some(one) = self.slots.get_mut(slot)
            && one.state == SlotState::Starting
        {
            one.state = SlotState::Ready;
            self.go_on(is_idle);
        }
    }

    /// Notes that no worker is in this slot any more and none comes back by itself, for this reason
    /// if nobody asked for that.
    pub fn handle_over(&mut self, slot: usize, why: &str, is_idle: impl Fn(usize) -> bool) {
        let Some(one) = self.slots.get_mut(slot) else {
            return;
        };
        let before = core::mem::replace(&mut one.state, SlotState::Free);
        if before == SlotState::Free || self.is_stopping {
            return;
        }
        if before != SlotState::Leaving {
            if let Some(reloading) = &mut self.reloading
                && reloading.newcomer == Some(slot)
            {
                reloading.newcomer = None;
                reloading.lost = Some(why.into());
            } else if let Some(scaling) = &mut self.scaling {
                scaling.lost.get_or_insert(why.into());
            }
        }
        self.go_on(is_idle);
    }

    /// Returns the next effect.
    pub fn poll(&mut self) -> Option<ScalerEffect> {
        self.effects.pop_front()
    }

    fn start_one(&mut self) -> usize {
        let free = self
            .slots
            .iter()
            .position(|one| one.state == SlotState::Free);
        let slot = free.unwrap_or(self.slots.len());
        let new = ScaledSlot {
            state: SlotState::Starting,
            is_old: false,
        };
        match self.slots.get_mut(slot) {
            Some(old) => *old = new,
            None => self.slots.push(new),
        }
        self.effects.push_back(ScalerEffect::Start(slot));
        slot
    }

    /// Returns the worker that is missed least: an old one rather than a new one, one that has
    /// nothing to finish rather than one that has, and of these the one in the highest slot.
    fn next_to_leave(&self, is_idle: impl Fn(usize) -> bool) -> Option<usize> {
        let newcomer = self.reloading.as_ref().and_then(|one| one.newcomer);
        let slots = self.slots.iter().enumerate();
        let staying = slots.filter(|(at, slot)| slot.is_staying() && Some(*at) != newcomer);
        let rank = |(at, slot): &(usize, &ScaledSlot)| {
            let is_free = slot.state == SlotState::Starting || is_idle(*at);
            (slot.is_old, is_free, *at)
        };
        let last = staying.max_by_key(rank).map(|(at, _)| at);
        last.or(newcomer)
    }

    fn leave(&mut self, slot: usize, is_replaced: bool) {
        if let Some(reloading) = &mut self.reloading
            && reloading.newcomer == Some(slot)
        {
            reloading.newcomer = None;
        }
        self.slots[slot].state = SlotState::Leaving;
        // It may not have been started yet.
        let start = ScalerEffect::Start(slot);
        let place = self.effects.iter().position(|effect| *effect == start);
        match place.and_then(|place| self.effects.remove(place)) {
            Some(_) => self.slots[slot].state = SlotState::Free,
            None => self
                .effects
                .push_back(ScalerEffect::Leave { slot, is_replaced }),
        }
    }

    /// Goes on with what is under way, as far as it goes now.
    fn go_on(&mut self, is_idle: impl Fn(usize) -> bool) {
        self.reload_on(is_idle);
        self.scaled();
        self.reloaded();
    }

    fn reload_on(&mut self, is_idle: impl Fn(usize) -> bool) {
        let Some(Reloading { newcomer, lost, .. }) = self.reloading.clone() else {
            return;
        };
        if lost.is_some() {
            return;
        }
        if let Some(newcomer) = newcomer {
            if self.slots[newcomer].state != SlotState::Ready {
                return;
            }
            self.set_newcomer(None);
            self.replace_one(is_idle);
        }
        let mut slots = self.slots.iter();
        if slots.any(|slot| slot.is_old && slot.is_staying()) {
            let newcomer = self.start_one();
            self.set_newcomer(Some(newcomer));
        }
    }

    fn set_newcomer(&mut self, newcomer: Option<usize>) {
        if let Some(reloading) = &mut self.reloading {
            reloading.newcomer = newcomer;
        }
    }

    /// Lets an old worker go, for a new one that is ready.
    fn replace_one(&mut self, is_idle: impl Fn(usize) -> bool) {
        if self.staying() > self.wanted
            && let Some(slot) = self.next_to_leave(is_idle)
        {
            let is_replaced = self.slots[slot].is_old;
            self.leave(slot, is_replaced);
        }
    }

    fn is_settled(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.all(|slot| matches!(slot.state, SlotState::Free | SlotState::Ready))
    }

    fn scaled(&mut self) {
        let newcomer = self.reloading.as_ref().and_then(|one| one.newcomer);
        let is_changing = |(at, slot): (usize, &ScaledSlot)| {
            let is_changing = matches!(slot.state, SlotState::Starting | SlotState::Leaving);
            is_changing && Some(at) != newcomer
        };
        if self.scaling.is_none() || self.slots.iter().enumerate().any(is_changing) {
            return;
        }
        let lost = self.scaling.take().and_then(|scaling| scaling.lost);
        let scaled = match lost {
            Some(why) if self.staying() < self.wanted => Err(Shortfall::Lost(why)),
            _ => Ok(self.wanted),
        };
        self.effects.push_back(ScalerEffect::Scaled(scaled));
    }

    fn reloaded(&mut self) {
        let Some(reloading) = self.reloading.clone() else {
            return;
        };
        let end = match reloading.lost.clone() {
            Some(why) => Err(Shortfall::Lost(why)),
            None if reloading.newcomer.is_none() && self.is_settled() => Ok(()),
            None => return,
        };
        self.reloading = None;
        self.answer_reload(&reloading, &end);
    }
}
