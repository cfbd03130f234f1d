//! The requests of a run of the command line to its queue, and its reports to observers: puts in
//! batches, how attempts ended, how many puts a stream has accepted, and how to leave one in time.
//! It does not know what a run is.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::Batch;
use super::side::Side;
use super::{JoinableQueue, serialized_for};
use crate::broker::{Core, Envelope, PutAnswer};
use crate::error::{Error, Kind};
use crate::observe::EventKind;
use dishrack_core::book::Unshown;
use dishrack_core::ledger::{Counts, ItemId, Refusal};

/// The facts about a stream that are known here. They may have changed there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamNews {
    /// Items put here that the stream has accepted.
    pub(crate) accepted: u64,
    /// Further items that it was told of without an answer.
    pub(crate) maybe_accepted: u64,
    /// Other supervisors that work on it.
    pub(crate) others: u64,
    /// Its items that are gone without an end.
    pub(crate) gone: u64,
    /// True if it has come back without all that was told to it.
    pub(crate) is_older: bool,
    /// True if it is away, or its replicas lag, so that items told wait.
    pub(crate) is_lacking: bool,
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Adds an item to those that [`put_batch`](Self::put_batch) puts. `key` is what a journal
    /// finds it by in a later run.
    ///
    /// # Errors
    /// It cannot be put, and was not added.
    pub(crate) fn add_to_batch(
        &self,
        batch: &mut Batch<()>,
        item: &T,
        key: Option<&[u8]>,
    ) -> Result<(), Error> {
        let broker = self.broker()?;
        let body = serialized_for(item, broker)?;
        // The broker refuses it too, but only with its batch, and others after it would be put.
        let limited = broker.storage.limit_size(body.len());
        limited.map_err(|refusal| Kind::of(refusal, ""))?;
        let print = key.and_then(|key| broker.storage.local()?.print_of(key));
        batch.push(Envelope::with_print(body, print), ());
        Ok(())
    }

    /// Puts all items of a batch; they are accepted after [`sync`](Self::sync). Tells of each that is left
    /// out as a duplicate which item stands for it.
    ///
    /// # Errors
    /// The reason for which the first was refused otherwise, if one was.
    pub(crate) fn put_batch(
        &self,
        batch: &mut Batch<()>,
        mut left_out: impl FnMut(ItemId),
    ) -> Result<(), Error> {
        let broker = self.broker()?;
        let mut outcome = Ok(());
        batch.put_unsynced(broker, |answer| {
            if let PutAnswer::Refused((), kind) = answer {
                match kind.duplicate_of() {
                    Some(of) => left_out(of),
                    None if outcome.is_ok() => outcome = Err(Error(kind)),
                    None => {}
                }
            }
        });
        outcome
    }
}

impl<T> JoinableQueue<T> {
    pub(crate) fn emit(&self, kind: EventKind) -> Result<(), Error> {
        self.broker()?.read(|core| core.emitter.emit(kind));
        Ok(())
    }

    /// Reports a summary of these counts, now.
    pub(crate) fn emit_summary(&self, counts: Counts, restarts: u64) -> Result<(), Error> {
        let elapsed = self.elapsed()?;
        self.emit(EventKind::Summary {
            counts,
            restarts,
            elapsed,
        })
    }

    /// Returns the time since the queue was made, which is the zero of its events' times.
    pub(crate) fn elapsed(&self) -> Result<Duration, Error> {
        Ok(self.broker()?.read(|core| core.emitter.now()))
    }

    /// Returns the places of the items that are here; of a stream, those that were taken from it.
    pub(crate) fn counts_here(&self) -> Result<Counts, Error> {
        Ok(self.broker()?.counts())
    }

    /// Returns the items that no holder has and that have no end.
    pub(crate) fn waiting_ids(&self) -> Result<BTreeSet<ItemId>, Error> {
        Ok(self
            .broker()?
            .read(|core| core.dispatcher.ledger.waiting_ids()))
    }

    /// Keeps the end of each attempt in the journal from now on, until [`shown`](Self::shown).
    /// Returns those that earlier runs have kept and not shown.
    pub(crate) fn keep_attempts(&self) -> Vec<Unshown> {
        let Side::Local(broker) = &self.side else {
            return Vec::new();
        };
        broker.with(Core::keep_attempts);
        let store = broker.storage.local();
        store.map_or_else(Vec::new, |store| store.take_unshown())
    }

    /// Notes that the ends of these attempts have been shown.
    pub(crate) fn shown(&self, attempts: &[(ItemId, u32)]) {
        if let Side::Local(broker) = &self.side {
            broker.with(|core| core.shown(attempts));
        }
    }

    /// Returns `true` if the journal's last run did not close it.
    pub(crate) fn was_left(&self) -> bool {
        let store = self.broker().ok().and_then(|broker| broker.storage.local());
        store.is_some_and(|store| store.was_left())
    }

    /// Charges an item that waits with an attempt that an earlier run had begun, and was killed with.
    pub(crate) fn lose_attempt(&self, id: ItemId) -> Result<(), Error> {
        self.broker()?.lose_attempt(id);
        Ok(())
    }

    pub(crate) fn journal_identity(&self) -> Option<u128> {
        match &self.side {
            Side::Local(broker) => broker.storage.local()?.identity(),
            Side::Remote(_) => None,
        }
    }

    /// Returns what no other stream has, if the queue is one.
    pub(crate) fn stream_mark(&self) -> Option<String> {
        match &self.side {
            Side::Local(broker) => broker.storage.shared()?.mark(),
            Side::Remote(_) => None,
        }
    }

    /// Returns the reason why the journal or stream has failed, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        let broker = self.broker().ok()?;
        broker.read(Core::failure)
    }

    /// Takes nothing more from a stream, and waits for no room there; see [`Broker::quit_stream`].
    pub(crate) fn quit(&self) {
        if let Side::Local(broker) = &self.side {
            broker.quit_stream();
        }
    }

    /// Returns the places of all items, also those of others on a stream, as far as they are known
    /// here.
    pub(crate) fn counts_known(&self) -> Counts {
        let broker = self.broker();
        broker.map_or_else(|_| Counts::default(), |broker| broker.counts_known())
    }

    /// Waits no longer for a stream that does not answer; see [`Broker::give_up_stream`].
    pub(crate) fn give_up(&self, because: &str) {
        if let Side::Local(broker) = &self.side {
            broker.give_up_stream(because);
        }
    }

    /// Returns the kind of server that keeps the stream, for people.
    pub(crate) fn kind_of_server(&self) -> &'static str {
        let broker = self.broker().ok();
        let stream = broker.as_ref().and_then(|broker| broker.storage.shared());
        stream.map_or("the stream", |stream| stream.kind())
    }

    /// Returns what is known here of the stream; without one, that is nothing.
    pub(crate) fn stream_news(&self) -> StreamNews {
        let broker = self.broker().ok();
        let news = broker.and_then(|broker| {
            broker.read(|core| {
                core.dispatcher.shared.as_ref().map(|shared| StreamNews {
                    accepted: shared.accepted,
                    maybe_accepted: shared.maybe_accepted(),
                    others: shared.others,
                    gone: shared.stream_state.gone,
                    is_older: shared.is_older,
                    is_lacking: shared.lack.is_some(),
                })
            })
        });
        news.unwrap_or_default()
    }

    /// Waits until all changes are durable, or told to the stream.
    pub(crate) fn sync_all(&self) -> Result<(), Error> {
        self.broker()?.sync_all().map_err(Error)
    }

    /// Lets a journal remember the command that its items are given to, and returns the one before.
    pub(crate) fn exchange_command(&self, command: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match &self.side {
            Side::Local(broker) => {
                let store = broker.storage.local();
                let earlier = store.map_or(Ok(None), |store| store.exchange_command(command));
                earlier.map_err(|why| Error(Kind::of(Refusal::JournalFailed, why.to_string())))
            }
            Side::Remote(_) => Ok(None),
        }
    }

    /// Leaves a stream now, and drops what cannot be told in a moment.
    pub(crate) fn leave(&self) {
        if let Side::Local(broker) = &self.side {
            broker.leave_stream();
        }
    }
}
