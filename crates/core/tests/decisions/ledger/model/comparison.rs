//! Compares all that the ledger shows with the model.

use dishrack_core::ledger::{Capacity, HolderId, ItemId, Report};

use super::{Model, Place};

impl Model {
    fn count(&self, is_there: impl Fn(Place) -> bool) -> usize {
        let there = self.items.values().filter(|item| is_there(item.place));
        there.count()
    }

    /// Returns the unsettled deliveries. A cancelled one counts until its holder has spoken.
    pub(super) fn held_by(&self, holder: HolderId) -> usize {
        let held = self.leases.iter().chain(&self.revoked);
        held.filter(|lease| lease.holder == holder).count()
    }

    pub(super) fn idle_workers(&self) -> usize {
        let open = self.holders.iter().filter(|(_, holder)| holder.is_open);
        let workers = open.filter(|(_, holder)| holder.is_worker);
        workers.filter(|(id, _)| self.held_by(**id) == 0).count()
    }

    /// Returns the items that no handler and no `get` has taken: of a worker's items, all but one.
    fn len(&self) -> usize {
        let workers = self.holders.iter().filter(|(_, holder)| holder.is_worker);
        let prefetched: usize = workers
            .map(|(id, _)| self.held_by(*id).saturating_sub(1))
            .sum();
        let is_free = |place| matches!(place, Place::Staged | Place::Waiting | Place::Resting(_));
        self.count(is_free) + prefetched
    }

    pub(super) fn has_room(&self) -> bool {
        match self.options.capacity {
            Capacity::Unbounded => true,
            Capacity::Bounded(bound) => self.len() < bound,
            Capacity::Rendezvous => {
                let waiting = self.count(|place| matches!(place, Place::Waiting | Place::Staged));
                waiting < self.idle_workers() + self.getters
            }
            other => panic!("there is no model of {other:?}"),
        }
    }

    pub(in super::super) fn check(&mut self) {
        self.check_reports();
        self.check_worn();
        self.check_counts();
        let ledger = &self.ledger;
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.len(), self.len());
        assert_eq!(ledger.is_empty(), self.len() == 0);
        assert_eq!(ledger.has_room(), self.has_room());
        assert_eq!(ledger.is_closed(), self.is_closed);
        assert_eq!(ledger.is_broken(), self.journal.is_broken);
        assert_eq!(ledger.is_journaled(), self.is_journaled);
        let ready = match self.journal.is_broken {
            true => 0,
            false => self.count(|place| place == Place::Waiting),
        };
        assert_eq!(ledger.ready(), ready);
        let rests = self.items.values().filter_map(|item| match item.place {
            Place::Resting(until) => Some(until),
            _ => None,
        });
        assert_eq!(ledger.poll_timeout(), rests.min());
        self.check_durability();
        self.check_holders();
    }

    fn check_durability(&self) {
        let journal = &self.journal;
        let is_written = journal.is_broken || journal.durable == journal.records.len();
        assert_eq!(self.ledger.is_written(), is_written);
        let is_all_told = journal.reports.is_empty() && journal.durable == journal.records.len();
        let is_settled = self.count(|place| !matches!(place, Place::Done | Place::Dead)) == 0;
        let is_finished = is_settled && is_all_told && !journal.is_broken;
        assert_eq!(self.ledger.is_finished(), is_finished);
        for (id, item) in &self.items {
            assert_eq!(self.ledger.is_durable(*id), item.place != Place::Staged);
        }
        let beyond = ItemId(self.items.len() as u64 + 1);
        assert!(!self.ledger.is_durable(beyond), "it was never put");
    }

    fn check_holders(&self) {
        let ledger = &self.ledger;
        for holder in &self.known {
            let known = self.holders.get(holder);
            let is_open = known.is_some_and(|one| one.is_open);
            assert_eq!(ledger.is_open(*holder), is_open);
            let is_worker = known.is_some_and(|one| one.is_worker);
            assert_eq!(ledger.is_worker(*holder), is_worker);
            let held = known.map_or(0, |_| self.held_by(*holder));
            assert_eq!(ledger.held_by(*holder), held);
        }
    }

    fn check_counts(&self) {
        let counts = self.ledger.counts();
        assert!(counts.is_balanced(), "{counts:?}");
        let count = |is_there: fn(Place) -> bool| self.count(is_there) as u64;
        let waiting = count(|place| matches!(place, Place::Staged | Place::Waiting));
        assert_eq!(counts.accepted, self.items.len() as u64);
        assert_eq!(counts.waiting, waiting);
        assert_eq!(counts.leased, self.leases.len() as u64);
        assert_eq!(
            counts.delayed,
            count(|place| matches!(place, Place::Resting(_)))
        );
        assert_eq!(counts.done, count(|place| place == Place::Done));
        assert_eq!(counts.dead, count(|place| place == Place::Dead));
        assert_eq!(counts.retries, self.retries);
        assert_eq!(counts.refused, self.refused);
    }

    /// Checks that the reports that may be made by now are made, in order and in full, and no
    /// others.
    fn check_reports(&mut self) {
        let journal = &mut self.journal;
        while journal
            .reports
            .front()
            .is_some_and(|(after, _)| *after <= journal.durable)
        {
            let expected = journal.reports.pop_front().map(|(_, report)| report);
            let report = self.ledger.poll_report();
            assert_eq!(report, expected);
            if let Some(Report::Dead(letter)) = report {
                self.letters.push(letter);
            }
        }
        assert_eq!(self.ledger.poll_report(), None, "too early");
    }

    /// Checks that a holder that had all its deliveries, and settled them, is named once.
    fn check_worn(&mut self) {
        let mut expected: Vec<HolderId> = Vec::new();
        for (id, holder) in &self.holders {
            if holder.taken >= holder.quota && self.held_by(*id) == 0 && !holder.is_told_worn {
                expected.push(*id);
            }
        }
        let mut worn: Vec<_> = std::iter::from_fn(|| self.ledger.poll_worn()).collect();
        worn.sort();
        assert_eq!(worn, expected);
        for id in worn {
            let holder = self.holders.get_mut(&id).expect("it is there");
            holder.is_told_worn = true;
        }
    }
}
