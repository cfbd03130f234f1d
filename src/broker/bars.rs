//! The bars of a run's time chart: what the ledger has noted of ended attempts, with the time at which that was
//! heard and the worker's name; and how long items have waited until they were begun. Both are kept while somebody
//! may ask for them, and the clock is read once for all that is heard at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Broker;
use super::core::Core;
use super::times::{PutTimes, RunTimes};
use crate::observe::clipped;
use dishrack_core::dispatcher::inflight::Arrival;
use dishrack_core::ledger::{BegunNaming, EndNote, EndedAttempts, Histogram, HolderId, ItemId};
use dishrack_core::timeline::{AttemptBar, LatestBars};

/// The longest cause that is kept, in letters.
const CAUSE_MAX: usize = 200;

/// A time of which the bars are asked for, since 1970 (UTC).
#[derive(Debug, Clone, Copy)]
pub(crate) struct BarTime {
    pub(crate) since: Duration,
    pub(crate) until: Duration,
}

/// The bars of a time, as they are kept.
#[derive(Debug)]
pub(crate) struct KeptBars {
    pub(crate) now: Duration,
    pub(crate) time: BarTime,
    /// The time since when none is missing.
    pub(crate) known_since: Duration,
    pub(crate) bars: Vec<AttemptBar>,
}

/// The waits of items, as they are kept.
#[derive(Debug)]
pub(crate) struct KeptWaits {
    /// The waits of those that were begun.
    pub(crate) begun: Histogram,
    /// For how long the first of those that wait has done so, if that is known.
    pub(crate) oldest: Option<Duration>,
}

impl Broker {
    /// Keeps bars for as long as there is a door at which somebody may ask for them.
    pub(super) fn see_to_bars(&self) {
        self.lock()
            .keep_bars(self.doors.load(Ordering::Relaxed) > 0);
    }

    /// Returns the bars of a time, if they are kept. `time` gets the present one.
    pub(crate) fn bars(&self, time: impl Fn(Duration) -> BarTime) -> Option<KeptBars> {
        let core = self.lock_seeing();
        let latest = &core.times.as_ref()?.bars;
        let now = core.emitter.now_unix();
        let time = time(now);
        Some(KeptBars {
            now,
            time,
            known_since: latest.known_since(),
            bars: latest.between(time.since, time.until),
        })
    }

    /// Returns the waits of items, if they are kept. `oldest` is the first of those that wait.
    pub(crate) fn waits(&self, oldest: Option<ItemId>) -> Option<KeptWaits> {
        let core = self.lock_seeing();
        let waits = &core.times.as_ref()?.puts.waits;
        let put = oldest.and_then(|oldest| waits.put_at(oldest));
        Some(KeptWaits {
            begun: waits.histogram().clone(),
            oldest: put.map(|put| core.emitter.now_unix().saturating_sub(put)),
        })
    }
}

impl Core {
    fn keep_bars(&mut self, is_wanted: bool) {
        if is_wanted != self.times.is_some() {
            let now = self.emitter.now_unix();
            let (naming, puts) = match self.dispatcher.shared {
                None => {
                    let accepted = self.dispatcher.ledger.accepted();
                    (BegunNaming::Together, PutTimes::after(accepted, now))
                }
                Some(_) => (BegunNaming::Singly, PutTimes::default()),
            };
            let wanted = is_wanted.then_some(naming);
            self.dispatcher.ledger.handle_note_ends(wanted);
            self.times = is_wanted.then(|| RunTimes {
                bars: LatestBars::new(now),
                puts,
            });
        }
    }

    /// Tells of the items that were put since the last time, by whomever, and notes when that was. Those of a
    /// stream may have been put elsewhere; the publisher tells of the others.
    pub(super) fn note_puts(&mut self) {
        // What is not durable yet may be refused, and its number is another item's then.
        let durable = self.dispatcher.ledger.last_durable().0;
        if durable <= self.puts_told || self.dispatcher.shared.is_some() {
            return;
        }
        let ids = (self.puts_told + 1..=durable).map(ItemId);
        self.emitter.emit_puts(self.emitter.now(), ids);
        self.puts_told = durable;
        if let Some(times) = &mut self.times {
            times.puts.note(durable, || self.emitter.now_unix());
        }
    }

    /// Notes since when items wait that have come from a stream.
    pub(super) fn note_arrivals<P>(&mut self, arrivals: &[Arrival<P>]) {
        // One of them may have been here before, and have been begun then.
        self.draw_ended();
        if let Some(times) = &mut self.times {
            for arrival in arrivals {
                let waits = &mut times.puts.waits;
                waits.handle_waiting(arrival.item.id, arrival.since);
            }
        }
    }

    /// Forgets since when these wait, which are not here any more.
    pub(super) fn forget_waits(&mut self, ids: &[ItemId]) {
        // Those that were begun have waited until then.
        self.draw_ended();
        if let Some(times) = &mut self.times {
            ids.iter().for_each(|id| times.puts.waits.handle_gone(*id));
        }
    }

    /// Draws what has ended since the last time, and counts how long it had waited.
    pub(super) fn draw_ended(&mut self) {
        if self.times.is_none() {
            return;
        }
        let mut heard = None;
        while let Some(note) = self.dispatcher.ledger.poll_end_note() {
            let heard = *heard.get_or_insert_with(|| self.emitter.now_unix());
            match note {
                EndNote::Ended(ended) => self.draw(&ended, heard),
                EndNote::Again { id, ended, rest } => self.note_again(id, ended, rest, heard),
            }
        }
    }

    fn draw(&mut self, ended: &EndedAttempts, heard: Duration) {
        if let Some(bar) = self.bar_of(ended, heard)
            && let Some(times) = &mut self.times
        {
            let last_at = bar.ended.saturating_sub(ended.service).max(bar.started);
            let (waits, began) = (&mut times.puts.waits, bar.started);
            waits.handle_begun(&ended.begun, began, last_at);
            waits.handle_begun_singly(&ended.begun_singly, began, last_at);
            times.bars.handle_ended(ended.holder, bar);
        }
    }

    /// Notes since when an item waits whose attempt has failed.
    fn note_again(&mut self, id: ItemId, ended: Duration, rest: Duration, heard: Duration) {
        if let Some(times) = &mut self.times {
            let ended = if ended.is_zero() { heard } else { ended };
            let waits = &mut times.puts.waits;
            waits.handle_waiting(id, ended.saturating_add(rest));
        }
    }

    /// Returns the bar of what was heard at this time; `None` if it is not known to have been begun.
    fn bar_of(&self, ended: &EndedAttempts, heard: Duration) -> Option<AttemptBar> {
        let count = u32::try_from(ended.count).unwrap_or(u32::MAX);
        let failure = ended.failure.as_deref();
        let scene = failure.map(|failure| &failure.scene);
        let (worker, pid) = match scene.filter(|scene| !scene.worker.is_empty()) {
            Some(scene) => (scene.worker.as_str().into(), scene.pid),
            None => self.place(ended.holder),
        };
        let end = scene.map_or(heard, |scene| scene.ended);
        let started = match scene.map(|scene| scene.started) {
            None => end.saturating_sub(ended.service.saturating_mul(count)),
            Some(Duration::ZERO) => self.begun_at(ended.holder, ended.ordinal)?,
            Some(started) => started,
        };
        Some(AttemptBar {
            worker,
            pid,
            first: ended.first,
            last: ended.last,
            attempts: ended.count,
            failed: u64::from(failure.is_some()),
            attempt: ended.attempt,
            cause: failure.map(|failure| clipped(&failure.cause.to_string(), CAUSE_MAX).into()),
            started,
            ended: end.max(started),
        })
    }

    /// Returns the time at which a worker began the delivery that it is at.
    fn begun_at(&self, holder: HolderId, ordinal: u64) -> Option<Duration> {
        let board = self.attachments.get(holder)?.board()?;
        let is_at_it = board.read().current == ordinal;
        is_at_it.then(|| self.emitter.unix_of_ns(board.progress().0))
    }
}
