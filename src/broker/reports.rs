//! The broker's reports: events for observers, dead letters for the store, outcomes for a `map`.

use std::sync::Arc;
use std::time::Duration;

use super::copies::too_few;
use super::core::Core;
use super::mailboxes::ItemEnd;
use super::product::{Disagreement, Product};
use crate::fail;
use crate::observe::EventKind;
use crate::payload::envelope::Envelope;
use crate::store::Storage;
use dishrack_core::ledger::{
    CopyEnd, CopyReport, DeadLetter, Failure, Handed, HolderId, ItemId, Notice, Report, Scene,
    Token,
};

impl Core {
    /// Returns a worker's name and process; a thread that called `get` itself has its own name.
    pub(super) fn place(&self, holder: HolderId) -> (Arc<str>, u32) {
        match self.attachments.get(holder) {
            Some(attachment) => (Arc::clone(&attachment.worker), attachment.pid),
            None => {
                let thread = std::thread::current();
                (thread.name().unwrap_or("thread").into(), std::process::id())
            }
        }
    }

    /// Returns the place where a delivery is worked on.
    pub(super) fn place_of(&self, token: Token) -> (Arc<str>, u32) {
        match self.dispatcher.ledger.handed(token) {
            Some(handed) => self.place(handed.holder),
            None => ("".into(), 0),
        }
    }

    /// Returns the place and the times of a delivery that ends now.
    pub(super) fn scene_of(&self, token: Token, service: Duration) -> Scene {
        let handed = self.dispatcher.ledger.handed(token);
        let attachment = handed.and_then(|handed| self.attachments.get(handed.holder));
        let stderr = attachment.and_then(|attachment| attachment.stderr.as_ref());
        let stderr = stderr.map(|stderr| stderr.take_tail()).unwrap_or_default();
        self.scene_of_done(token, service).with_stderr(stderr)
    }

    /// Returns the same for a delivery that is done, without stderr, which is for failures.
    pub(super) fn scene_of_done(&self, token: Token, service: Duration) -> Scene {
        let (worker, pid) = self.place_of(token);
        let ended = self.emitter.now_unix();
        Scene::of_worker(
            worker.to_string(),
            pid,
            ended.saturating_sub(service),
            ended,
        )
    }

    pub(super) fn name_of(&self, token: Token) -> Option<String> {
        let handed = self.dispatcher.ledger.handed(token)?;
        Some(self.name(handed.id, self.dispatcher.ledger.payload(token)?))
    }

    /// Reports that work on a delivery began: now, or at a time of the machine's monotonic clock.
    pub(super) fn report_started(&self, token: Token, at_ns: Option<u64>) {
        let (Some(handed), Some(envelope)) = (
            self.dispatcher.ledger.handed(token),
            self.dispatcher.ledger.payload(token),
        ) else {
            return;
        };
        let (worker, pid) = self.place(handed.holder);
        let what = EventKind::ItemStarted {
            id: handed.id,
            item: self.name(handed.id, envelope),
            worker,
            pid,
            attempt: handed.attempt,
            copy: handed.is_copy().then_some(handed.copy),
        };
        match at_ns {
            Some(at_ns) => self.emitter.emit_at_ns(at_ns, what),
            None => self.emitter.emit(what),
        }
    }

    fn report_done(
        &mut self,
        handed: &Handed,
        envelope: &Envelope,
        duration: Duration,
        product: Product,
    ) {
        if let Some(scene) = product.scene.filter(|_| self.emitter.wants_items()) {
            self.emitter.emit(EventKind::ItemDone {
                id: handed.id,
                item: self.name(handed.id, envelope),
                worker: scene.worker.into(),
                pid: scene.pid,
                attempt: handed.attempt,
                duration,
                ended: scene.ended,
            });
        }
        self.mailboxes
            .deliver(envelope.reply(), || ItemEnd::Done(product.result));
    }

    pub(super) fn publish(&mut self, report: Report<Envelope, Product>) {
        match report {
            Report::Done {
                handed,
                payload,
                service,
                result,
            } => self.report_done(&handed, &payload, service, result),
            Report::Retry {
                id,
                failure,
                payload,
            } => self.emitter.emit(EventKind::Retry {
                id,
                item: self.name(id, &payload),
                failure: Arc::new(failure),
            }),
            Report::Dead(letter) => {
                self.forget_waits(&[letter.id]);
                self.conclude(letter);
            }
            Report::Copy(copy) => self.report_copy(copy),
        }
    }

    fn report_copy(&mut self, copy: CopyReport<Envelope>) {
        if copy.end == CopyEnd::Counted {
            fail::point("copy: counted");
        }
        let is_accident = matches!(copy.end, CopyEnd::Disagreed { .. });
        if !is_accident && !self.emitter.wants_items() {
            return;
        }
        let CopyReport {
            handed,
            payload,
            end,
            scene,
            service,
            cause,
        } = copy;
        // A copy that runs has its place, and one that has ended has told of it.
        let (worker, pid, ended) = match scene.worker.is_empty() {
            true => {
                let (worker, pid) = self.place(handed.holder);
                (worker, pid, self.emitter.now_unix())
            }
            false => (scene.worker.into(), scene.pid, scene.ended),
        };
        if let CopyEnd::Disagreed { said, counted } = &end {
            self.keep_disagreement(Disagreement {
                id: handed.id,
                attempt: handed.attempt,
                copy: handed.copy,
                worker: Arc::clone(&worker),
                pid,
                said: said.clone(),
                counted: counted.clone(),
            });
        }
        self.emitter.emit(EventKind::CopyEnded {
            item: self.name(handed.id, &payload),
            id: handed.id,
            attempt: handed.attempt,
            copy: handed.copy,
            of: handed.of,
            worker,
            pid,
            end: Arc::new(end),
            cause: cause.map(Arc::new),
            duration: service,
            ended,
        });
    }

    /// Reports a pause and its end, or that the machine lacks something, or has it again.
    pub(super) fn tell(&self, notice: Notice) {
        let why = match notice {
            Notice::Paused => return self.emitter.emit(EventKind::Paused),
            Notice::Resumed => return self.emitter.emit(EventKind::Resumed),
            Notice::Shortage(why) => {
                format!(
                    "{why}; nothing more begins before there is room, and waiting costs nothing"
                )
            }
            Notice::ShortageOver => "there is room again, and work goes on".to_owned(),
            Notice::TooFewWorkers { needed, workers } => {
                let lack = too_few(needed, workers);
                format!("{lack}; items wait for more workers, and none is charged")
            }
        };
        self.emitter.emit(EventKind::Notice { why });
    }

    fn conclude(&mut self, letter: DeadLetter<Envelope>) {
        let DeadLetter {
            id,
            payload,
            history,
            ..
        } = letter;
        self.report_dead(id, &payload, &history);
        if self.emitter.is_enough() {
            self.dispatcher.ledger.handle_hold();
        }
        let outcome = history.clone();
        let is_kept_there = self.mailboxes.has_letters(payload.reply());
        self.mailboxes
            .deliver(payload.reply(), || ItemEnd::Dead(id, outcome));
        // Other backends learn of it by what is committed or told.
        if let Storage::Memory(letters) = &self.storage
            && !is_kept_there
        {
            letters.keep(DeadLetter::new(id, payload.body.to_stored(), history));
        }
    }

    fn report_dead(&self, id: ItemId, envelope: &Envelope, history: &[Failure]) {
        if !self.emitter.is_observed() {
            return;
        }
        self.emitter.emit(EventKind::Dead {
            id,
            item: self.name(id, envelope),
            history: history.into(),
        });
    }
}
