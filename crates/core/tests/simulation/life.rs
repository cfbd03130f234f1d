//! One life of the supervisor: all that is gone when it crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dishrack_core::book::Book;
use dishrack_core::ledger::{Credit, DeadLetter, Handed, HolderId, ItemId, Ledger, Record};
use dishrack_core::pool::scaler::Scaler;

use crate::client::Client;
use crate::disk::Disk;
use crate::dispatcher::Dispatcher;
use crate::envelope::Envelope;
use crate::plan::Plan;
use crate::planted::Plant;
use crate::process::{Job, Up};
use crate::slot::Slot;
use crate::world::limits::limit;

/// Items with consecutive numbers that are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) first: u64,
    /// The number of those that were accepted, and of all.
    pub(crate) accepted: u64,
    pub(crate) all: u64,
}

/// A producer in the supervisor's own process: it waits for room, and until its item is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Producer {
    Ready,
    WaitsForRoom(Envelope),
    WaitsForDurability(Envelope, ItemId),
    /// The same with a batch, of which as many are accepted at a time as there is room for.
    BatchWaitsForRoom(Batch),
    BatchWaitsForDurability(Batch, ItemId),
    /// The queue accepts nothing more.
    Refused,
}

/// A loop of `get` and `task_done` in the supervisor's own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumer {
    Ready,
    Waits,
    Holds(Handed),
}

/// The write under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) number: u64,
    pub(crate) records: Vec<Record<Envelope>>,
    pub(crate) is_on_disk: bool,
}

#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) book: Book,
    /// The number of earlier items with each key that are not asked for yet.
    pub(crate) prints: BTreeMap<u128, u64>,
    pub(crate) write: Option<InFlight>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) letters: Vec<DeadLetter<Envelope>>,
    pub(crate) plain: Producer,
    pub(crate) keyed: Producer,
    /// The number of keys that the keyed producer has handled.
    pub(crate) keys_passed: usize,
    pub(crate) consumer: Consumer,
    /// Programs that have reached the queue, until their ends are heard.
    pub(crate) clients: Vec<Client>,
    /// The holder of the consumer's deliveries, once it had one.
    pub(crate) threads: Option<HolderId>,
    pub(crate) is_joined: bool,
    /// The times of deliveries to workers, if they have a rate.
    pub(crate) begun: Vec<Duration>,
    pub(crate) scaler: Scaler,
    /// Wishes that were not answered, and the step of the last reload.
    pub(crate) scales: u64,
    pub(crate) reloads: u64,
    pub(crate) reload_since: u64,
    /// True if it was told that nothing is begun.
    pub(crate) is_pause_told: bool,
    /// True if the operator asked the pool to stop.
    pub(crate) is_stopping: bool,
    /// True if a worker was given up.
    pub(crate) is_spent: bool,
    /// The rest of the channels of concluded lives.
    pub(crate) late: Vec<(HolderId, Up)>,
}

impl Life {
    pub(crate) fn begin(
        (plan, now): (&Plan, Duration),
        disk: &Disk,
        seed: u64,
        plant: Option<Plant>,
    ) -> (Self, u64) {
        let (book, mut found) = disk.recover();
        let histories = found.recovered.unfinished.iter();
        let histories = histories.filter(|item| !item.history.is_empty()).count() as u64;
        match plant {
            Some(Plant::ForgottenHistories) => {
                for item in &mut found.recovered.unfinished {
                    item.history.clear();
                    item.forgiven = 0;
                }
            }
            Some(Plant::LostAtRecovery) => drop(found.recovered.unfinished.pop()),
            _ => {}
        }
        let mut prints = BTreeMap::new();
        for (_, print) in found.prints {
            *prints.entry(print).or_default() += 1;
        }
        let form = |body: Arc<[u8]>| Envelope::of_body(&body);
        let recovered = found.recovered.map_payloads(form);
        let is_first = recovered.accepted == 0;
        let unfinished = recovered.unfinished.iter();
        let numbers = unfinished.map(|item| (item.id, item.payload.number));
        let numbers = numbers.collect();
        let mut ledger = match plan.is_journaled {
            true => Ledger::resume(plan.options, recovered),
            false => Ledger::new(plan.options),
        };
        if plan.keeps_attempts {
            ledger.handle_keep_attempts();
        }
        let plant = plant.filter(|_| !is_first);
        limit(&mut ledger, plan, plant, (disk, now));
        let slot = |index: usize| {
            let jitter = seed.wrapping_add(index as u64);
            Slot::new(plan.spec, jitter, index >= plan.handlers)
        };
        let life = Life {
            dispatcher: Dispatcher::new(ledger, numbers),
            book,
            prints,
            write: None,
            slots: (0..plan.handlers + plan.loops).map(slot).collect(),
            letters: Vec::new(),
            plain: Producer::Ready,
            keyed: Producer::Ready,
            keys_passed: 0,
            consumer: Consumer::Ready,
            clients: Vec::new(),
            threads: None,
            is_joined: false,
            begun: Vec::new(),
            scaler: Scaler::new(plan.handlers + plan.loops),
            scales: 0,
            reloads: 0,
            reload_since: 0,
            is_pause_told: false,
            is_stopping: false,
            is_spent: false,
            late: Vec::new(),
        };
        (life, histories)
    }

    pub(crate) fn credit(plan: &Plan, is_loop: bool) -> Credit {
        let credit = match plan.is_single_credit {
            true => Credit::single(),
            false => Credit::adaptive(),
        };
        match is_loop {
            true => credit.for_loop(),
            false => credit,
        }
    }

    /// Returns the slot of this holder.
    pub(crate) fn slot_of(&self, holder: HolderId) -> Option<usize> {
        let mut slots = self.slots.iter();
        slots.position(|slot| slot.holder == Some(holder))
    }

    /// Returns the items that the living have in hand or on the way to them.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Job> + '_ {
        let clients = self.clients.iter().flat_map(Client::jobs);
        let workers = self.slots.iter().flat_map(|slot| {
            let jobs = slot.process.iter().flat_map(|process| process.jobs());
            jobs.chain(slot.down.iter().filter_map(|down| match down {
                crate::process::Down::Deliver(job) => Some(*job),
                crate::process::Down::Answer(_, job) => *job,
                _ => None,
            }))
        });
        workers.chain(clients)
    }

    /// Returns the place of the client with this holder.
    pub(crate) fn client_of(&self, holder: HolderId) -> Option<usize> {
        let mut clients = self.clients.iter();
        clients.position(|client| client.holder == holder)
    }

    /// Returns the number of workers that are there or will be.
    pub(crate) fn workers(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_over).count()
    }

    pub(crate) fn is_pool_over(&self) -> bool {
        let is_empty = self.slots.iter().all(|slot| slot.is_over);
        is_empty && (self.is_stopping || self.scaler.is_over())
    }
}
