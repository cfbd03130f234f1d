//! Tells the ledger the rules about what runs when, and what is accepted. The ledger decides. An item that
//! has terms of its own has those, and otherwise what the rules say of it.

use std::sync::Arc;
use std::time::Duration;

use super::{Broker, Envelope};
use dishrack_core::ledger::{ItemId, OrderRules, Rank, Rate, UniqueKey};

/// A function that says something of a serialized item, if there is something.
pub(crate) type Saying<S> = Arc<dyn Fn(&[u8]) -> Option<S> + Send + Sync>;

/// The rules for all items of a queue. Without any, only the items' own terms count.
#[derive(Clone, Default)]
pub(crate) struct ItemRules {
    /// The number of items of a key that may run; `None`: one.
    pub(crate) per_key: Option<u32>,
    /// The key of an item, as a number.
    pub(crate) key: Option<Saying<u64>>,
    pub(crate) priority: Option<Saying<i8>>,
    /// Times since 1970.
    pub(crate) not_before: Option<Saying<Duration>>,
    pub(crate) deadline: Option<Saying<Duration>>,
    pub(crate) after: Option<Saying<Vec<ItemId>>>,
    pub(crate) unique: Option<Saying<UniqueKey>>,
}

impl ItemRules {
    /// Returns `true` if items have the same order by these rules.
    pub(crate) fn order_as(&self, other: &Self) -> bool {
        self.per_key == other.per_key
            && is_same(self.key.as_ref(), other.key.as_ref())
            && is_same(self.priority.as_ref(), other.priority.as_ref())
            && is_same(self.not_before.as_ref(), other.not_before.as_ref())
            && is_same(self.deadline.as_ref(), other.deadline.as_ref())
            && is_same(self.after.as_ref(), other.after.as_ref())
    }

    /// Returns the rank of an item in a queue that began at this time.
    fn rank(&self, item: &Envelope, start: Duration) -> Rank {
        let terms = item.terms();
        let by_rule = |rule: &Option<Saying<Duration>>| rule.as_ref()?(&item.body);
        let since_start = |time: Duration| time.saturating_sub(start);
        let key = terms.and_then(|terms| terms.key);
        let key = key.or_else(|| self.key.as_ref()?(&item.body));
        let priority = terms.and_then(|terms| terms.priority);
        let priority = priority.or_else(|| self.priority.as_ref()?(&item.body));
        let not_before = terms.and_then(|terms| terms.not_before);
        let not_before = not_before.or_else(|| by_rule(&self.not_before));
        let deadline = terms.and_then(|terms| terms.deadline);
        let deadline = deadline.or_else(|| by_rule(&self.deadline));
        Rank::of_key(key)
            .priority(priority.unwrap_or(0))
            .not_before(not_before.map(since_start))
            .deadline(deadline.map(since_start))
    }

    /// Returns the items after which one is to begin.
    fn after(&self, item: &Envelope) -> Vec<ItemId> {
        let own = item.terms().map(|terms| &terms.after);
        match own.filter(|own| !own.is_empty()) {
            Some(own) => own.clone(),
            None => {
                let by_rule = self.after.as_ref().and_then(|rule| rule(&item.body));
                by_rule.unwrap_or_default()
            }
        }
    }

    fn unique(&self, item: &Envelope) -> Option<UniqueKey> {
        let own = item.terms().and_then(|terms| terms.unique);
        own.or_else(|| self.unique.as_ref()?(&item.body))
    }
}

/// Returns `true` if this is one function, or none.
fn is_same<S>(one: Option<&Saying<S>>, other: Option<&Saying<S>>) -> bool {
    let place = |saying: &Saying<S>| Arc::as_ptr(saying).cast::<()>();
    one.map(place) == other.map(place)
}

impl Broker {
    /// Puts items in an order by these rules from now on.
    pub(crate) fn order_by(&self, rules: &ItemRules) {
        let start = self.read(|core| core.emitter.unix_at(Duration::ZERO));
        let (of_items, afterwards) = (rules.clone(), rules.clone());
        let order = OrderRules::new(move |item: &Envelope| of_items.rank(item, start));
        let mut order = order.per_key(rules.per_key.unwrap_or(1));
        if rules.deadline.is_some() {
            order = order.with_deadlines();
        }
        // Which items were given up matters to those alone that begin after others.
        let mut dead = Vec::new();
        if rules.after.is_some() {
            order = order.after(move |item| afterwards.after(item));
            dead = self.storage.backend().given_up();
        }
        self.with(|core| {
            let now = core.emitter.now_unix();
            core.dispatcher.ledger.handle_known_dead(dead, now);
            core.dispatcher.ledger.handle_order(order);
            core.order_rules.get_or_insert_with(|| rules.clone());
        });
    }

    /// Lets items, which are in an order already, begin after others that they name themselves.
    pub(crate) fn begin_after(&self) {
        let (rules, dead) = (ItemRules::default(), self.storage.backend().given_up());
        self.with(|core| {
            let now = core.emitter.now_unix();
            core.dispatcher.ledger.handle_known_dead(dead, now);
            let after = move |item: &Envelope| rules.after(item);
            core.dispatcher.ledger.handle_after(after);
        });
    }

    /// Accepts no item from now on whose unique key another one has.
    pub(crate) fn refuse_duplicates(&self, rules: &ItemRules) {
        let rules = rules.clone();
        self.with(|core| {
            let now = core.emitter.now();
            let key_of = move |item: &Envelope| rules.unique(item);
            core.dispatcher.ledger.handle_unique(key_of, now);
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
