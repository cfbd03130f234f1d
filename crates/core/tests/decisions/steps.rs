//! Common steps of a ledger in tests, as production takes them.

use std::time::Duration;

use dishrack_core::ledger::{
    Ballot, Credit, HolderId, ItemId, Ledger, Refusal, Scene, Stale, Token, Weight,
};

pub(crate) trait Steps<P, R> {
    /// Accepts the item, unless the ledger would refuse it.
    fn put(&mut self, payload: P, is_beyond_bound: bool) -> Result<ItemId, Refusal>;
    /// Joins a worker that may have any number of deliveries.
    fn join_worker(&mut self, credit: Credit) -> HolderId;
    /// Joins a holder that asks for each item.
    fn join_getter(&mut self) -> HolderId;
    /// Settles the item as done.
    fn done(&mut self, token: Token, service: Duration, result: Option<R>) -> Result<(), Stale>;
}

impl<P: Weight + Clone, R: Ballot> Steps<P, R> for Ledger<P, R> {
    fn put(&mut self, payload: P, is_beyond_bound: bool) -> Result<ItemId, Refusal> {
        match self.refusal(is_beyond_bound) {
            None => Ok(self.accept(payload)),
            Some(refusal) => Err(refusal),
        }
    }

    fn join_worker(&mut self, credit: Credit) -> HolderId {
        self.handle_join(Some(credit), u64::MAX)
    }

    fn join_getter(&mut self) -> HolderId {
        self.handle_join(None, u64::MAX)
    }

    fn done(&mut self, token: Token, service: Duration, result: Option<R>) -> Result<(), Stale> {
        self.handle_done(token, service, result, Scene::default())
    }
}
