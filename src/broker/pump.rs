//! The pump: carries out what was decided, and wakes the threads that wait for what follows.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

use super::attachment::Attachment;
use super::core::Core;
use crate::error::NoSharedMemory;
use crate::fail;
use crate::observe::EventKind;
use crate::payload::envelope::Envelope;
use crate::sys::threads;
use dishrack_core::dispatcher::Effect;
use dishrack_core::ledger::{Counts, Handed};

impl Core {
    /// Handles the passing of time.
    pub(super) fn tick(&mut self) {
        let now = self.emitter.now();
        self.dispatcher.ledger.handle_timeout(now);
        self.check_relied_on();
        for holder in std::mem::take(&mut self.unread) {
            self.drain_or_end(holder);
        }
    }

    /// Returns `true` if there is a processor for a caller that polls before it sleeps, beside
    /// those that busy workers use.
    pub(super) fn may_poll(&self) -> bool {
        self.dispatcher.ledger.busy() < self.processors
    }

    /// Carries out decisions until there are no more. A panic meanwhile ends the queue, as some of them are not
    /// carried out then, and goes on.
    pub(super) fn pump(&mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.follow())) {
            self.end_by_panic(threads::in_words(&*panic));
            resume_unwind(panic);
        }
        self.heed_observers();
    }

    /// Ends the queue if an observer has panicked: what it was told, nobody knows.
    pub(super) fn heed_observers(&mut self) {
        if let Some(why) = self.emitter.failure() {
            self.end_by_panic(why.to_owned());
        }
    }

    fn follow(&mut self) {
        self.has_unfollowed_write = false;
        self.note_time();
        self.draw_ended();
        self.carry_out();
        if self.finds_contradiction() {
            // Whoever waits is told so.
            self.carry_out();
        }
        self.note_puts();
        if self.dispatcher.ledger.needs_time() {
            self.tell_lack();
        }
        self.send();
        self.ring();
    }

    fn carry_out(&mut self) {
        let mut last = None;
        while let Some(said) = self.dispatcher.poll() {
            // Whoever gets one of them may begin it at once.
            self.note_puts();
            match said {
                Effect::Deliver(handed) => {
                    self.deliver(&handed);
                    if last.replace(handed.holder) != Some(handed.holder) {
                        self.unsent.push_back(handed.holder);
                    }
                }
                Effect::Answer(request, reply) => self.reply(request, reply),
                Effect::Worn(holder) => self.worn(holder),
                Effect::TakeBack(holder) => self.take_back(holder),
                Effect::Stop(handed) => {
                    fail::point("copy: to be stopped");
                    self.revoke(&handed, true);
                    fail::point("copy: stopped");
                }
                Effect::Report(report) => self.publish(report),
                Effect::Notice(notice) => self.tell(notice),
            }
        }
    }

    /// Does nothing more if the books do not agree, because all of it could be wrong. Returns `true`
    /// if that was found now.
    fn finds_contradiction(&mut self) -> bool {
        let counts = self.counts_in_books();
        if counts.is_balanced() || self.dispatcher.ledger.is_inconsistent() {
            return false;
        }
        self.contradict(format!("items are lost or counted twice: {counts:?}"));
        self.tell_contradiction();
        true
    }

    /// Does nothing more, for this reason, which is a bug.
    fn contradict(&mut self, why: String) {
        self.dispatcher.handle_inconsistent();
        self.failure = Some(why);
        self.soundness = None;
        self.wake_all();
    }

    /// Does nothing more after a panic, which has left by halves what it was at.
    pub(super) fn end_by_panic(&mut self, why: String) {
        if self.dispatcher.ledger.is_inconsistent() {
            return;
        }
        self.contradict(why);
        // Whatever has panicked may do so again.
        drop(catch_unwind(AssertUnwindSafe(|| self.follow())));
        drop(catch_unwind(AssertUnwindSafe(|| self.tell_contradiction())));
    }

    /// Tells what is wrong, if anything is: when it is found, and to an observer that is set after that.
    pub(super) fn tell_contradiction(&self) {
        let why = self.failure.clone();
        let why = why.filter(|_| self.dispatcher.ledger.is_inconsistent());
        if let Some(why) = why {
            self.emitter.emit(EventKind::Inconsistent { why });
        }
    }

    /// Returns the counts, or those that a test plants in their place.
    fn counts_in_books(&self) -> Counts {
        let mut counts = self.dispatcher.ledger.counts();
        let (is_in_hand, is_some_done) = (counts.leased > 0, counts.done >= 10);
        let (is_paused, is_awaited) = (
            self.dispatcher.ledger.is_paused(),
            self.dispatcher.has_joins(),
        );
        if fail::is_planted("one too many")
            || is_in_hand && fail::is_planted("one too many while items are in hand")
            || is_some_done && fail::is_planted("one too many when some are done")
            || is_paused && fail::is_planted("one too many in a pause")
            || is_awaited && fail::is_planted("one too many while a client waits for the end")
        {
            counts.done += 1;
        }
        counts
    }

    /// Sends what lies in the links.
    fn send(&mut self) {
        let may_poll = self.may_poll();
        while let Some(holder) = self.unsent.pop_front() {
            if let Some(attachment) = self.attachments.get_mut(holder) {
                fail::point("deliver: to be sent");
                match (attachment.link.flush(may_poll), &attachment.overseer) {
                    (Ok(sleeper), _) => {
                        self.has_woken |= sleeper.is_some();
                        self.sleepers.extend(sleeper);
                    }
                    (Err(why), Some(overseer)) => overseer.faulty(why),
                    (Err(_), None) => {}
                }
                fail::point("deliver: sent");
                if let Some(local) = &attachment.local {
                    let left = self.dispatcher.ledger.ready();
                    local.queue.set_left_waiting(left);
                }
            }
            if !self.without_work.is_empty() {
                self.tell_of_work(holder);
            }
        }
    }

    /// Brings a delivery to its worker, and all others that the worker gets in this turn.
    fn deliver(&mut self, handed: &Handed) {
        let wants_items = self.emitter.wants_items();
        let Some(attachment) = self.attachments.get_mut(handed.holder) else {
            return;
        };
        self.awaits_locals |= attachment.local.is_some();
        let mut failed = Vec::new();
        let mut deliver = |handed: &Handed, envelope: &mut Envelope| {
            if let Err(lack) = bring(attachment, handed, envelope, wants_items) {
                failed.push((handed.token, lack));
            }
        };
        if let Some(envelope) = self.dispatcher.ledger.payload_mut(handed.token) {
            deliver(handed, envelope);
        }
        self.dispatcher.ledger.poll_turn(deliver);
        for (token, lack) in failed {
            self.fail_undeliverable(token, lack);
        }
    }

    /// Brings deliveries to a worker that waits for them. Returns `false` if none can be brought.
    pub(super) fn bring_all(&mut self, items: &[Handed]) -> bool {
        let wants_items = self.emitter.wants_items();
        let mut is_any = false;
        for handed in items {
            let envelope = self.dispatcher.ledger.payload_mut(handed.token);
            let attachment = self.attachments.get_mut(handed.holder);
            let (Some(envelope), Some(attachment)) = (envelope, attachment) else {
                continue;
            };
            match bring(attachment, handed, envelope, wants_items) {
                Ok(()) => is_any = true,
                Err(lack) => self.fail_undeliverable(handed.token, lack),
            }
        }
        is_any
    }

    /// Wakes the threads that have something to do now.
    pub(super) fn ring(&mut self) {
        self.ring_for_putters();
        self.ring_for_getters();
        self.ring_for_joiners();
        if !self.end_waits.is_empty() {
            self.ring_for_ends();
        }
        self.ring_for_writer();
        self.ring_for_stream();
        if let Some(reader) = &self.room_reader {
            self.ring_for_room(reader);
        }
        if let Some(carrier) = &self.token_carrier {
            self.ring_for_tokens(carrier);
        }
        if let Some(at) = self.dispatcher.ledger.poll_timeout() {
            self.timer.set(at.saturating_sub(self.emitter.now()));
        }
        self.see_to_reliance();
        self.emitter.progress(|| self.dispatcher.ledger.counts());
    }

    fn ring_for_putters(&self) {
        if self.putters > 0 && self.dispatcher.ledger.has_room() {
            self.doorbells.room.notify_all();
        }
    }

    fn ring_for_getters(&self) {
        if self.dispatcher.local_getters() == 0 {
            return;
        }
        let waiting = self.dispatcher.ledger.ready();
        let is_over = self.recallers > 0 && !self.dispatcher.ledger.is_any_loop_ahead();
        if waiting == 1 && self.wakers.is_empty() {
            self.doorbells.items.notify_one();
        } else if waiting > 0 || is_over || self.end_of_gets().is_some() {
            self.doorbells.items.notify_all();
            self.wakers.values().for_each(Waker::wake_by_ref);
        }
    }

    fn ring_for_joiners(&self) {
        if self.joiners > 0 && self.dispatcher.join_state(0).is_some() {
            self.doorbells.settled.notify_all();
        }
        // Inline, the callers that wait for the end or for room do the work.
        if self.has_inline && !self.dispatcher.ledger.is_finished() {
            self.doorbells.room.notify_all();
            self.doorbells.durable.notify_all();
            self.doorbells.settled.notify_all();
            self.doorbells.ends.notify_all();
            self.mailboxes.notify_all();
        }
    }

    /// Wakes the threads of a stream that have something to do.
    pub(super) fn ring_for_stream(&mut self) {
        let calls = self.dispatcher.calls(self.is_awaited());
        if calls.publisher {
            self.writer.ring();
        }
        if calls.fetcher {
            self.doorbells.fetcher.notify_one();
        }
        if calls.listener {
            self.doorbells.listener.notify_one();
        }
    }

    /// Returns `true` if threads of this process wait for what others do.
    pub(super) fn is_awaited(&self) -> bool {
        self.joiners > 0 || !self.traffic.replies.is_empty()
    }
}

/// Brings a delivery to its worker.
///
/// # Errors
/// The reason for which the worker cannot read its payload.
fn bring(
    attachment: &mut Attachment,
    handed: &Handed,
    envelope: &mut Envelope,
    wants_items: bool,
) -> Result<(), NoSharedMemory> {
    fail::point("deliver: chosen");
    if handed.is_copy() {
        fail::point("copy: handed out");
    }
    let is_awaited = wants_items
        || envelope.reply().is_some()
        || envelope.is_sent()
        // The others are stopped as soon as it is done, or its result is compared.
        || handed.is_copy();
    if attachment.uplink.is_some() {
        envelope.body.share()?;
    }
    let link = &mut attachment.link;
    link.deliver(handed, &envelope.body, is_awaited);
    Ok(())
}
