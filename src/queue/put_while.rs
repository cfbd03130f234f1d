//! Puts that were asked for by a client of another process: serialized before the first is put, and
//! not put any more once that client is gone. It knows no client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JoinableQueue, serialized_for};
use crate::broker::bars::{BarTime, KeptBars, KeptWaits};
use crate::broker::{Accepted, Envelope};
use crate::error::{Error, Kind};
use crate::observe::Observer;
use dishrack_core::book::Print;
use dishrack_core::ledger::{Durations, ItemId};

/// The number of items that are put under one lock.
const ITEMS_AT_ONCE: usize = 256;

/// Items that are serialized and not yet put.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    envelopes: VecDeque<Envelope>,
    /// The prints of their keys, if they have some: as many.
    prints: VecDeque<Print>,
}

impl Bundle {
    pub(crate) fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Leaves out so many from the front, which were put before.
    pub(crate) fn skip(&mut self, count: usize) {
        self.envelopes.drain(..count.min(self.envelopes.len()));
        self.prints.drain(..count.min(self.prints.len()));
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Adds an item to a bundle. `key` is what a journal finds it by: all of a bundle have one, or
    /// none.
    ///
    /// # Errors
    /// It cannot be put, and was not added.
    pub(crate) fn add_to_bundle(
        &self,
        bundle: &mut Bundle,
        item: &T,
        key: Option<&[u8]>,
    ) -> Result<(), Error> {
        let broker = self.broker()?;
        let body = serialized_for(item, broker)?;
        let limited = broker.storage.limit_size(body.len());
        limited.map_err(|refusal| Kind::of(refusal, ""))?;
        let print = key.and_then(|key| broker.storage.local()?.print_of(key));
        bundle.prints.extend(print);
        bundle
            .envelopes
            .push_back(Envelope::with_print(body, print));
        Ok(())
    }
}

impl<T> JoinableQueue<T> {
    /// Puts a bundle, and waits for room as long as it is wanted. It returns when what was accepted
    /// is durable, and notes the numbers of that also where it fails.
    ///
    /// # Errors
    /// As [`put`](Self::put), and `is_full` if it is not wanted any more. What is left in the bundle
    /// was not put.
    pub(crate) fn put_bundle(
        &self,
        bundle: &mut Bundle,
        is_wanted: &dyn Fn() -> bool,
        mut note: impl FnMut(Accepted),
    ) -> Result<(), Error> {
        let broker = self.broker()?;
        let (mut batch, mut accepted) = (VecDeque::new(), Vec::new());
        let mut end = Ok(());
        while end.is_ok() && bundle.len() > 0 {
            let count = ITEMS_AT_ONCE.min(bundle.len());
            batch.extend(bundle.envelopes.drain(..count));
            end = broker.put_while(&mut batch, is_wanted, &mut accepted);
        }
        while let Some(left) = batch.pop_back() {
            bundle.envelopes.push_front(left);
        }
        if let Some(last) = accepted.last() {
            broker.sync(last.last)?;
        }
        let store = broker.storage.local();
        for run in accepted {
            for item in run.first.0..=run.last.0 {
                if let (Some(print), Some(store)) = (bundle.prints.pop_front(), store) {
                    store.note_put(print, ItemId(item));
                }
            }
            note(run);
        }
        end.map_err(Error)
    }

    /// Returns the items at the front of a bundle that were put before, with the same keys: by this
    /// process or an earlier one with its journal.
    pub(crate) fn put_before(&self, bundle: &Bundle) -> Result<Vec<ItemId>, Error> {
        let broker = self.broker()?;
        let store = broker.storage.local();
        let item = |print: &Print| store?.item_of(*print);
        Ok(bundle.prints.iter().map_while(item).collect())
    }

    /// Returns `true` if these are the bytes of a bundle's first item and of this item, as far as the
    /// queue still has that.
    pub(crate) fn may_be_first(&self, bundle: &Bundle, id: ItemId) -> Result<bool, Error> {
        let found = self.item(id)?;
        let kept = found.as_ref().and_then(|found| found.raw());
        let first = bundle.envelopes.front().map(|first| &*first.body);
        Ok(kept.is_none() || kept == first)
    }

    /// Has puts that wait for room ask whether they are still wanted.
    pub(crate) fn wake_putters(&self) {
        if let Ok(broker) = self.broker() {
            broker.wake_putters();
        }
    }

    /// Tells one more of every event, until it is removed.
    pub(crate) fn add_listener(&self, listener: Arc<dyn Observer>) -> Result<(), Error> {
        self.broker()?.add_listener(listener);
        Ok(())
    }

    pub(crate) fn remove_listener(&self, listener: &Arc<dyn Observer>) {
        if let Ok(broker) = self.broker() {
            broker.remove_listener(listener);
        }
    }

    /// Returns the time since the queue was made, which is the zero of its events' times.
    pub(crate) fn age(&self) -> Result<Duration, Error> {
        Ok(self.broker()?.read(|core| core.emitter.now()))
    }

    /// Returns how long the attempts of its items have taken here.
    pub(crate) fn durations(&self) -> Result<Durations, Error> {
        Ok(self
            .broker()?
            .read(|core| core.dispatcher.ledger.durations().clone()))
    }

    /// Returns the bars of a time, which is asked for with the present one, if they are kept.
    pub(crate) fn bars(
        &self,
        time: impl Fn(Duration) -> BarTime,
    ) -> Result<Option<KeptBars>, Error> {
        Ok(self.broker()?.bars(time))
    }

    /// Returns how long items have waited, if that is kept. `oldest` is the first of those that wait.
    pub(crate) fn waits(&self, oldest: Option<ItemId>) -> Result<Option<KeptWaits>, Error> {
        Ok(self.broker()?.waits(oldest))
    }

    /// Returns `true` if several supervisors share its items.
    pub(crate) fn is_on_a_stream(&self) -> bool {
        self.broker().is_ok_and(|broker| broker.is_shared())
    }
}
