//! Puts that were asked for by a client of another process: serialized before the first is put, and
//! not put any more once that client is gone. It knows no client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JoinableQueue, serialized_for};
use crate::broker::bars::{BarTime, KeptBars, KeptWaits};
use crate::broker::{Accepted, Broker, Envelope};
use crate::error::{Error, Kind};
use crate::observe::Observer;
use crate::store::NotedPut;
use dishrack_core::book::Print;
use dishrack_core::ledger::{Durations, ItemId};

/// The number of items that are put under one lock.
const ITEMS_AT_ONCE: usize = 256;

/// The answer to the next items of a bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BundleAnswer {
    Accepted(Accepted),
    /// The next one was put before, or is not put.
    Noted(NotedPut),
}

impl BundleAnswer {
    /// Returns the last item that must be durable for it to be told.
    fn last(self) -> ItemId {
        match self {
            BundleAnswer::Accepted(run) => run.last,
            BundleAnswer::Noted(NotedPut::Item(item) | NotedPut::Duplicate { of: item }) => item,
        }
    }

    /// Returns what is to be noted of each of its items.
    fn each(self) -> impl Iterator<Item = NotedPut> {
        let (run, noted) = match self {
            BundleAnswer::Accepted(run) => (Some(run), None),
            BundleAnswer::Noted(put) => (None, Some(put)),
        };
        let run = run.into_iter().flat_map(|run| run.first.0..=run.last.0);
        run.map(|id| NotedPut::Item(ItemId(id))).chain(noted)
    }
}

/// Items that are serialized and not yet put.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    envelopes: VecDeque<Envelope>,
    /// The prints of their keys, if they have some: as many.
    prints: VecDeque<Print>,
    /// The items of those that were put before, if they were looked for: as many.
    earlier: VecDeque<Option<NotedPut>>,
}

impl Bundle {
    pub(crate) fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Leaves out so many from the front, which were put before.
    pub(crate) fn skip(&mut self, count: usize) {
        self.envelopes.drain(..count.min(self.envelopes.len()));
        self.prints.drain(..count.min(self.prints.len()));
        self.earlier.drain(..count.min(self.earlier.len()));
    }

    /// Takes the first one out if it was put before, and returns what became of that.
    fn take_earlier(&mut self) -> Option<NotedPut> {
        let put = (*self.earlier.front()?)?;
        self.earlier.pop_front();
        self.envelopes.pop_front();
        Some(put)
    }

    /// Takes so many from the front, or those before one that was put before.
    fn take_new(&mut self, most: usize) -> impl Iterator<Item = Envelope> {
        let mut earlier = self.earlier.iter().take(most);
        let count = earlier.position(Option::is_some);
        let count = count.unwrap_or(most).min(self.envelopes.len());
        self.earlier.drain(..count.min(self.earlier.len()));
        self.envelopes.drain(..count)
    }

    /// Puts one back, which was taken and not put.
    fn put_back(&mut self, envelope: Envelope) {
        self.envelopes.push_front(envelope);
        // Without an entry it is a new one, too.
        if !self.earlier.is_empty() {
            self.earlier.push_front(None);
        }
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

/// Puts what is in a bundle, and leaves what is not accepted there.
fn put_each(
    broker: &Broker,
    bundle: &mut Bundle,
    is_wanted: &dyn Fn() -> bool,
    answers: &mut Vec<BundleAnswer>,
) -> Result<(), Kind> {
    let (mut batch, mut accepted) = (VecDeque::new(), Vec::new());
    let mut end = Ok(());
    while end.is_ok() && (bundle.len() > 0 || !batch.is_empty()) {
        if batch.is_empty()
            && let Some(put) = bundle.take_earlier()
        {
            answers.push(BundleAnswer::Noted(put));
            continue;
        }
        batch.extend(bundle.take_new(ITEMS_AT_ONCE - batch.len()));
        end = broker.put_while(&mut batch, is_wanted, &mut accepted);
        answers.extend(accepted.drain(..).map(BundleAnswer::Accepted));
        if let Err(Some(of)) = end.as_ref().map_err(Kind::duplicate_of) {
            batch.pop_front();
            answers.push(BundleAnswer::Noted(NotedPut::Duplicate { of }));
            end = Ok(());
        }
    }
    while let Some(left) = batch.pop_back() {
        bundle.put_back(left);
    }
    end
}

impl<T> JoinableQueue<T> {
    /// Puts a bundle, and waits for room as long as it is wanted. It returns when what was accepted
    /// is durable, and notes the answers in their order, also where it fails.
    ///
    /// # Errors
    /// As [`put`](Self::put), and `is_full` if it is not wanted any more. What is left in the bundle
    /// was not put.
    pub(crate) fn put_bundle(
        &self,
        bundle: &mut Bundle,
        is_wanted: &dyn Fn() -> bool,
        mut note: impl FnMut(BundleAnswer),
    ) -> Result<(), Error> {
        let broker = self.broker()?;
        let mut answers = Vec::new();
        let end = put_each(broker, bundle, is_wanted, &mut answers);
        if let Some(last) = answers.iter().map(|answer| answer.last()).max() {
            broker.sync(last)?;
        }
        let store = broker.storage.local();
        for answer in answers {
            for put in answer.each() {
                if let (Some(print), Some(store)) = (bundle.prints.pop_front(), store) {
                    store.note_put(print, put);
                }
            }
            note(answer);
        }
        end.map_err(Error)
    }

    /// Finds those of a bundle that were put before, with the same keys, by this process or an earlier
    /// one with its journal: they are answered and not put. Returns `false` if the first of them was
    /// another item, as far as the queue still has that.
    pub(crate) fn find_earlier(&self, bundle: &mut Bundle) -> Result<bool, Error> {
        let broker = self.broker()?;
        let store = broker.storage.local();
        let put = |print: &Print| store?.put_with(*print);
        bundle.earlier = bundle.prints.iter().map(put).collect();
        let mut all = bundle.envelopes.iter().zip(&bundle.earlier);
        // What stood for a duplicate is another item.
        let first = all.find_map(|(given, put)| match put {
            Some(NotedPut::Item(item)) => Some((given, *item)),
            Some(NotedPut::Duplicate { .. }) | None => None,
        });
        let Some((given, item)) = first else {
            return Ok(true);
        };
        let found = self.item(item)?;
        let kept = found.as_ref().and_then(|found| found.raw());
        Ok(kept.is_none_or(|kept| *kept == *given.body))
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use parking_lot::Mutex;

    use super::*;
    use crate::{Durability, Options, Supervisor};

    /// The item that stood for a duplicate has ended and freed its key when the put is repeated.
    #[test]
    fn a_duplicate_is_one_again_when_its_put_is_repeated() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("queue");
        let queue =
            JoinableQueue::<String>::journaled(&path, Durability::Normal, Options::default());
        let queue = queue.unwrap();
        let (open, gate) = channel();
        let gate = Mutex::new(gate);
        let unique = Supervisor::builder().threads(1);
        let unique = unique.unique(None, |_: &String| Some(1));
        let _pool = unique.handler(&queue, move |_: String| gate.lock().recv());
        let first = queue.put("first").unwrap();
        let put = |is_repeated: bool| {
            let mut bundle = Bundle::default();
            let second = String::from("second");
            queue
                .add_to_bundle(&mut bundle, &second, Some(b"a key"))
                .unwrap();
            assert!(queue.find_earlier(&mut bundle).unwrap(), "{is_repeated}");
            let mut answers = Vec::new();
            let note = |answer| answers.push(answer);
            queue.put_bundle(&mut bundle, &|| true, note).unwrap();
            let of_first = NotedPut::Duplicate { of: first };
            assert!(matches!(answers[..], [BundleAnswer::Noted(put)] if put == of_first));
        };
        put(false);
        open.send(()).unwrap();
        assert_eq!(queue.join().unwrap().done, 1);
        put(true);
        assert_eq!(queue.counts().unwrap().accepted, 1);
    }
}
