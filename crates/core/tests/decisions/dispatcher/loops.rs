//! Workers with a loop of their own: what they are handed in advance, and when.

use std::time::Duration;

use dishrack_core::dispatcher::{Effect, Reply, Request};
use dishrack_core::ledger::{
    Blame, Capacity, Cause, Credit, Exit, Handed, HolderId, Ledger, Options, Refusal, Started,
};

use super::{Table, answer, table};
use crate::steps::Steps as _;

crate::trials! {
    a_loop_that_does_not_ask_is_handed_nothing,
    a_loop_gets_more_in_advance_with_what_it_asked_for,
    what_crosses_a_request_is_its_answer,
    a_loop_without_prefetch_gets_what_it_asks_for,
    a_loop_that_waits_is_served_whatever_it_holds,
    a_loop_that_waits_is_a_reason_to_take_back_from_another,
    a_caller_that_waits_is_one_too,
    a_get_that_does_not_wait_takes_what_another_has_in_advance,
    a_get_that_does_not_wait_ends_when_nothing_is_left_in_advance,
    a_get_that_does_not_wait_takes_what_is_on_its_way,
    what_a_loop_has_begun_counts_as_taken,
    a_handler_that_keeps_what_it_got_is_served_again,
    what_a_loop_settles_in_any_order_adds_up,
    a_loop_that_cancels_its_get_is_handed_nothing,
    a_loop_that_joins_gives_back_what_it_has_in_advance,
    the_other_gets_of_a_loop_that_has_had_its_share_end,
    a_loop_that_dies_is_charged_with_what_it_had_begun,
    what_a_loop_holds_is_begun_in_order_in_any_case,
    a_loop_that_has_waited_does_not_go_on_beside_an_item_that_runs_alone,
    an_item_is_not_run_alone_while_a_loop_is_back_at_its_own,
    an_item_that_waits_while_it_runs_alone_is_not_alone_any_more,
}

const TINY: Duration = Duration::from_nanos(1);

fn looping(dispatcher: &mut Table) -> HolderId {
    let credit = Credit::adaptive().for_loop();
    dispatcher.ledger.handle_join(Some(credit), u64::MAX)
}

fn put(dispatcher: &mut Table, items: u8) {
    for n in 0..items {
        dispatcher.put(vec![n], false).unwrap();
    }
}

fn ask(dispatcher: &mut Table, holder: HolderId, number: u64, waits: bool) {
    dispatcher.ask_get(Request { holder, number }, 1, waits);
}

/// Asks for an item that is there. Returns it, and what comes in advance with it.
fn get(dispatcher: &mut Table, holder: HolderId) -> (Handed, Vec<Handed>) {
    ask(dispatcher, holder, 1, true);
    let items = match answer(dispatcher) {
        (1, Reply::Items(items)) => items,
        other => panic!("{other:?}"),
    };
    assert_eq!(items.len(), 1);
    dispatcher.ledger.handle_begun(holder, items[0].ordinal);
    (items[0], in_advance(dispatcher))
}

fn in_advance(dispatcher: &mut Table) -> Vec<Handed> {
    let mut all = Vec::new();
    while let Some(effect) = dispatcher.poll() {
        match effect {
            Effect::Deliver(handed) => all.push(handed),
            other => panic!("{other:?}"),
        }
    }
    dispatcher.ledger.check().unwrap();
    all
}

fn done(dispatcher: &mut Table, handed: Handed) {
    dispatcher.ledger.done(handed.token, TINY, None).unwrap();
    dispatcher.ledger.check().unwrap();
}

/// Lets a loop do items so fast that it may have several in advance.
fn season(dispatcher: &mut Table, holder: HolderId) {
    for _ in 0..3 {
        put(dispatcher, 1);
        let (handed, more) = get(dispatcher, holder);
        assert!(more.is_empty());
        done(dispatcher, handed);
    }
}

fn a_loop_that_does_not_ask_is_handed_nothing() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = looping(&mut dispatcher);
    season(&mut dispatcher, holder);
    put(&mut dispatcher, 3);
    assert!(dispatcher.poll().is_none(), "it has settled all");
    let other = looping(&mut dispatcher);
    assert!(dispatcher.poll().is_none(), "nor to a new one");
    assert_eq!(
        (
            dispatcher.ledger.appetite(),
            dispatcher.ledger.held_by(other)
        ),
        (0, 0)
    );
}

fn a_loop_gets_more_in_advance_with_what_it_asked_for() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = looping(&mut dispatcher);
    season(&mut dispatcher, holder);
    put(&mut dispatcher, 20);
    let (first, more) = get(&mut dispatcher, holder);
    assert_eq!(more.len(), 7, "it may hold eight by now");
    dispatcher
        .ledger
        .handle_done_through(holder, first.ordinal, TINY);
    let refill = in_advance(&mut dispatcher);
    assert_eq!(
        refill.len(),
        9,
        "as it settles, it gets more without asking"
    );
}

fn what_crosses_a_request_is_its_answer() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = looping(&mut dispatcher);
    season(&mut dispatcher, holder);
    put(&mut dispatcher, 3);
    let (_, more) = get(&mut dispatcher, holder);
    assert_eq!(more.len(), 2);
    ask(&mut dispatcher, holder, 2, true);
    assert_eq!(answer(&mut dispatcher), (2, Reply::Ahead));
    dispatcher.ledger.handle_begun(holder, more[1].ordinal);
    ask(&mut dispatcher, holder, 3, true);
    assert!(dispatcher.poll().is_none(), "it waits for another one");
    put(&mut dispatcher, 1);
    assert!(matches!(answer(&mut dispatcher), (3, Reply::Items(_))));
}

fn a_loop_without_prefetch_gets_what_it_asks_for() {
    let mut dispatcher = table(Capacity::Unbounded);
    let credit = Credit::single().for_loop();
    let holder = dispatcher.ledger.handle_join(Some(credit), u64::MAX);
    season(&mut dispatcher, holder);
    put(&mut dispatcher, 3);
    let (first, more) = get(&mut dispatcher, holder);
    assert!(more.is_empty());
    let (_, more) = get(&mut dispatcher, holder);
    assert!(more.is_empty(), "though it holds {first:?}");
}

fn a_loop_that_waits_is_served_whatever_it_holds() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = looping(&mut dispatcher);
    for _ in 0..5 {
        put(&mut dispatcher, 1);
        get(&mut dispatcher, holder);
    }
    assert_eq!(dispatcher.ledger.held_by(holder), 5);
    assert!(dispatcher.ledger.is_empty());
}

/// Makes a loop with one item in hand and others in advance, and another one that has none.
fn one_ahead(items: u8) -> (Table, [HolderId; 2], Handed, Vec<Handed>) {
    let mut dispatcher = table(Capacity::Unbounded);
    let both = [looping(&mut dispatcher), looping(&mut dispatcher)];
    season(&mut dispatcher, both[0]);
    put(&mut dispatcher, items);
    let (first, more) = get(&mut dispatcher, both[0]);
    assert_eq!(more.len(), usize::from(items) - 1);
    (dispatcher, both, first, more)
}

fn a_loop_that_waits_is_a_reason_to_take_back_from_another() {
    let (mut dispatcher, [busy, other], ..) = one_ahead(3);
    assert!(!dispatcher.ledger.is_relying());
    ask(&mut dispatcher, other, 9, true);
    assert!(dispatcher.poll().is_none());
    assert!(dispatcher.ledger.is_relying() && dispatcher.ledger.is_relied_on(busy));
    assert!(
        dispatcher
            .ledger
            .handle_slow(busy, Duration::from_millis(2))
    );
}

fn a_caller_that_waits_is_one_too() {
    let (mut dispatcher, [busy, _], ..) = one_ahead(3);
    dispatcher.local_waits(true);
    assert!(dispatcher.ledger.is_relying());
    assert!(
        dispatcher
            .ledger
            .handle_slow(busy, Duration::from_millis(2))
    );
}

fn a_get_that_does_not_wait_takes_what_another_has_in_advance() {
    let (mut dispatcher, [busy, other], _, more) = one_ahead(3);
    ask(&mut dispatcher, other, 9, false);
    assert!(matches!(dispatcher.poll(), Some(Effect::TakeBack(holder)) if holder == busy));
    assert!(dispatcher.poll().is_none(), "it is asked once");
    for one in more.iter().rev() {
        dispatcher.ledger.handle_return(one.token).unwrap();
    }
    let (number, reply) = answer(&mut dispatcher);
    assert!(matches!((number, &reply), (9, Reply::Items(items)) if items[0].id == more[0].id));
}

fn a_get_that_does_not_wait_ends_when_nothing_is_left_in_advance() {
    let (mut dispatcher, [busy, other], _, more) = one_ahead(3);
    ask(&mut dispatcher, other, 9, false);
    assert!(matches!(dispatcher.poll(), Some(Effect::TakeBack(_))));
    dispatcher.ledger.handle_begun(busy, more[1].ordinal);
    assert_eq!(answer(&mut dispatcher), (9, Reply::Refused(Refusal::Empty)));
    ask(&mut dispatcher, other, 10, false);
    let empty = (10, Reply::Refused(Refusal::Empty));
    assert_eq!(answer(&mut dispatcher), empty, "at once");
}

fn a_get_that_does_not_wait_takes_what_is_on_its_way() {
    let (mut dispatcher, [busy, _], _, more) = one_ahead(3);
    ask(&mut dispatcher, busy, 9, false);
    assert_eq!(answer(&mut dispatcher), (9, Reply::Ahead));
    dispatcher.ledger.handle_begun(busy, more[1].ordinal);
    ask(&mut dispatcher, busy, 10, false);
    let empty = (10, Reply::Refused(Refusal::Empty));
    assert_eq!(answer(&mut dispatcher), empty);
}

fn what_a_loop_has_begun_counts_as_taken() {
    let (mut dispatcher, [busy, _], _, more) = one_ahead(4);
    let ledger = &dispatcher.ledger;
    assert_eq!(
        (ledger.len(), ledger.held_by(busy), ledger.due_from(busy)),
        (3, 4, 1)
    );
    dispatcher.ledger.handle_begun(busy, more[1].ordinal);
    let ledger = &dispatcher.ledger;
    assert_eq!((ledger.len(), ledger.due_from(busy)), (1, 3));
    dispatcher.ledger.handle_begun(busy, u64::MAX);
    assert_eq!(dispatcher.ledger.len(), 0, "no further than it was handed");
    dispatcher.ledger.handle_begun(busy, 1);
    dispatcher.ledger.check().unwrap();
    let mut bounded = table(Capacity::Bounded(2));
    let holder = looping(&mut bounded);
    put(&mut bounded, 2);
    get(&mut bounded, holder);
    assert!(bounded.ledger.has_room());
}

fn a_handler_that_keeps_what_it_got_is_served_again() {
    let mut dispatcher = table(Capacity::Unbounded);
    let credit = Credit::adaptive();
    let holder = dispatcher.ledger.handle_join(Some(credit), u64::MAX);
    put(&mut dispatcher, 4);
    assert_eq!(in_advance(&mut dispatcher).len(), 1);
    for number in 1..=3 {
        dispatcher.ledger.handle_begun(holder, number);
        ask(&mut dispatcher, holder, number, number == 1);
        let (_, reply) = answer(&mut dispatcher);
        assert!(
            matches!(&reply, Reply::Items(items) if items.len() == 1),
            "{reply:?}"
        );
        dispatcher.ledger.check().unwrap();
    }
    dispatcher.ledger.handle_begun(holder, 4);
    ask(&mut dispatcher, holder, 9, false);
    let empty = (9, Reply::Refused(Refusal::Empty));
    assert_eq!(answer(&mut dispatcher), empty);
}

fn what_a_loop_settles_in_any_order_adds_up() {
    let (mut dispatcher, [busy, _], first, more) = one_ahead(8);
    // Its word of the third says that it has begun the second.
    done(&mut dispatcher, more[1]);
    assert_eq!(dispatcher.ledger.len(), 5);
    let late = dispatcher
        .ledger
        .handle_done_run(busy, more[3].ordinal..=more[4].ordinal, TINY);
    assert!(late.is_empty());
    dispatcher.ledger.check().unwrap();
    dispatcher.ledger.handle_return(more[6].token).unwrap();
    dispatcher.ledger.check().unwrap();
    dispatcher
        .ledger
        .handle_cancel(more[2].id, Default::default());
    dispatcher.ledger.check().unwrap();
    dispatcher
        .ledger
        .handle_done_through(busy, more[5].ordinal, TINY);
    dispatcher.ledger.check().unwrap();
    let counts = dispatcher.ledger.counts();
    assert_eq!((counts.done, counts.dead, counts.refused), (3 + 6, 1, 1));
    assert_eq!(dispatcher.ledger.held_by(busy), 0);
    assert!(dispatcher.ledger.handed(first.token).is_none());
}

fn a_loop_that_cancels_its_get_is_handed_nothing() {
    let mut dispatcher = table(Capacity::Unbounded);
    let holder = looping(&mut dispatcher);
    let request = |number| Request { holder, number };
    ask(&mut dispatcher, holder, 1, true);
    ask(&mut dispatcher, holder, 2, true);
    dispatcher.cancel(request(1));
    assert_eq!(answer(&mut dispatcher), (1, Reply::Refused(Refusal::Empty)));
    put(&mut dispatcher, 1);
    assert!(matches!(answer(&mut dispatcher), (2, Reply::Items(_))));
    ask(&mut dispatcher, holder, 3, true);
    dispatcher.cancel(request(3));
    assert_eq!(answer(&mut dispatcher), (3, Reply::Refused(Refusal::Empty)));
    put(&mut dispatcher, 1);
    assert!(dispatcher.poll().is_none(), "nobody asks any more");
}

fn a_loop_that_joins_gives_back_what_it_has_in_advance() {
    let (mut dispatcher, [busy, _], _, more) = one_ahead(3);
    let holder = busy;
    dispatcher.ask_join(Request { holder, number: 5 }, true);
    assert!(matches!(dispatcher.poll(), Some(Effect::TakeBack(holder)) if holder == busy));
    dispatcher.ledger.handle_return(more[0].token).unwrap();
    assert!(dispatcher.poll().is_none(), "nor is it handed that again");
    dispatcher.ledger.handle_return(more[1].token).unwrap();
    ask(&mut dispatcher, holder, 6, true);
    let (number, reply) = answer(&mut dispatcher);
    assert!(matches!((number, &reply), (6, Reply::Items(items)) if items[0].id == more[0].id));
    assert_eq!(
        in_advance(&mut dispatcher).len(),
        1,
        "another thread of it gets on"
    );
}

fn the_other_gets_of_a_loop_that_has_had_its_share_end() {
    let mut dispatcher = table(Capacity::Unbounded);
    let credit = Credit::adaptive().for_loop();
    let holder = dispatcher.ledger.handle_join(Some(credit), 1);
    ask(&mut dispatcher, holder, 1, true);
    ask(&mut dispatcher, holder, 2, true);
    put(&mut dispatcher, 2);
    let mut answers = [answer(&mut dispatcher), answer(&mut dispatcher)];
    answers.sort_by_key(|(number, _)| *number);
    assert!(matches!(answers[0].1, Reply::Items(_)));
    assert_eq!(answers[1], (2, Reply::Refused(Refusal::Closed)));
    assert_eq!(dispatcher.ledger.counts().waiting, 1);
}

fn a_loop_that_dies_is_charged_with_what_it_had_begun() {
    let (mut dispatcher, [busy, _], first, more) = one_ahead(4);
    let blame = Blame::from(Cause::WorkerDied(Exit::Signaled(9)));
    let started = Started {
        current: first.ordinal,
        begun: more[0].ordinal,
    };
    let charged = dispatcher.detach(busy, started, Some(&blame), Duration::ZERO);
    assert_eq!((charged, dispatcher.ledger.counts().retries), (2, 2));
    for _ in 0..charged {
        assert!(matches!(dispatcher.poll(), Some(Effect::Report(_))));
    }
    let next = looping(&mut dispatcher);
    let (again, _) = get(&mut dispatcher, next);
    assert_eq!((again.id, again.attempt), (first.id, 2));
    dispatcher.ledger.check().unwrap();
}

/// Any order of what may happen to one loop leaves counts that agree.
fn what_a_loop_holds_is_begun_in_order_in_any_case() {
    proptest::proptest!(|(steps: Vec<(u8, u8)>)| {
        let mut dispatcher = super::Dispatcher::new(Ledger::<Vec<u8>, ()>::new(Options::default()));
        dispatcher.pool_began();
        let holder = looping(&mut dispatcher);
        let (mut begun, mut handed, mut requests) = (0, 0, 0);
        for (what, pick) in steps {
            match what % 8 {
                0 => put(&mut dispatcher, pick % 8),
                1 => {
                    requests += 1;
                    ask(&mut dispatcher, holder, requests, pick % 2 == 0);
                }
                2 => {
                    begun = (begun + u64::from(pick % 4)).min(handed);
                    dispatcher.ledger.handle_begun(holder, begun);
                }
                3 if handed > 0 => {
                    let ordinal = u64::from(pick) % handed + 1;
                    begun = begun.max(ordinal);
                    if let Some(one) = dispatcher.ledger.handed_as(holder, ordinal) {
                        dispatcher.ledger.done(one.token, TINY, None).unwrap();
                    }
                }
                4 => {
                    let first = dispatcher.ledger.first_held(holder);
                    let through = first.map_or(begun, |one| one.ordinal.max(begun).min(handed));
                    begun = begun.max(through);
                    dispatcher.ledger.handle_done_through(holder, through, TINY);
                }
                5 if handed > 0 => {
                    let ordinal = begun + 1 + u64::from(pick % 4);
                    if let Some(one) = dispatcher.ledger.handed_as(holder, ordinal) {
                        dispatcher.ledger.handle_return(one.token).unwrap();
                    }
                }
                6 if handed > 0 => {
                    let ordinal = u64::from(pick) % handed + 1;
                    if let Some(one) = dispatcher.ledger.handed_as(holder, ordinal) {
                        dispatcher.ledger.handle_cancel(one.id, Default::default());
                    }
                }
                _ => dispatcher.cancel(Request { holder, number: requests }),
            }
            while let Some(effect) = dispatcher.poll() {
                let ordinals = match effect {
                    Effect::Deliver(one) => vec![one.ordinal],
                    Effect::Answer(_, Reply::Items(items)) => {
                        items.iter().map(|one| one.ordinal).collect()
                    }
                    _ => Vec::new(),
                };
                for ordinal in ordinals {
                    proptest::prop_assert_eq!(ordinal, handed + 1, "in their order");
                    handed = ordinal;
                }
            }
            proptest::prop_assert_eq!(dispatcher.ledger.check(), Ok(()));
        }
    });
}

/// A loop with an item, a handler with another, and room for one that waits.
fn loop_and_handler() -> (Table, (HolderId, Handed), Handed) {
    let mut dispatcher = table(Capacity::Bounded(1));
    let credit = Credit::single().for_loop();
    let looping = dispatcher.ledger.handle_join(Some(credit), u64::MAX);
    put(&mut dispatcher, 1);
    let (of_loop, _) = get(&mut dispatcher, looping);
    super::worker(&mut dispatcher);
    put(&mut dispatcher, 1);
    let of_handler = super::delivery(&mut dispatcher);
    (dispatcher, (looping, of_loop), of_handler)
}

/// Ends an attempt for lack of memory.
fn kill(dispatcher: &mut Table, handed: Handed) {
    let (cause, now) = (Blame::from(Cause::OutOfMemory), Duration::ZERO);
    let killed = dispatcher
        .ledger
        .handle_nack(handed.token, cause, None, now);
    killed.unwrap();
}

/// Returns what is handed out, and the requests that are answered.
fn step(dispatcher: &mut Table) -> (Vec<Handed>, Vec<u64>) {
    let (mut handed, mut answered) = (Vec::new(), Vec::new());
    while let Some(effect) = dispatcher.poll() {
        match effect {
            Effect::Deliver(one) => handed.push(one),
            Effect::Answer(request, reply) => {
                answered.push(request.number);
                if let Reply::Items(items) = reply {
                    handed.extend(items);
                }
            }
            _ => {}
        }
    }
    dispatcher.ledger.check().unwrap();
    (handed, answered)
}

/// Checks that nothing is handed out or answered.
fn assert_still(dispatcher: &mut Table) {
    assert_eq!(step(dispatcher), (vec![], vec![]));
}

fn a_loop_that_has_waited_does_not_go_on_beside_an_item_that_runs_alone() {
    let (mut dispatcher, (holder, of_loop), of_handler) = loop_and_handler();
    kill(&mut dispatcher, of_handler);
    assert_still(&mut dispatcher);
    let request = Request { holder, number: 7 };
    dispatcher.ask_put(request, vec![9], true);
    let (alone, answered) = step(&mut dispatcher);
    assert_eq!((alone[0].id.0, alone.len(), answered), (2, 1, vec![]));
    done(&mut dispatcher, alone[0]);
    let (next, answered) = step(&mut dispatcher);
    assert_eq!((next[0].id.0, answered), (3, vec![7]));
    kill(&mut dispatcher, next[0]);
    assert_still(&mut dispatcher);
    done(&mut dispatcher, of_loop);
    assert_eq!(step(&mut dispatcher).0[0].id.0, 3);
}

fn an_item_is_not_run_alone_while_a_loop_is_back_at_its_own() {
    let (mut dispatcher, (holder, of_loop), of_handler) = loop_and_handler();
    kill(&mut dispatcher, of_handler);
    dispatcher.ledger.handle_pause();
    let request = Request { holder, number: 7 };
    dispatcher.ask_put(request, vec![9], true);
    assert_still(&mut dispatcher);
    dispatcher.cancel(request);
    assert_eq!(step(&mut dispatcher), (vec![], vec![7]));
    dispatcher.ledger.handle_unpause();
    assert_still(&mut dispatcher);
    done(&mut dispatcher, of_loop);
    assert_eq!(step(&mut dispatcher).0[0].id.0, 2);
}

fn an_item_that_waits_while_it_runs_alone_is_not_alone_any_more() {
    let mut dispatcher = table(Capacity::Bounded(1));
    let credit = Credit::single().for_loop();
    let holder = dispatcher.ledger.handle_join(Some(credit), u64::MAX);
    put(&mut dispatcher, 1);
    let (first, _) = get(&mut dispatcher, holder);
    kill(&mut dispatcher, first);
    ask(&mut dispatcher, holder, 6, true);
    let (alone, answered) = step(&mut dispatcher);
    assert_eq!((alone[0].id, answered), (first.id, vec![6]));
    super::worker(&mut dispatcher);
    put(&mut dispatcher, 1);
    assert_still(&mut dispatcher);
    let request = Request { holder, number: 7 };
    dispatcher.ask_put(request, vec![9], true);
    let (beside, answered) = step(&mut dispatcher);
    assert_eq!((beside[0].id.0, answered), (2, vec![7]), "it goes on");
    kill(&mut dispatcher, alone[0]);
    assert_eq!(dispatcher.ledger.counts().dead, 0, "others were beside it");
    assert_still(&mut dispatcher);
    done(&mut dispatcher, beside[0]);
    let (alone, _) = step(&mut dispatcher);
    assert_eq!(
        (alone[0].id, alone[0].attempt, alone.len()),
        (first.id, 3, 1)
    );
    kill(&mut dispatcher, alone[0]);
    assert_eq!(dispatcher.ledger.counts().dead, 1);
}
