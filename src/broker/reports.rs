//! The broker tells: events for observers, dead letters for the store, outcomes for a `map`.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Parcel};
use super::results::Outcome;
use crate::ledger::{DeadLetter, Handed, HolderId, ItemId, Report, Token};
use crate::observe::What;

impl Core {
    /// A worker's name and process; a thread that called `get` itself goes by its own name.
    fn place_of(&self, holder: HolderId) -> (Arc<str>, u32) {
        match self.seats.get(holder) {
            Some(seat) => (Arc::clone(&seat.worker), seat.pid),
            None => {
                let thread = std::thread::current();
                (thread.name().unwrap_or("thread").into(), std::process::id())
            }
        }
    }

    /// The name of a delivery's item.
    pub(super) fn name_of(&self, token: Token) -> Option<String> {
        let handed = self.ledger.handed(token)?;
        Some(self.name(handed.id, self.ledger.payload(token)?))
    }

    /// Work on a delivery began: now, or at a time of the machine's monotonic clock.
    pub(super) fn report_started(&self, token: Token, at_ns: Option<u64>) {
        let (Some(handed), Some(parcel)) = (self.ledger.handed(token), self.ledger.payload(token))
        else {
            return;
        };
        let (worker, pid) = self.place_of(handed.holder);
        let what = What::ItemStarted {
            item: self.name(handed.id, parcel),
            worker,
            pid,
            attempt: handed.attempt,
        };
        match at_ns {
            Some(at_ns) => self.emitter.emit_at_ns(at_ns, what),
            None => self.emitter.emit(what),
        }
    }

    pub(super) fn report_done(&self, handed: &Handed, parcel: &Parcel, duration: Duration) {
        let (worker, pid) = self.place_of(handed.holder);
        self.emitter.emit(What::ItemDone {
            item: self.name(handed.id, parcel),
            worker,
            pid,
            attempt: handed.attempt,
            duration,
        });
    }

    /// Passes on the ledger's retries and dead letters.
    pub(super) fn publish_reports(&mut self) {
        while let Some(report) = self.ledger.poll_report() {
            match report {
                Report::Retry {
                    id,
                    attempt,
                    cause,
                    payload,
                } => self.emitter.emit(What::Retry {
                    item: self.name(id, &payload),
                    attempt,
                    cause: cause.to_string(),
                }),
                Report::Dead(letter) => self.bury(letter),
            }
        }
    }

    fn bury(&mut self, letter: DeadLetter<Parcel>) {
        let DeadLetter {
            id,
            payload,
            history,
        } = letter;
        self.report_dead(id, &payload, &history);
        let outcome = history.clone();
        self.deliver_outcome(payload.reply, || Outcome::Dead(id, outcome));
        self.store.keep_dead(DeadLetter {
            id,
            payload: payload.body,
            history,
        });
    }

    fn report_dead(&self, id: ItemId, parcel: &Parcel, history: &[crate::ledger::Failure]) {
        if !self.emitter.is_observed() {
            return;
        }
        self.emitter.emit(What::Dead {
            item: self.name(id, parcel),
            attempts: u32::try_from(history.len()).unwrap_or(u32::MAX),
            cause: history
                .last()
                .map(|f| f.cause.to_string())
                .unwrap_or_default(),
        });
    }
}
