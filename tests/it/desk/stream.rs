//! The desk over a stream that others share: who is answered when, and what is taken for whom.

use std::time::Duration;

use dishrack::Options;
use dishrack::broker::desk::{Desk, Refused, Said, Verdict};
use dishrack::broker::shared::errands::{Answered, Arrival, Errand, Taking, Telling, Tended};
use dishrack::broker::shared::{Shared, Standing};
use dishrack::ledger::{Blame, Cause, Credit, Handed, ItemId, Ledger, Scene, Unfinished};

type Table = Desk<Vec<u8>, ()>;

crate::trials! {
    a_closed_queue_is_dry_only_when_somebody_looked_in_vain,
    a_join_waits_for_ends_that_are_on_their_way,
    nothing_is_taken_for_a_get_that_is_over,
    one_item_is_brought_for_a_loop_without_a_worker,
    an_item_of_which_a_write_says_two_things_is_lost_once,
    what_was_not_told_of_a_lost_item_is_never_told,
    what_comes_again_while_its_end_is_told_is_given_back,
    others_get_what_nobody_here_has_room_for,
    what_comes_for_a_crew_that_has_ended_is_given_back,
}

fn table() -> Table {
    let mut desk = Desk::new(Ledger::share(Options::default()));
    desk.shared = Some(Shared::default());
    desk
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
    }
}

fn standing(unfinished: u64, done: u64) -> Standing {
    Standing {
        unfinished,
        done,
        ..Standing::default()
    }
}

/// What the intake takes next: how many, whether it waits for them, the question.
fn take(desk: &mut Table) -> (usize, bool, u64) {
    match desk.next_taking(false) {
        Taking::Take {
            count,
            waits,
            question,
        } => (count, waits, question),
        other => panic!("{other:?}"),
    }
}

fn took(desk: &mut Table, arrivals: Vec<Arrival<Vec<u8>>>, question: u64) {
    desk.took(arrivals, question, Duration::ZERO);
}

fn a_closed_queue_is_dry_only_when_somebody_looked_in_vain() {
    let mut desk = table();
    desk.ledger.handle_close();
    desk.shared.as_mut().unwrap().glances.ask();
    assert_eq!(desk.next_taking(false), Taking::Nobody);
    assert_eq!(desk.end_of_gets(), None, "nobody has looked");
    desk.local_waits(true);
    let (count, waits, question) = take(&mut desk);
    assert_eq!((count, waits), (1, false));
    took(&mut desk, Vec::new(), question);
    assert_eq!(desk.end_of_gets(), Some(Refused::Closed));
    // What comes back from others is still worked on, if somebody is there.
    assert!(take(&mut desk).1, "now it waits");
}

fn a_join_waits_for_ends_that_are_on_their_way() {
    let mut desk = table();
    desk.crew_began();
    let credit = Some(Credit::single());
    desk.ledger.handle_join_for(credit, u64::MAX);
    let (_, _, question) = take(&mut desk);
    took(&mut desk, vec![arrival(1)], question);
    let Some(Said::Deliver(handed)) = desk.poll() else {
        panic!("there is an item");
    };
    let done = Verdict::Done(None, Scene::default());
    desk.settle(handed.token, Duration::ZERO, done, Duration::ZERO)
        .unwrap();
    desk.crew_ended("they ended by themselves", false);
    assert_eq!(desk.join_state(0), None, "the end is not told yet");
    let Some(Errand::Tell(telling)) = desk.next_errand() else {
        panic!("there is an end to tell");
    };
    let answered = Answered {
        standing: standing(0, 1),
        ..Answered::default()
    };
    desk.told(telling.number, &telling.records, answered);
    while desk.poll().is_some() {}
    assert_eq!(desk.join_state(0), Some(Ok((1, 0))));
}

fn nothing_is_taken_for_a_get_that_is_over() {
    let mut desk = table();
    let glance = desk.shared.as_mut().unwrap().glances.ask();
    desk.local_waits(true);
    desk.local_leaves(glance);
    let (_, waits, question) = take(&mut desk);
    assert!(!waits);
    took(&mut desk, Vec::new(), question);
    assert!(desk.poll().is_none());
    assert_eq!(
        desk.next_taking(false),
        Taking::Sleep { is_holding: false },
        "before the thread is awake"
    );
    assert!(!desk.local_stays(glance), "it does not count any more");
}

fn one_item_is_brought_for_a_loop_without_a_worker() {
    let mut desk = table();
    desk.crew_began();
    desk.loop_waits(true);
    let (count, _, question) = take(&mut desk);
    assert_eq!(count, 1);
    took(&mut desk, vec![arrival(1)], question);
    let asleep = Taking::Sleep { is_holding: true };
    assert_eq!(desk.next_taking(false), asleep);
    desk.loop_waits(false);
    assert_eq!(desk.ledger.ready(), 1);
}

/// A desk whose worker holds the items up to this one.
fn busy(max_attempts: u32, items: u64) -> (Table, Handed) {
    let options = Options {
        max_attempts,
        ..Options::default()
    };
    let mut desk = Desk::new(Ledger::share(options));
    desk.shared = Some(Shared::default());
    desk.crew_began();
    let credit = Some(Credit::single());
    desk.ledger.handle_join_for(credit, u64::MAX);
    let (_, _, question) = take(&mut desk);
    took(&mut desk, (1..=items).map(arrival).collect(), question);
    match desk.poll() {
        Some(Said::Deliver(handed)) => (desk, handed),
        other => panic!("{other:?}"),
    }
}

fn end(desk: &mut Table, handed: &Handed, verdict: Verdict<()>) {
    let zero = Duration::ZERO;
    desk.settle(handed.token, zero, verdict, zero).unwrap();
}

fn failed() -> Verdict<()> {
    let blame = Blame {
        cause: Cause::Nack("it has a crack".into()),
        scene: Scene::default(),
    };
    Verdict::Failed(blame, None)
}

fn telling(desk: &mut Table) -> Telling<Vec<u8>> {
    match desk.next_errand() {
        Some(Errand::Tell(telling)) => telling,
        other => panic!("{other:?}"),
    }
}

fn lost(ids: &[u64]) -> Answered {
    Answered {
        lost: ids.iter().copied().map(ItemId).collect(),
        ..Answered::default()
    }
}

fn tended(lost: &[u64], others: u64) -> Tended<Vec<u8>> {
    Tended {
        lost: lost.iter().copied().map(ItemId).collect(),
        arrivals: Vec::new(),
        others,
    }
}

fn an_item_of_which_a_write_says_two_things_is_lost_once() {
    let (mut desk, handed) = busy(1, 1);
    end(&mut desk, &handed, failed());
    let telling = telling(&mut desk);
    assert_eq!(
        telling.records.len(),
        2,
        "how it failed, and that it is dead"
    );
    desk.told(telling.number, &telling.records, lost(&[1, 1]));
    assert_eq!(desk.ledger.counts().dead, 0);
    assert!(desk.poll().is_none(), "nobody is told of its death");
    desk.ledger.check().unwrap();
}

fn what_was_not_told_of_a_lost_item_is_never_told() {
    let (mut desk, handed) = busy(3, 1);
    end(
        &mut desk,
        &handed,
        Verdict::Done(Some(()), Scene::default()),
    );
    desk.tended(tended(&[1], 1), Duration::ZERO);
    assert!(!desk.ledger.has_write(), "it would be said of its next one");
    assert!(desk.poll().is_none());
    let counts = desk.ledger.counts();
    assert_eq!((counts.accepted, counts.refused), (0, 1));
    desk.ledger.check().unwrap();
}

fn what_comes_again_while_its_end_is_told_is_given_back() {
    let (mut desk, handed) = busy(3, 1);
    end(
        &mut desk,
        &handed,
        Verdict::Done(Some(()), Scene::default()),
    );
    let telling = telling(&mut desk);
    let (_, _, question) = take(&mut desk);
    took(&mut desk, vec![arrival(1)], question);
    assert!(desk.poll().is_none(), "it is not handed out");
    let back = Taking::GiveBack(vec![ItemId(1)]);
    assert_eq!(desk.next_taking(false), back);
    desk.told(telling.number, &telling.records, lost(&[1]));
    let (_, _, question) = take(&mut desk);
    took(&mut desk, vec![arrival(1)], question);
    assert!(matches!(desk.poll(), Some(Said::Deliver(_))), "now it is");
}

fn others_get_what_nobody_here_has_room_for() {
    let (mut desk, handed) = busy(3, 3);
    assert_eq!(desk.tended(tended(&[], 0), Duration::ZERO), []);
    let back = desk.tended(tended(&[], 1), Duration::ZERO);
    assert_eq!(back, [ItemId(2), ItemId(3)]);
    assert_eq!(desk.ledger.counts().accepted, 1);
    end(&mut desk, &handed, Verdict::Done(None, Scene::default()));
    assert!(desk.poll().is_none());
}

fn what_comes_for_a_crew_that_has_ended_is_given_back() {
    let mut desk = table();
    desk.crew_began();
    let credit = Some(Credit::single());
    let worker = desk.ledger.handle_join_for(credit, u64::MAX);
    let (_, waits, question) = take(&mut desk);
    assert!(waits && !desk.is_to_interrupt());
    desk.stop(worker);
    desk.crew_ended("it was stopped", false);
    assert!(desk.is_to_interrupt() && desk.calls(false).clerk);
    took(&mut desk, vec![arrival(1)], question);
    assert_eq!(desk.next_taking(false), Taking::GiveBack(vec![ItemId(1)]));
    assert_eq!(desk.ledger.counts().unfinished(), 0);
}
