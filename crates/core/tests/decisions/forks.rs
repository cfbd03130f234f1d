//! Orders to a fork server: scenarios of its lives, and random ones in which every order has exactly
//! one end. Time is a number.

use std::collections::BTreeSet;
use std::time::Duration;

use dishrack_core::ledger::Exit;
use dishrack_core::pool::forks::{ForkEffect, ForkOrders, ForkRefusal};
use proptest::prelude::*;

crate::trials! {
    the_first_order_starts_it_and_is_sent_when_it_serves,
    few_orders_are_sent_at_a_time,
    an_order_that_was_not_sent_can_be_taken_back,
    one_that_hangs_with_an_order_is_killed,
    orders_without_an_answer_are_lost_with_it,
    what_it_said_before_its_end_counts,
    answers_that_linger_are_given_up_after_a_second,
    an_idle_one_that_dies_is_replaced_by_the_next_order,
    one_that_works_may_die_as_often_as_it_likes,
    one_that_never_works_is_given_up_and_tried_again_later,
    one_that_cannot_be_started_refuses_what_waits,
    an_earlier_ones_words_are_not_taken_for_this_ones,
    every_order_has_one_end,
}

const KILLED: Exit = Exit::Signaled(9);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn orders() -> ForkOrders {
    ForkOrders::new(2, ms(10_000))
}

fn effects(orders: &mut ForkOrders) -> Vec<ForkEffect> {
    std::iter::from_fn(|| orders.poll_effect()).collect()
}

/// Returns one that serves, and its number.
fn serving() -> (ForkOrders, u64) {
    let mut orders = orders();
    orders.order(0);
    let number = orders.started();
    orders.serves(number);
    assert_eq!(orders.answered(number), Some(0));
    effects(&mut orders);
    (orders, number)
}

/// Ends this life, all of whose words were read.
fn die(orders: &mut ForkOrders, number: u64, at: Duration) {
    orders.ended(number, KILLED, at);
    orders.closed(number, at);
}

fn the_first_order_starts_it_and_is_sent_when_it_serves() {
    let mut orders = orders();
    assert_eq!(effects(&mut orders), []);
    orders.order(1);
    orders.order(2);
    assert_eq!(effects(&mut orders), [ForkEffect::Start]);
    let number = orders.started();
    orders.order(3);
    assert_eq!(effects(&mut orders), []);
    orders.serves(number);
    let sent = [1, 2, 3].map(ForkEffect::Send);
    assert_eq!(effects(&mut orders), sent);
    assert_eq!(orders.answered(number), Some(1));
    assert_eq!(orders.answered(number), Some(2));
}

fn few_orders_are_sent_at_a_time() {
    let (mut orders, number) = serving();
    (1..=20).for_each(|order| orders.order(order));
    assert_eq!(effects(&mut orders).len(), 8);
    assert_eq!(orders.answered(number), Some(1));
    assert_eq!(effects(&mut orders), [ForkEffect::Send(9)]);
}

fn an_order_that_was_not_sent_can_be_taken_back() {
    let mut orders = orders();
    orders.order(1);
    orders.order(2);
    assert!(orders.cancel(1));
    assert!(!orders.cancel(1));
    let number = orders.started();
    orders.serves(number);
    assert_eq!(
        effects(&mut orders),
        [ForkEffect::Start, ForkEffect::Send(2)]
    );
    assert!(!orders.cancel(2), "it was sent");
}

fn one_that_hangs_with_an_order_is_killed() {
    let (mut orders, number) = serving();
    orders.order(1);
    effects(&mut orders);
    orders.condemn(7);
    assert_eq!(effects(&mut orders), [], "it has no such order");
    orders.condemn(1);
    assert_eq!(effects(&mut orders), [ForkEffect::Kill]);
    assert_eq!(orders.answered(number), Some(1));
    orders.condemn(1);
    assert_eq!(effects(&mut orders), [], "it has answered");
}

fn orders_without_an_answer_are_lost_with_it() {
    let (mut orders, number) = serving();
    (1..=9).for_each(|order| orders.order(order));
    effects(&mut orders);
    orders.ended(number, KILLED, ms(5));
    orders.order(10);
    assert_eq!(effects(&mut orders), [], "what it said is still to be read");
    orders.closed(number, ms(6));
    let mut expected: Vec<_> = (1..=8)
        .map(|order| ForkEffect::Lost(order, KILLED))
        .collect();
    expected.push(ForkEffect::Start);
    assert_eq!(effects(&mut orders), expected);
    let next = orders.started();
    orders.serves(next);
    assert_eq!(effects(&mut orders), [9, 10].map(ForkEffect::Send));
}

fn what_it_said_before_its_end_counts() {
    let (mut orders, number) = serving();
    orders.order(1);
    orders.order(2);
    effects(&mut orders);
    orders.ended(number, KILLED, ms(5));
    assert_eq!(orders.answered(number), Some(1));
    orders.closed(number, ms(5));
    assert_eq!(effects(&mut orders), [ForkEffect::Lost(2, KILLED)]);
}

fn answers_that_linger_are_given_up_after_a_second() {
    let (mut orders, number) = serving();
    orders.order(1);
    effects(&mut orders);
    orders.ended(number, KILLED, ms(5));
    assert_eq!(orders.poll_timeout(), Some(ms(1005)));
    orders.deadline_passed(ms(1004));
    assert_eq!(effects(&mut orders), []);
    orders.deadline_passed(ms(1005));
    assert_eq!(effects(&mut orders), [ForkEffect::Lost(1, KILLED)]);
    assert_eq!(orders.poll_timeout(), None);
}

fn an_idle_one_that_dies_is_replaced_by_the_next_order() {
    let (mut orders, number) = serving();
    die(&mut orders, number, ms(5));
    assert_eq!(effects(&mut orders), [], "nobody needs it");
    orders.order(1);
    assert_eq!(effects(&mut orders), [ForkEffect::Start]);
}

fn one_that_works_may_die_as_often_as_it_likes() {
    let (mut orders, mut number) = serving();
    for order in 1..100 {
        die(&mut orders, number, ms(order));
        orders.order(order);
        number = orders.started();
        orders.serves(number);
        let expected = [ForkEffect::Start, ForkEffect::Send(order)];
        assert_eq!(effects(&mut orders), expected);
        assert_eq!(orders.answered(number), Some(order));
    }
}

fn one_that_never_works_is_given_up_and_tried_again_later() {
    let mut orders = orders();
    orders.order(1);
    for at in 0..3 {
        let number = orders.started();
        effects(&mut orders);
        die(&mut orders, number, ms(at));
    }
    let why = ForkRefusal::DiedTooOften(KILLED);
    assert_eq!(effects(&mut orders), [ForkEffect::Refused(1, why)]);
    orders.order(2);
    let number = orders.started();
    die(&mut orders, number, ms(20_000));
    assert_eq!(effects(&mut orders), [ForkEffect::Start, ForkEffect::Start]);
}

fn one_that_cannot_be_started_refuses_what_waits() {
    let mut orders = orders();
    orders.order(1);
    orders.order(2);
    orders.not_started();
    let refused = [1, 2].map(|order| ForkEffect::Refused(order, ForkRefusal::NotStarted));
    assert_eq!(effects(&mut orders)[1..], refused);
    orders.order(3);
    assert_eq!(
        effects(&mut orders),
        [ForkEffect::Start],
        "it is tried again"
    );
}

fn an_earlier_ones_words_are_not_taken_for_this_ones() {
    let (mut orders, first) = serving();
    die(&mut orders, first, ms(1));
    orders.order(1);
    let second = orders.started();
    orders.serves(first);
    assert_eq!(
        effects(&mut orders),
        [ForkEffect::Start],
        "this one has said nothing"
    );
    orders.serves(second);
    assert_eq!(orders.answered(first), None);
    die(&mut orders, first, ms(2));
    assert_eq!(effects(&mut orders), [ForkEffect::Send(1)]);
    assert_eq!(orders.answered(second), Some(1));
}

/// An event of a random run.
#[derive(Debug, Clone, Copy)]
enum Step {
    Order,
    Cancel,
    Condemn,
    Serve,
    Answer,
    Die,
    Close,
    Wait,
    FailToStart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Order),
        1 => Just(Step::Cancel),
        1 => Just(Step::Condemn),
        4 => Just(Step::Serve),
        4 => Just(Step::Answer),
        2 => Just(Step::Die),
        2 => Just(Step::Close),
        1 => Just(Step::Wait),
        1 => Just(Step::FailToStart),
    ];
    prop::collection::vec(step, 0..200)
}

/// A world of one process, and what has become of each order.
struct World {
    orders: ForkOrders,
    now: Duration,
    is_starting: bool,
    number: u64,
    is_alive: bool,
    /// Orders that were sent to the living process.
    taken: Vec<u64>,
    open: BTreeSet<u64>,
    next: u64,
}

impl World {
    fn end(&mut self, order: u64) {
        assert!(self.open.remove(&order), "{order} has a second end");
    }

    fn follow(&mut self) {
        while let Some(effect) = self.orders.poll_effect() {
            match effect {
                ForkEffect::Start => {
                    assert!(!self.is_starting && !self.is_alive);
                    self.is_starting = true;
                }
                ForkEffect::Kill => assert!(!self.taken.is_empty()),
                ForkEffect::Send(order) => self.taken.push(order),
                ForkEffect::Lost(order, _) | ForkEffect::Refused(order, _) => self.end(order),
            }
        }
        assert!(self.taken.len() <= 8 || !self.is_alive);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Order => {
                self.next += 1;
                self.open.insert(self.next);
                self.orders.order(self.next);
            }
            Step::Cancel => {
                if self.orders.cancel(self.next) {
                    self.end(self.next);
                }
            }
            Step::Condemn => self.orders.condemn(self.next),
            Step::Serve if self.is_starting => {
                self.is_starting = false;
                self.taken.clear();
                self.number = self.orders.started();
                self.is_alive = true;
            }
            Step::FailToStart if self.is_starting => {
                self.is_starting = false;
                self.orders.not_started();
            }
            Step::Serve => self.orders.serves(self.number),
            Step::Answer if self.is_alive && !self.taken.is_empty() => {
                let order = self.taken.remove(0);
                assert_eq!(self.orders.answered(self.number), Some(order));
                self.end(order);
            }
            Step::Die if self.is_alive => {
                self.is_alive = false;
                self.orders.ended(self.number, KILLED, self.now);
            }
            Step::Close if !self.is_alive => self.orders.closed(self.number, self.now),
            Step::Wait => {
                self.now += ms(700);
                self.orders.deadline_passed(self.now);
            }
            Step::Answer | Step::Die | Step::Close | Step::FailToStart => {}
        }
        self.follow();
    }
}

fn every_order_has_one_end() {
    proptest!(|(steps in steps())| {
        let mut world = World {
            orders: orders(),
            now: ms(0),
            is_starting: false,
            number: 0,
            is_alive: false,
            taken: Vec::new(),
            open: BTreeSet::new(),
            next: 0,
        };
        steps.into_iter().for_each(|step| world.step(step));
        // Whatever has happened, one that lives on ends all that is left.
        for _ in 0..1000 {
            world.step(Step::Serve);
            world.step(Step::Answer);
            if !world.is_alive {
                world.step(Step::Close);
            }
        }
        prop_assert!(world.open.is_empty(), "{:?} have no end", world.open);
    });
}
