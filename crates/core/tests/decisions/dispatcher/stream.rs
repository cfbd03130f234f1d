//! The dispatcher over a shared stream: the order of answers, and the items that are taken.

use std::time::Duration;

use dishrack_core::dispatcher::inflight::{
    Answered, Arrival, FetcherCall, FetcherStep, Maintained, PublisherStep, Telling,
};
use dishrack_core::dispatcher::{Dispatcher, Effect};
use dishrack_core::ledger::{Cause, Credit, Handed, ItemId, Ledger, Rate, Scene, Unfinished};
use dishrack_core::ledger::{Options, Outcome, Refusal};
use dishrack_core::shared::{Shared, Steering, StreamState};

type Table = Dispatcher<Vec<u8>, ()>;

crate::trials! {
    a_closed_queue_is_dry_only_when_somebody_looked_in_vain,
    a_join_waits_for_ends_that_are_on_their_way,
    nothing_is_taken_for_a_get_that_is_over,
    one_item_is_brought_for_a_loop_without_a_worker,
    an_item_of_which_a_write_says_two_things_is_lost_once,
    what_was_not_told_of_a_lost_item_is_never_told,
    after_a_loss_the_stream_is_asked_what_is_held_here,
    what_comes_again_while_its_end_is_told_is_given_back,
    others_get_what_nobody_here_has_room_for,
    no_more_is_taken_than_slots_and_tokens_let_begin,
    what_a_rate_lets_begin_is_taken_when_it_does,
    what_comes_for_a_pool_that_has_ended_is_given_back,
    the_newest_order_about_a_pause_is_followed,
    the_older_state_of_a_stream_that_has_come_back_is_followed,
    what_one_supervisor_was_ordered_by_itself_stays,
    an_order_that_comes_while_the_lease_is_renewed_counts,
    in_a_pause_of_all_nothing_is_taken_and_the_lease_is_renewed,
    whoever_is_called_looks_at_once,
}

fn table() -> Table {
    let mut dispatcher = Dispatcher::new(Ledger::share(Options::default()));
    dispatcher.shared = Some(Shared::default());
    dispatcher
}

fn arrival(id: u64) -> Arrival<Vec<u8>> {
    Arrival {
        item: Unfinished {
            id: ItemId(id),
            payload: vec![1],
            history: Vec::new(),
            forgiven: 0,
        },
        bytes: 1,
        fault: None,
        is_awaited: false,
        since: Duration::ZERO,
    }
}

fn stream_state(unfinished: u64, done: u64) -> StreamState {
    StreamState {
        unfinished,
        done,
        ..StreamState::default()
    }
}

/// Returns the fetcher's next take: the number of items, true if it waits for them, the question.
fn take(dispatcher: &mut Table) -> (usize, bool, u64) {
    match dispatcher.fetcher_step(false) {
        FetcherStep::Call(FetcherCall::Take {
            count,
            waits,
            question,
        }) => (count, waits, question),
        other => panic!("{other:?}"),
    }
}

fn took(dispatcher: &mut Table, arrivals: Vec<Arrival<Vec<u8>>>, question: u64) {
    dispatcher.took(arrivals, question, Duration::ZERO);
}

fn a_closed_queue_is_dry_only_when_somebody_looked_in_vain() {
    let mut dispatcher = table();
    dispatcher.ledger.handle_close();
    dispatcher.shared.as_mut().unwrap().queries.ask();
    assert_eq!(dispatcher.fetcher_step(false), FetcherStep::Nobody);
    assert_eq!(dispatcher.end_of_gets(), None, "nobody has looked");
    dispatcher.local_waits(true);
    let (count, waits, question) = take(&mut dispatcher);
    assert_eq!((count, waits), (1, false));
    took(&mut dispatcher, Vec::new(), question);
    assert_eq!(dispatcher.end_of_gets(), Some(Refusal::Closed));
    // Items that others gave back are still worked on, if there is a worker.
    assert!(take(&mut dispatcher).1, "now it waits");
}

fn a_join_waits_for_ends_that_are_on_their_way() {
    let mut dispatcher = table();
    dispatcher.pool_began();
    let credit = Some(Credit::single());
    dispatcher.ledger.handle_join(credit, u64::MAX);
    let (_, _, question) = take(&mut dispatcher);
    took(&mut dispatcher, vec![arrival(1)], question);
    let Some(Effect::Deliver(handed)) = dispatcher.poll() else {
        panic!("there is an item");
    };
    end(&mut dispatcher, &handed, Outcome::Done(None));
    dispatcher.pool_ended("they ended by themselves", false);
    assert_eq!(dispatcher.join_state(0), None, "the end is not told yet");
    let Some(PublisherStep::Settle(telling)) = dispatcher.next_step() else {
        panic!("there is an end to tell");
    };
    let answered = Answered {
        stream_state: stream_state(0, 1),
        ..Answered::default()
    };
    dispatcher.settled(telling.number, &telling.records, answered);
    while dispatcher.poll().is_some() {}
    assert_eq!(dispatcher.join_state(0), Some(Ok((1, 0))));
}

fn nothing_is_taken_for_a_get_that_is_over() {
    let mut dispatcher = table();
    let query = dispatcher.shared.as_mut().unwrap().queries.ask();
    dispatcher.local_waits(true);
    dispatcher.local_leaves(query);
    let (_, waits, question) = take(&mut dispatcher);
    assert!(!waits);
    took(&mut dispatcher, Vec::new(), question);
    assert!(dispatcher.poll().is_none());
    assert_eq!(
        dispatcher.fetcher_step(false),
        FetcherStep::Sleep { renews: false },
        "before the thread is awake"
    );
    assert!(!dispatcher.local_stays(query), "it does not count any more");
}

fn one_item_is_brought_for_a_loop_without_a_worker() {
    let mut dispatcher = table();
    dispatcher.pool_began();
    dispatcher.loop_waits(true);
    let (count, _, question) = take(&mut dispatcher);
    assert_eq!(count, 1);
    took(&mut dispatcher, vec![arrival(1)], question);
    let asleep = FetcherStep::Sleep { renews: true };
    assert_eq!(dispatcher.fetcher_step(false), asleep);
    dispatcher.loop_waits(false);
    assert_eq!(dispatcher.ledger.ready(), 1);
}

/// Makes a dispatcher whose worker holds the items up to this one.
fn busy(max_attempts: u32, items: u64) -> (Table, Handed) {
    let options = Options::default().max_attempts(max_attempts);
    let mut dispatcher = Dispatcher::new(Ledger::share(options));
    dispatcher.shared = Some(Shared::default());
    dispatcher.pool_began();
    let credit = Some(Credit::single());
    dispatcher.ledger.handle_join(credit, u64::MAX);
    let (_, _, question) = take(&mut dispatcher);
    took(
        &mut dispatcher,
        (1..=items).map(arrival).collect(),
        question,
    );
    match dispatcher.poll() {
        Some(Effect::Deliver(handed)) => (dispatcher, handed),
        other => panic!("{other:?}"),
    }
}

fn end(dispatcher: &mut Table, handed: &Handed, outcome: Outcome<Option<()>>) {
    let (zero, scene) = (Duration::ZERO, Scene::default());
    dispatcher
        .settle(handed.token, zero, outcome, scene, zero)
        .unwrap();
}

fn failed() -> Outcome<Option<()>> {
    Outcome::failed(Cause::Nack("it has a crack".into()))
}

fn telling(dispatcher: &mut Table) -> Telling<Vec<u8>> {
    match dispatcher.next_step() {
        Some(PublisherStep::Settle(telling)) => telling,
        other => panic!("{other:?}"),
    }
}

fn lost(ids: &[u64]) -> Answered {
    Answered {
        lost: ids.iter().copied().map(ItemId).collect(),
        ..Answered::default()
    }
}

fn maintained(lost: &[u64], others: u64) -> Maintained<Vec<u8>> {
    Maintained {
        lost: lost.iter().copied().map(ItemId).collect(),
        arrivals: Vec::new(),
        others,
        cancelled: Vec::new(),
        steering: Steering::default(),
    }
}

/// One that a stream with an older state hands out again, before the answer that it was lost has come, is not
/// taken for new: it is held. So after the answer nobody has it here.
fn after_a_loss_the_stream_is_asked_what_is_held_here() {
    let (mut dispatcher, handed) = busy(1, 1);
    end(&mut dispatcher, &handed, Outcome::Done(None));
    let telling = telling(&mut dispatcher);
    let (_, _, question) = take(&mut dispatcher);
    assert!(!dispatcher.is_to_interrupt());
    dispatcher.settled(telling.number, &telling.records, lost(&[1]));
    assert!(dispatcher.is_to_interrupt(), "it does not wait for others");
    took(&mut dispatcher, Vec::new(), question);
    let FetcherStep::Call(FetcherCall::Maintain(_)) = dispatcher.fetcher_step(false) else {
        panic!("it looks what it holds");
    };
    let found = Maintained {
        arrivals: vec![arrival(1)],
        ..maintained(&[], 0)
    };
    dispatcher.maintained(found, Duration::ZERO);
    let Some(Effect::Deliver(again)) = dispatcher.poll() else {
        panic!("it is tried again");
    };
    assert_eq!(again.id, ItemId(1));
    dispatcher.ledger.check().unwrap();
}

fn an_item_of_which_a_write_says_two_things_is_lost_once() {
    let (mut dispatcher, handed) = busy(1, 1);
    end(&mut dispatcher, &handed, failed());
    let telling = telling(&mut dispatcher);
    assert_eq!(
        telling.records.len(),
        2,
        "how it failed, and that it is dead"
    );
    dispatcher.settled(telling.number, &telling.records, lost(&[1, 1]));
    assert_eq!(dispatcher.ledger.counts().dead, 0);
    assert!(dispatcher.poll().is_none(), "nobody is told of its death");
    dispatcher.ledger.check().unwrap();
}

fn what_was_not_told_of_a_lost_item_is_never_told() {
    let (mut dispatcher, handed) = busy(3, 1);
    end(&mut dispatcher, &handed, Outcome::Done(Some(())));
    dispatcher.maintained(maintained(&[1], 1), Duration::ZERO);
    assert!(
        !dispatcher.ledger.has_write(),
        "it would be said of its next one"
    );
    assert!(dispatcher.poll().is_none());
    let counts = dispatcher.ledger.counts();
    assert_eq!((counts.accepted, counts.refused), (0, 1));
    dispatcher.ledger.check().unwrap();
}

fn what_comes_again_while_its_end_is_told_is_given_back() {
    let (mut dispatcher, handed) = busy(3, 1);
    end(&mut dispatcher, &handed, Outcome::Done(Some(())));
    let telling = telling(&mut dispatcher);
    let (_, _, question) = take(&mut dispatcher);
    took(&mut dispatcher, vec![arrival(1)], question);
    assert!(dispatcher.poll().is_none(), "it is not handed out");
    let back = FetcherStep::Call(FetcherCall::GiveBack(vec![ItemId(1)]));
    assert_eq!(dispatcher.fetcher_step(false), back);
    dispatcher.settled(telling.number, &telling.records, lost(&[1]));
    let FetcherStep::Call(FetcherCall::Maintain(_)) = dispatcher.fetcher_step(false) else {
        panic!("it looks what it holds");
    };
    dispatcher.maintained(maintained(&[], 0), Duration::ZERO);
    let (_, _, question) = take(&mut dispatcher);
    took(&mut dispatcher, vec![arrival(1)], question);
    assert!(
        matches!(dispatcher.poll(), Some(Effect::Deliver(_))),
        "now it is"
    );
}

fn others_get_what_nobody_here_has_room_for() {
    let (mut dispatcher, handed) = busy(3, 3);
    assert_eq!(
        dispatcher.maintained(maintained(&[], 0), Duration::ZERO),
        []
    );
    let back = dispatcher.maintained(maintained(&[], 1), Duration::ZERO);
    assert_eq!(back, [ItemId(2), ItemId(3)]);
    assert_eq!(dispatcher.ledger.counts().accepted, 1);
    end(&mut dispatcher, &handed, Outcome::Done(None));
    assert!(dispatcher.poll().is_none());
}

/// Returns a table with so many workers, one of whose items runs at a time.
fn with_workers(count: usize) -> Table {
    let mut dispatcher = table();
    dispatcher.pool_began();
    for _ in 0..count {
        let credit = Some(Credit::single());
        dispatcher.ledger.handle_join(credit, u64::MAX);
    }
    dispatcher
}

/// Takes this item, and hands it out.
fn begin(dispatcher: &mut Table, id: u64) -> Handed {
    let (.., question) = take(dispatcher);
    took(dispatcher, vec![arrival(id)], question);
    match dispatcher.poll() {
        Some(Effect::Deliver(handed)) => handed,
        other => panic!("{other:?}"),
    }
}

fn no_more_is_taken_than_slots_and_tokens_let_begin() {
    let mut dispatcher = with_workers(4);
    dispatcher.ledger.handle_slots(2);
    assert_eq!(take(&mut dispatcher).0, 2);
    let mut dispatcher = with_workers(4);
    dispatcher.ledger.handle_slots(1);
    let handed = begin(&mut dispatcher, 1);
    let asleep = FetcherStep::Sleep { renews: true };
    assert_eq!(dispatcher.fetcher_step(false), asleep);
    end(&mut dispatcher, &handed, Outcome::Done(None));
    assert_eq!(take(&mut dispatcher).0, 1);

    let mut dispatcher = with_workers(4);
    dispatcher.ledger.handle_tokens(true);
    // The second one is a reason to ask for a token.
    assert_eq!(take(&mut dispatcher).0, 2);
}

fn what_a_rate_lets_begin_is_taken_when_it_does() {
    let minute = Duration::from_secs(60);
    let mut dispatcher = with_workers(4);
    let rate = Rate::new(1, minute).burst(2);
    dispatcher.ledger.handle_rate(rate, Duration::ZERO);
    assert_eq!(take(&mut dispatcher).0, 2);
    let mut dispatcher = with_workers(4);
    let rate = Rate::new(1, minute);
    dispatcher.ledger.handle_rate(rate, Duration::ZERO);
    let handed = begin(&mut dispatcher, 1);
    end(&mut dispatcher, &handed, Outcome::Done(None));
    // Nothing is held, and others must know that it is there.
    let asleep = FetcherStep::Sleep { renews: true };
    assert_eq!(dispatcher.fetcher_step(false), asleep);
    assert!(!dispatcher.calls(false).fetcher);
    assert_eq!(dispatcher.ledger.poll_timeout(), Some(minute));
    dispatcher.ledger.handle_timeout(minute);
    assert!(dispatcher.calls(false).fetcher);
    assert_eq!(take(&mut dispatcher).0, 1);
}

fn what_comes_for_a_pool_that_has_ended_is_given_back() {
    let mut dispatcher = table();
    dispatcher.pool_began();
    let credit = Some(Credit::single());
    let worker = dispatcher.ledger.handle_join(credit, u64::MAX);
    let (_, waits, question) = take(&mut dispatcher);
    assert!(waits && !dispatcher.is_to_interrupt());
    dispatcher.stop(worker);
    dispatcher.pool_ended("it was stopped", false);
    assert!(dispatcher.is_to_interrupt() && dispatcher.calls(false).publisher);
    took(&mut dispatcher, vec![arrival(1)], question);
    assert_eq!(
        dispatcher.fetcher_step(false),
        FetcherStep::Call(FetcherCall::GiveBack(vec![ItemId(1)]))
    );
    assert_eq!(dispatcher.ledger.counts().unfinished(), 0);
}

/// A dispatcher with one worker that has room for one item.
fn willing() -> Table {
    let mut dispatcher = table();
    dispatcher.pool_began();
    let credit = Some(Credit::single());
    dispatcher.ledger.handle_join(credit, u64::MAX);
    dispatcher
}

fn ordered(number: u64, is_paused: bool) -> Steering {
    Steering {
        number,
        is_paused,
        is_of_all: true,
    }
}

/// The answer to a renewal of the lease, with the last order that the stream keeps.
fn renewed(dispatcher: &mut Table, kept: Steering) {
    dispatcher.call_fetcher();
    let renewal = dispatcher.fetcher_step(false);
    assert!(matches!(
        renewal,
        FetcherStep::Call(FetcherCall::Maintain(_))
    ));
    let told = Maintained {
        steering: kept,
        ..maintained(&[], 0)
    };
    dispatcher.maintained(told, Duration::ZERO);
}

fn the_newest_order_about_a_pause_is_followed() {
    let mut dispatcher = willing();
    dispatcher.handle_steering(ordered(3, true));
    assert!(dispatcher.ledger.is_paused());
    // An answer that was on its way for longer.
    dispatcher.handle_steering(ordered(2, false));
    let late = Maintained {
        steering: ordered(2, false),
        ..maintained(&[], 0)
    };
    dispatcher.maintained(late, Duration::ZERO);
    assert!(dispatcher.ledger.is_paused());
    dispatcher.handle_steering(ordered(4, false));
    assert!(!dispatcher.ledger.is_paused());
    // Where nobody has ever ordered anything, a pause of this supervisor alone stays.
    let mut dispatcher = willing();
    dispatcher.ledger.handle_pause();
    dispatcher.maintained(maintained(&[], 0), Duration::ZERO);
    assert!(dispatcher.ledger.is_paused());
}

fn the_older_state_of_a_stream_that_has_come_back_is_followed() {
    let mut dispatcher = willing();
    dispatcher.handle_steering(ordered(3, true));
    renewed(&mut dispatcher, ordered(3, true));
    assert!(dispatcher.ledger.is_paused());
    // Its pause is lost, so nobody would ever end it.
    renewed(&mut dispatcher, Steering::default());
    assert!(!dispatcher.ledger.is_paused());
    // An order that is given from then on counts, whatever its number.
    dispatcher.handle_steering(ordered(1, true));
    assert!(dispatcher.ledger.is_paused());
    dispatcher.handle_steering(ordered(2, false));
    // The end of a pause is lost.
    renewed(&mut dispatcher, ordered(1, true));
    assert!(dispatcher.ledger.is_paused());
}

fn what_one_supervisor_was_ordered_by_itself_stays() {
    let mut dispatcher = willing();
    dispatcher.handle_steering(ordered(3, false));
    let alone = Steering {
        is_of_all: false,
        ..ordered(4, true)
    };
    dispatcher.handle_steering(alone);
    // The stream does not keep it.
    renewed(&mut dispatcher, ordered(3, false));
    assert!(dispatcher.ledger.is_paused());
    renewed(&mut dispatcher, ordered(2, false));
    assert!(dispatcher.ledger.is_paused());
    dispatcher.handle_steering(ordered(5, false));
    assert!(!dispatcher.ledger.is_paused());
    // So does a pause by its own socket, where nothing was ordered in what is lost.
    dispatcher.ledger.handle_pause();
    renewed(&mut dispatcher, ordered(2, false));
    assert!(dispatcher.ledger.is_paused());
}

fn an_order_that_comes_while_the_lease_is_renewed_counts() {
    let mut dispatcher = willing();
    renewed(&mut dispatcher, ordered(3, false));
    dispatcher.call_fetcher();
    dispatcher.fetcher_step(false);
    dispatcher.handle_steering(ordered(4, true));
    // The answer is from before it.
    let told = Maintained {
        steering: ordered(3, false),
        ..maintained(&[], 0)
    };
    dispatcher.maintained(told, Duration::ZERO);
    assert!(dispatcher.ledger.is_paused());
}

fn in_a_pause_of_all_nothing_is_taken_and_the_lease_is_renewed() {
    let mut dispatcher = willing();
    let paused = Maintained {
        steering: ordered(1, true),
        ..maintained(&[], 1)
    };
    dispatcher.maintained(paused, Duration::ZERO);
    let asleep = FetcherStep::Sleep { renews: true };
    assert_eq!(dispatcher.fetcher_step(false), asleep);
    let renewal = FetcherStep::Call(FetcherCall::Maintain(0));
    assert_eq!(dispatcher.fetcher_step(true), renewal);
    dispatcher.handle_steering(ordered(2, false));
    // What others left behind meanwhile comes first.
    let takeover = FetcherStep::Call(FetcherCall::Maintain(1));
    assert_eq!(dispatcher.fetcher_step(false), takeover);
    assert_eq!(take(&mut dispatcher).0, 1);
}

fn whoever_is_called_looks_at_once() {
    let mut dispatcher = willing();
    assert!(take(&mut dispatcher).1, "it waits for an item");
    assert!(!dispatcher.is_to_interrupt());
    dispatcher.call_fetcher();
    assert!(dispatcher.is_to_interrupt());
    assert!(dispatcher.calls(false).publisher, "who ends the wait");
    dispatcher.took(Vec::new(), 0, Duration::ZERO);
    assert!(dispatcher.calls(false).fetcher);
    let look = FetcherStep::Call(FetcherCall::Maintain(1));
    assert_eq!(dispatcher.fetcher_step(false), look);
    assert!(!dispatcher.is_to_interrupt());
    assert_eq!(take(&mut dispatcher).0, 1, "once is enough");
}
