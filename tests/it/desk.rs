//! The broker's desk: who is heard, and who waits for what. The simulator tries it at large.

pub(crate) mod stream;

use std::time::Duration;

use dishrack::broker::desk::{Desk, Refused, Reply, Request, Said, Verdict};
use dishrack::ledger::{Credit, Handed, HolderId, Ledger, Scene, Token};
use dishrack::{Capacity, Options};

crate::trials! {
    another_workers_delivery_cannot_be_given_back,
    a_waiting_put_is_answered_when_there_is_room,
    a_request_is_answered_once_also_when_it_is_cancelled,
    a_join_is_answered_when_all_is_done,
    nobody_waits_for_workers_that_are_gone,
}

type Table = Desk<Vec<u8>, ()>;

fn table(capacity: Capacity) -> Table {
    let options = Options {
        capacity,
        ..Options::default()
    };
    let mut desk = Desk::new(Ledger::new(options));
    desk.crew_began();
    desk
}

fn worker(desk: &mut Table) -> HolderId {
    desk.ledger
        .handle_join_for(Some(Credit::single()), u64::MAX)
}

fn delivery(desk: &mut Table) -> Handed {
    match desk.poll() {
        Some(Said::Deliver(handed)) => handed,
        other => panic!("{other:?}"),
    }
}

fn answer(desk: &mut Table) -> (u64, Reply) {
    match desk.poll() {
        Some(Said::Answer(request, reply)) => (request.number, reply),
        other => panic!("{other:?}"),
    }
}

fn done(desk: &mut Table, handed: &Handed) {
    let verdict = Verdict::Done(None, Scene::default());
    desk.settle(handed.token, Duration::ZERO, verdict, Duration::ZERO)
        .unwrap();
}

fn another_workers_delivery_cannot_be_given_back() {
    let mut desk = table(Capacity::Unbounded);
    let (owner, other) = (worker(&mut desk), worker(&mut desk));
    desk.put(vec![1], false).unwrap();
    let handed = delivery(&mut desk);
    let stranger = if handed.holder == owner { other } else { owner };
    for is_returned in [true, false] {
        assert!(!desk.is_heard(Token::of(stranger, handed.ordinal), is_returned));
        assert_eq!(desk.ledger.handed(handed.token), Some(handed));
    }
    assert_eq!(desk.ledger.counts().refused, 1);
    assert!(desk.is_heard(handed.token, false));
    desk.ledger.check().unwrap();
}

fn a_waiting_put_is_answered_when_there_is_room() {
    let mut desk = table(Capacity::Bounded(1));
    desk.put(vec![1], false).unwrap();
    let holder = desk.ledger.handle_join_as_getter();
    let request = Request { holder, number: 7 };
    desk.ask_put(request, vec![2], true);
    assert!(desk.poll().is_none(), "there is no room");
    assert!(desk.get().is_some());
    let (number, reply) = answer(&mut desk);
    assert!(matches!((number, reply), (7, Reply::Accepted(id)) if id.0 == 2));
    desk.ask_put(request, vec![3], false);
    assert_eq!(answer(&mut desk), (7, Reply::Refused(Refused::Full)));
}

fn a_request_is_answered_once_also_when_it_is_cancelled() {
    let mut desk = table(Capacity::Unbounded);
    let holder = desk.ledger.handle_join_as_getter();
    let request = Request { holder, number: 1 };
    desk.ask_get(request, true);
    assert!(desk.poll().is_none());
    desk.cancel(request);
    desk.cancel(request);
    assert_eq!(answer(&mut desk), (1, Reply::Empty));
    assert!(desk.poll().is_none());
    desk.put(vec![1], false).unwrap();
    assert!(desk.poll().is_none(), "nobody asks any more");
}

fn a_join_is_answered_when_all_is_done() {
    let mut desk = table(Capacity::Unbounded);
    let holder = worker(&mut desk);
    desk.put(vec![1], false).unwrap();
    let handed = delivery(&mut desk);
    desk.ask_join(Request { holder, number: 1 }, true);
    assert_eq!(answer(&mut desk), (1, Reply::WaitsForItself));
    let joiner = desk.ledger.handle_join_as_getter();
    desk.ask_join(
        Request {
            holder: joiner,
            number: 2,
        },
        true,
    );
    assert!(desk.poll().is_none());
    done(&mut desk, &handed);
    assert_eq!(answer(&mut desk), (2, Reply::Joined(1, 0)));
}

fn nobody_waits_for_workers_that_are_gone() {
    let mut desk = table(Capacity::Unbounded);
    desk.put(vec![1], false).unwrap();
    let holder = desk.ledger.handle_join_as_getter();
    desk.ask_join(Request { holder, number: 1 }, true);
    assert!(desk.poll().is_none());
    assert!(desk.crew_ended("they were given up on", true));
    let refused = Refused::NoWorkersLeft;
    assert_eq!(answer(&mut desk), (1, Reply::Refused(refused)));
    assert_eq!(desk.put(vec![2], false), Err(refused));
    assert_eq!(desk.loss_of_crews(), "they were given up on");
}
