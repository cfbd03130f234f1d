//! The broker's dispatcher: the callers that are heard or wait. The simulator tries it at large.

pub(crate) mod loops;
pub(crate) mod stream;

use std::time::Duration;

use dishrack_core::dispatcher::{Departure, Dispatcher, Effect, Reply, Request, SentDeliveries};

use crate::steps::Steps as _;
use dishrack_core::ledger::{Capacity, Cause, Options, Outcome, Refusal, Report};
use dishrack_core::ledger::{Credit, Handed, HolderId, Ledger, Recovered, Scene, Started, Token};
use dishrack_core::shared::Shared;

crate::trials! {
    another_workers_delivery_cannot_be_given_back,
    a_waiting_put_is_answered_when_there_is_room,
    a_request_is_answered_once_also_when_it_is_cancelled,
    one_request_is_answered_with_what_is_there_of_many,
    a_join_is_answered_when_all_is_done,
    nobody_waits_for_workers_that_are_gone,
    a_thread_between_two_gets_is_waited_for,
    a_join_waits_for_the_journal_though_the_workers_are_gone,
    what_a_client_holds_goes_back_when_its_connection_ends,
    what_a_client_cannot_have_seen_is_not_charged,
    what_a_client_put_and_was_not_told_of_is_counted,
    what_was_sent_counts_as_begun_but_for_the_last_that_was_left_unread,
    a_client_that_was_asked_to_end_is_charged_with_nothing,
    a_client_that_takes_items_serves_the_queue_and_one_that_puts_does_not,
    whoever_waits_is_told_that_the_books_do_not_agree,
    nothing_more_is_done_once_the_books_do_not_agree,
}

type Table = Dispatcher<Vec<u8>, ()>;

fn table(capacity: Capacity) -> Table {
    let options = Options::default().capacity(capacity);
    let mut dispatcher = Dispatcher::new(Ledger::new(options));
    dispatcher.pool_began();
    dispatcher
}

fn worker(dispatcher: &mut Table) -> HolderId {
    dispatcher
        .ledger
        .handle_join(Some(Credit::single()), u64::MAX)
}

fn delivery(dispatcher: &mut Table) -> Handed {
    match dispatcher.poll() {
        Some(Effect::Deliver(handed)) => handed,
        other => panic!("{other:?}"),
    }
}

fn answer(dispatcher: &mut Table) -> (u64, Reply) {
    match dispatcher.poll() {
        Some(Effect::Answer(request, reply)) => (request.number, reply),
        other => panic!("{other:?}"),
    }
}

fn done(dispatcher: &mut Table, handed: &Handed) {
    let (zero, done, scene) = (Duration::ZERO, Outcome::Done(None), Scene::default());
    dispatcher
        .settle(handed.token, zero, done, scene, zero)
        .unwrap();
}

fn another_workers_delivery_cannot_be_given_back() {
    let mut dispatcher = table(Capacity::Unbounded);
    let (owner, other) = (worker(&mut dispatcher), worker(&mut dispatcher));
    dispatcher.put(vec![1], false).unwrap();
    let handed = delivery(&mut dispatcher);
    let stranger = if handed.holder == owner { other } else { owner };
    for is_returned in [true, false] {
        assert!(!dispatcher.is_heard(Token::of(stranger, handed.ordinal), is_returned));
        assert_eq!(dispatcher.ledger.handed(handed.token), Some(handed));
    }
    assert_eq!(dispatcher.ledger.counts().refused, 1);
    assert!(dispatcher.is_heard(handed.token, false));
    dispatcher.ledger.check().unwrap();
}

fn a_waiting_put_is_answered_when_there_is_room() {
    let mut dispatcher = table(Capacity::Bounded(1));
    dispatcher.put(vec![1], false).unwrap();
    let holder = dispatcher.ledger.join_getter();
    let request = Request { holder, number: 7 };
    dispatcher.ask_put(request, vec![2], true);
    assert!(dispatcher.poll().is_none(), "there is no room");
    assert!(dispatcher.get().is_some());
    let (number, reply) = answer(&mut dispatcher);
    assert!(matches!((number, reply), (7, Reply::Accepted(id)) if id.0 == 2));
    dispatcher.ask_put(request, vec![3], false);
    assert_eq!(answer(&mut dispatcher), (7, Reply::Refused(Refusal::Full)));
}

fn a_request_is_answered_once_also_when_it_is_cancelled() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = dispatcher.ledger.join_getter();
    let request = Request { holder, number: 1 };
    dispatcher.ask_get(request, 1, true);
    assert!(dispatcher.poll().is_none());
    dispatcher.cancel(request);
    dispatcher.cancel(request);
    assert_eq!(answer(&mut dispatcher), (1, Reply::Refused(Refusal::Empty)));
    assert!(dispatcher.poll().is_none());
    dispatcher.put(vec![1], false).unwrap();
    assert!(dispatcher.poll().is_none(), "nobody asks any more");
}

fn one_request_is_answered_with_what_is_there_of_many() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = dispatcher.ledger.join_getter();
    let request = |number| Request { holder, number };
    let ordinals = |reply| match reply {
        Reply::Items(items) => items.iter().map(|one: &Handed| one.ordinal).collect(),
        other => panic!("{other:?}"),
    };
    dispatcher.ask_get(request(1), 3, true);
    assert!(dispatcher.poll().is_none());
    for n in 1..=5 {
        dispatcher.put(vec![n], false).unwrap();
    }
    let (number, reply) = answer(&mut dispatcher);
    let items: Vec<u64> = ordinals(reply);
    assert_eq!((number, items), (1, vec![1, 2, 3]));
    dispatcher.ask_get(request(2), 3, true);
    let (number, reply) = answer(&mut dispatcher);
    let items: Vec<u64> = ordinals(reply);
    assert_eq!((number, items), (2, vec![4, 5]));
    dispatcher.ask_get(request(3), 3, false);
    assert_eq!(answer(&mut dispatcher), (3, Reply::Refused(Refusal::Empty)));
    assert!(dispatcher.ledger.counts().is_balanced());
}

fn a_join_is_answered_when_all_is_done() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = worker(&mut dispatcher);
    dispatcher.put(vec![1], false).unwrap();
    let handed = delivery(&mut dispatcher);
    dispatcher.ask_join(Request { holder, number: 1 }, true);
    assert_eq!(
        answer(&mut dispatcher),
        (1, Reply::Refused(Refusal::WaitsForItself))
    );
    let joiner = dispatcher.ledger.join_getter();
    dispatcher.ask_join(
        Request {
            holder: joiner,
            number: 2,
        },
        true,
    );
    assert!(dispatcher.poll().is_none());
    done(&mut dispatcher, &handed);
    assert_eq!(answer(&mut dispatcher), (2, Reply::Joined(1, 0)));
}

fn nobody_waits_for_workers_that_are_gone() {
    let mut dispatcher = table(Capacity::Unbounded);
    dispatcher.put(vec![1], false).unwrap();
    let holder = dispatcher.ledger.join_getter();
    dispatcher.ask_join(Request { holder, number: 1 }, true);
    assert!(dispatcher.poll().is_none());
    assert!(dispatcher.pool_ended("they were given up on", true));
    let refused = Refusal::NoWorkersLeft { unfinished: 1 };
    assert_eq!(answer(&mut dispatcher), (1, Reply::Refused(refused)));
    assert_eq!(dispatcher.put(vec![2], false), Err(refused));
    assert_eq!(dispatcher.loss_of_pools(), "they were given up on");
}

fn a_thread_between_two_gets_is_waited_for() {
    let mut dispatcher = table(Capacity::Unbounded);
    dispatcher.put(vec![1], false).unwrap();
    dispatcher.put(vec![2], false).unwrap();
    let handed = dispatcher.get().unwrap();
    dispatcher.consumer_came();
    dispatcher.pool_ended("they were stopped", false);
    done(&mut dispatcher, &handed);
    assert_eq!(dispatcher.join_state(0), None, "it may get the other one");
    let holder = dispatcher.ledger.join_getter();
    dispatcher.ask_join(Request { holder, number: 1 }, true);
    assert!(dispatcher.poll().is_none());
    dispatcher.consumer_left();
    let refused = Refusal::NoWorkersLeft { unfinished: 1 };
    assert_eq!(dispatcher.join_state(0), Some(Err(refused)));
    assert_eq!(answer(&mut dispatcher), (1, Reply::Refused(refused)));
}

/// All is done, and only the journal has to say so.
fn a_join_waits_for_the_journal_though_the_workers_are_gone() {
    let ledger = Ledger::resume(Options::default(), Recovered::default());
    let mut dispatcher: Table = Dispatcher::new(ledger);
    dispatcher.pool_began();
    let holder = worker(&mut dispatcher);
    let write = |dispatcher: &mut Table| {
        let write = dispatcher.ledger.poll_write().expect("something to write");
        dispatcher.ledger.handle_written(write.number);
    };
    dispatcher.put(vec![1], false).unwrap();
    write(&mut dispatcher);
    let handed = delivery(&mut dispatcher);
    done(&mut dispatcher, &handed);
    dispatcher.detach(holder, Started::default(), None, Duration::ZERO);
    dispatcher.pool_ended("they were stopped", false);
    assert_eq!(dispatcher.join_state(0), None);
    write(&mut dispatcher);
    assert_eq!(dispatcher.join_state(0), Some(Ok((1, 0))));
}

/// For everything that can be waited for.
fn whoever_waits_is_told_that_the_books_do_not_agree() {
    type Ask = fn(&mut Table, Request);
    let asks: [(&str, Ask); 5] = [
        ("room", |dispatcher, request| {
            dispatcher.put(vec![1], false).unwrap();
            dispatcher.ask_put(request, vec![2], true);
        }),
        ("an item", |dispatcher, request| {
            dispatcher.ask_get(request, 1, true);
        }),
        ("the end of an item in hand", |dispatcher, request| {
            dispatcher.put(vec![1], false).unwrap();
            assert!(dispatcher.get().is_some());
            dispatcher.ask_join(request, true);
        }),
        ("a journal", |dispatcher, request| {
            let options = Options::default();
            let ledger = Ledger::resume(options, Recovered::default());
            *dispatcher = Dispatcher::new(ledger);
            let holder = dispatcher.ledger.join_getter();
            assert_eq!(holder, request.holder);
            dispatcher.ask_put(request, vec![1], false);
            assert!(dispatcher.ledger.poll_write().is_some());
        }),
        ("a stream", |dispatcher, request| {
            *dispatcher = Dispatcher::new(Ledger::share(Options::default()));
            dispatcher.shared = Some(Shared::default());
            let holder = dispatcher.ledger.join_getter();
            assert_eq!(holder, request.holder);
            dispatcher.ask_put(request, vec![1], true);
        }),
    ];
    for (what, ask) in asks {
        let mut dispatcher = table(Capacity::Bounded(1));
        let holder = dispatcher.ledger.join_getter();
        ask(&mut dispatcher, Request { holder, number: 7 });
        assert!(dispatcher.poll().is_none(), "{what} is waited for");
        dispatcher.handle_inconsistent();
        let refused = Reply::Refused(Refusal::Inconsistent);
        assert_eq!(answer(&mut dispatcher), (7, refused), "{what}");
        assert!(dispatcher.poll().is_none(), "{what}: one answer");
    }
}

fn nothing_more_is_done_once_the_books_do_not_agree() {
    let ledger = Ledger::resume(Options::default(), Recovered::default());
    let mut dispatcher: Table = Dispatcher::new(ledger);
    dispatcher.pool_began();
    let busy = worker(&mut dispatcher);
    for item in [1, 2] {
        dispatcher.put(vec![item], false).unwrap();
    }
    let write = dispatcher.ledger.poll_write().unwrap();
    dispatcher.ledger.handle_written(write.number);
    let handed = delivery(&mut dispatcher);
    assert_eq!(handed.holder, busy);
    dispatcher.handle_inconsistent();
    worker(&mut dispatcher);
    let (zero, scene) = (Duration::ZERO, Scene::default());
    let settled = dispatcher.settle(handed.token, zero, Outcome::Done(Some(())), scene, zero);
    assert_eq!(settled, Ok(()));
    assert!(dispatcher.poll().is_none(), "no delivery and no report");
    assert!(dispatcher.ledger.poll_write().is_none());
    assert!(dispatcher.get().is_none());
    let refused = Refusal::Inconsistent;
    assert_eq!(dispatcher.put(vec![3], false), Err(refused));
    assert_eq!(dispatcher.put(vec![3], true), Err(refused));
    assert_eq!(dispatcher.end_of_gets(), Some(refused));
    assert_eq!(dispatcher.join_state(0), Some(Err(refused)));
    assert!(dispatcher.is_written(), "nobody waits for the journal");
    dispatcher.ledger.check().unwrap();
}

/// Lets a client ask for so many items, and returns them.
fn given(dispatcher: &mut Table, holder: HolderId, at_most: usize) -> Vec<Handed> {
    dispatcher.ask_get(Request { holder, number: 1 }, at_most, false);
    match answer(dispatcher) {
        (1, Reply::Items(items)) => items,
        other => panic!("{other:?}"),
    }
}

fn leave(dispatcher: &mut Table, holder: HolderId, departure: Departure) -> bool {
    dispatcher.client_left(holder, departure, Scene::default(), Duration::ZERO)
}

/// Returns the causes that were told of by now.
fn causes(dispatcher: &mut Table) -> Vec<Cause> {
    let mut causes = Vec::new();
    while let Some(effect) = dispatcher.poll() {
        if let Effect::Report(Report::Retry { failure, .. }) = effect {
            causes.push(failure.cause);
        }
    }
    causes
}

fn what_a_client_holds_goes_back_when_its_connection_ends() {
    let mut dispatcher = table(Capacity::Unbounded);
    for n in 1..=4 {
        dispatcher.put(vec![n], false).unwrap();
    }
    let (client, other) = (dispatcher.client_came(), dispatcher.client_came());
    let items = given(&mut dispatcher, client, 3);
    done(&mut dispatcher, &items[1]);
    // Others of its requests end with it, and are not answered.
    dispatcher.ask_join(
        Request {
            holder: client,
            number: 2,
        },
        true,
    );
    leave(&mut dispatcher, client, Departure::Gone { taken: u64::MAX });
    assert_eq!(
        causes(&mut dispatcher),
        [Cause::Disconnected, Cause::Disconnected]
    );
    let again = given(&mut dispatcher, other, 9);
    let seen: Vec<(u64, u32)> = again.iter().map(|one| (one.id.0, one.attempt)).collect();
    assert_eq!(seen, [(1, 2), (3, 2), (4, 1)]);
    // What the first one says of its deliveries now changes nothing.
    assert!(!dispatcher.is_heard(items[0].token, false));
    again.iter().for_each(|one| done(&mut dispatcher, one));
    assert_eq!(dispatcher.join_state(0), Some(Ok((4, 0))));
}

fn what_a_client_cannot_have_seen_is_not_charged() {
    let mut dispatcher = table(Capacity::Unbounded);
    for n in 1..=3 {
        dispatcher.put(vec![n], false).unwrap();
    }
    let client = dispatcher.client_came();
    let items = given(&mut dispatcher, client, 3);
    let taken = items[1].ordinal;
    leave(&mut dispatcher, client, Departure::Gone { taken });
    let other = dispatcher.client_came();
    let attempts = given(&mut dispatcher, other, 9);
    let attempts: Vec<u32> = attempts.iter().map(|one| one.attempt).collect();
    assert_eq!(attempts, [2, 2, 1]);
}

fn what_a_client_put_and_was_not_told_of_is_counted() {
    let ledger = Ledger::resume(Options::default(), Recovered::default());
    let mut dispatcher: Table = Dispatcher::new(ledger);
    let (holder, other) = (dispatcher.client_came(), dispatcher.client_came());
    let request = |holder, number| Request { holder, number };
    dispatcher.ask_put(request(holder, 1), vec![1], true);
    let write = dispatcher.ledger.poll_write().expect("something to write");
    dispatcher.ask_put(request(holder, 2), vec![2], true);
    dispatcher.ask_put(request(other, 1), vec![3], true);
    dispatcher.ledger.handle_written(write.number);
    assert!(matches!(answer(&mut dispatcher), (1, Reply::Accepted(_))));
    assert_eq!(dispatcher.untold_puts(holder), 1);
    leave(&mut dispatcher, holder, Departure::Asked);
    assert_eq!(dispatcher.untold_puts(holder), 0);
    assert_eq!(dispatcher.ledger.counts().accepted, 3);
}

fn what_was_sent_counts_as_begun_but_for_the_last_that_was_left_unread() {
    let mut sent = SentDeliveries::default();
    let begun = |sent: &SentDeliveries| [true, false].map(|one| sent.begun_up_to(one));
    assert_eq!(begun(&sent), [0, 0]);
    sent.sent(Some(1));
    sent.sent(Some(2));
    assert_eq!(begun(&sent), [1, 2]);
    // What is left unread may be a part of the next one alone.
    sent.sent_a_part();
    assert_eq!(begun(&sent), [2, 2]);
    sent.sent(Some(3));
    assert_eq!(begun(&sent), [2, 3]);
    // It may be this answer alone.
    sent.sent(None);
    assert_eq!(begun(&sent), [3, 3]);
}

fn a_client_that_was_asked_to_end_is_charged_with_nothing() {
    let mut dispatcher = table(Capacity::Unbounded);
    dispatcher.put(vec![1], false).unwrap();
    let client = dispatcher.client_came();
    given(&mut dispatcher, client, 1);
    leave(&mut dispatcher, client, Departure::Asked);
    assert_eq!(causes(&mut dispatcher), []);
    let other = dispatcher.client_came();
    assert_eq!(given(&mut dispatcher, other, 1)[0].attempt, 1);
}

fn a_client_that_takes_items_serves_the_queue_and_one_that_puts_does_not() {
    let mut dispatcher = table(Capacity::Bounded(1));
    let (putter, consumer) = (dispatcher.client_came(), dispatcher.client_came());
    dispatcher.put(vec![1], false).unwrap();
    let item = given(&mut dispatcher, consumer, 1)[0];
    assert!(!dispatcher.pool_ended("they were given up on", true));
    let request = Request {
        holder: putter,
        number: 7,
    };
    dispatcher.ask_put(request, vec![2], true);
    assert!(matches!(answer(&mut dispatcher), (7, Reply::Accepted(_))));
    done(&mut dispatcher, &item);
    assert_eq!(dispatcher.join_state(0), None, "the consumer may ask again");
    let gone = Departure::Gone { taken: u64::MAX };
    assert!(leave(&mut dispatcher, consumer, gone), "nobody is left");
    let refused = Refusal::NoWorkersLeft { unfinished: 1 };
    assert_eq!(dispatcher.join_state(0), Some(Err(refused)));
    assert_eq!(dispatcher.put(vec![3], false), Err(refused));
    assert!(!leave(&mut dispatcher, putter, gone));
}
