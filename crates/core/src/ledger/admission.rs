//! Admission by room: a worker is handed an item only while the machine has room for one more, by
//! readings of its memory, its load and its pressure.
//!
//! What an item needs does not show at once. So for a moment after its beginning it is taken to need
//! what must be free for it ([`SETTLING`]), unless it is over before; how many begin together follows
//! from what is free. While no worker is at anything one may begin whatever is read, so a run never
//! hangs. A reading is good for the moment in which it was made: whoever makes it says so
//! ([`handle_readings`](Ledger::handle_readings)), has the items handed out, and says that it is over
//! ([`handle_admitted`](Ledger::handle_admitted)). It does not read anything itself.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Ballot, Ledger, Token, Weight};

/// The rules of admission. There may be more of them one day, so they are made from the defaults,
/// which admit everything.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::AdmissionRules;
///
/// let rules = AdmissionRules::default().memory_free(1 << 30).load(8).pressure(10);
/// assert_eq!(rules.load, Some(8));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AdmissionRules {
    /// The memory, in bytes, that must be free.
    pub memory_free: Option<u64>,
    /// The number of threads on the machine, running or ready to run, from which on nothing begins.
    pub load: Option<u32>,
    /// The part of the time, in percent, for which something waits for a processor, for memory or
    /// for a disk, from which on nothing begins.
    pub pressure: Option<u32>,
}

impl AdmissionRules {
    /// Begins nothing while less memory than this is free, in bytes.
    #[must_use]
    pub fn memory_free(mut self, bytes: u64) -> Self {
        self.memory_free = Some(bytes);
        self
    }

    /// Begins nothing while so many threads run on the machine or are ready to.
    #[must_use]
    pub fn load(mut self, threads: u32) -> Self {
        self.load = Some(threads);
        self
    }

    /// Begins nothing while something waits for a processor, for memory or for a disk for so much of
    /// the time, in percent.
    #[must_use]
    pub fn pressure(mut self, percent: u32) -> Self {
        self.pressure = Some(percent);
        self
    }
}

/// The state of the machine, as far as a rule asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// The memory that is free, in bytes.
    pub memory_free: u64,
    /// The number of threads that run or are ready to.
    pub load: u32,
    /// The part of the time for which something waits, in percent.
    pub pressure: u32,
}

/// The time after an item's beginning within which it is taken to need the memory that must be free.
const SETTLING: Duration = Duration::from_secs(2);

/// The time within which a beginning is not seen in the number of threads that run.
const UNSEEN: Duration = Duration::from_millis(20);

/// The time between two readings while nothing is admitted and nothing ends.
const PAUSE: Duration = Duration::from_millis(100);

/// The state of admission.
#[derive(Debug)]
pub(super) struct Admitting {
    rules: AdmissionRules,
    /// The number of items that may begin by the reading that was just made.
    allowance: u64,
    /// The time of that reading, and of the next one.
    now: Duration,
    next: Duration,
    /// Deliveries that began a moment ago, and when.
    young: Vec<(Token, Duration)>,
    /// The number of deliveries that were under way after the last reading.
    leased: usize,
}

impl Admitting {
    /// Returns the number of items that may begin by these readings.
    fn allowance(&self, readings: Readings) -> u64 {
        let young = |time: Duration| {
            let recent = self.young.iter();
            let recent = recent.filter(|(_, at)| at.saturating_add(time) > self.now);
            recent.count() as u64
        };
        let AdmissionRules {
            memory_free,
            load,
            pressure,
        } = self.rules;
        let by_memory = memory_free.map(|needed| {
            let fitting = readings.memory_free.checked_div(needed);
            fitting.unwrap_or(u64::MAX).saturating_sub(young(SETTLING))
        });
        let by_load = load.map(|most| {
            let running = u64::from(readings.load) + young(UNSEEN);
            u64::from(most).saturating_sub(running)
        });
        let by_pressure = pressure.map(|most| match readings.pressure < most {
            true => u64::MAX,
            false => 0,
        });
        let all = [by_memory, by_load, by_pressure];
        all.into_iter().flatten().min().unwrap_or(u64::MAX)
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Hands workers an item only by readings from now on.
    pub fn handle_admission(&mut self, rules: AdmissionRules) {
        self.limits_mut().admitting = Some(Admitting {
            rules,
            allowance: 0,
            now: Duration::ZERO,
            next: Duration::ZERO,
            young: Vec::new(),
            leased: 0,
        });
    }

    /// Returns the time at which a reading is due, if an item waits for one.
    #[must_use]
    pub fn poll_reading(&self) -> Option<Duration> {
        let admitting = self.admitting()?;
        if !self.is_any_to_begin() || self.lacks_token() {
            return None;
        }
        // What has ended has left room.
        match self.leases.len() < admitting.leased {
            true => Some(Duration::ZERO),
            false => Some(admitting.next),
        }
    }

    /// Returns `true` if an item waits, and a worker for an item.
    pub(super) fn is_any_to_begin(&self) -> bool {
        let is_any = self.waiting.ready() > 0 || !self.copies.is_empty();
        let is_wanted = is_any && self.consumers.idle() > 0;
        let is_its_turn = !self.waits_for_slot() && !self.waits_for_rate();
        is_wanted && is_its_turn && !self.gives_nothing() && !self.is_kept_apart()
    }

    /// Lets as many items begin as these readings admit, until [`handle_admitted`](Self::handle_admitted).
    pub fn handle_readings(&mut self, readings: Readings, now: Duration) {
        let is_any_at_work = self.consumers.is_any_at_work();
        let limits = self.limits.as_mut();
        let Some(admitting) = limits.and_then(|limits| limits.admitting.as_mut()) else {
            return;
        };
        admitting.now = now;
        let leases = &self.leases;
        admitting.young.retain(|(token, at)| {
            at.saturating_add(SETTLING) > now && leases.get(*token).is_some()
        });
        let least = u64::from(!is_any_at_work);
        admitting.allowance = admitting.allowance(readings).max(least);
    }

    /// Lets nothing begin before the next reading, because this one is out of date.
    pub fn handle_admitted(&mut self) {
        if let Some(limits) = &mut self.limits
            && let Some(admitting) = &mut limits.admitting
        {
            admitting.allowance = 0;
            admitting.next = admitting.now.saturating_add(PAUSE);
            admitting.leased = self.leases.len();
        }
    }

    /// Returns `true` if no worker gets anything before the next reading.
    pub(super) fn waits_for_reading(&self) -> bool {
        let admitting = self.admitting();
        admitting.is_some_and(|admitting| admitting.allowance == 0)
    }

    /// Counts a delivery to a worker.
    pub(super) fn note_admitted(&mut self, token: Token) {
        if let Some(limits) = &mut self.limits
            && let Some(admitting) = &mut limits.admitting
        {
            admitting.allowance = admitting.allowance.saturating_sub(1);
            admitting.young.push((token, admitting.now));
        }
    }
}
