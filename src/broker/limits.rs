//! Tells the ledger the rules of a pool about what runs when. The ledger decides.

use super::{Broker, Envelope};
use dishrack_core::ledger::{OrderRules, Rate};

impl Broker {
    /// Puts items in an order by these rules from now on.
    pub(crate) fn order_by(&self, rules: OrderRules<Envelope>) {
        // Which items are dead letters matters to those alone that begin after others.
        let dead = match rules.has_dependencies() {
            true => self.storage.backend().dead_ids(),
            false => Vec::new(),
        };
        self.with(|core| {
            let now = core.emitter.now_unix();
            core.dispatcher.ledger.handle_known_dead(dead, now);
            core.dispatcher.ledger.handle_order(rules);
        });
    }

    /// Lends each delivery to a worker one of so many slots from now on.
    pub(crate) fn lend_slots(&self, count: u32) {
        self.with(|core| core.dispatcher.ledger.handle_slots(count));
    }

    /// Hands out no faster than this from now on.
    pub(crate) fn keep_to(&self, rate: Rate) {
        self.with(|core| {
            let now = core.emitter.now();
            core.dispatcher.ledger.handle_rate(rate, now);
        });
    }
}
