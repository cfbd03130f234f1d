//! The cost of one item in the parts: the steps of the ledger, and a round trip through an idle
//! worker that is a thread or a process. benches/peers measures many items at once.

use std::hint::black_box;
use std::iter;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group};
use dishrack::{JoinableQueue, Supervisor};
use dishrack_core::ledger::{Credit, HolderId, Ledger, Options, Scene, Token};

/// The number of items in each measurement of the bare ledger.
const ITEMS: u64 = 1000;

type Bare = Ledger<Vec<u8>>;

/// Measures each step alone, for a thread that gets items.
fn single_steps(criterion: &mut Criterion) {
    step(criterion, "put", empty, |ledger| put(ledger, ITEMS));
    step(criterion, "get", full, |(ledger, getter)| {
        black_box(get(ledger, *getter));
    });
    let gotten = || {
        let (mut ledger, getter) = full();
        let tokens = get(&mut ledger, getter);
        (ledger, tokens)
    };
    step(criterion, "done", gotten, |(ledger, tokens)| {
        for token in tokens.drain(..) {
            black_box(ledger.handle_done(token, SERVICE, Some(()), Scene::default()))
                .expect("held");
        }
        assert_eq!(ledger.counts().done, ITEMS);
    });
}

/// The service time that a worker reports.
const SERVICE: Duration = Duration::from_nanos(100);

/// Measures one step, without making and dropping its ledger.
fn step<S>(
    criterion: &mut Criterion,
    name: &str,
    make: impl Fn() -> S,
    mut run: impl FnMut(&mut S),
) {
    criterion.bench_function(&format!("ledger: {name} 1,000 items"), |bencher| {
        bencher.iter_batched_ref(&make, &mut run, BatchSize::SmallInput);
    });
}

fn empty() -> Bare {
    Ledger::new(Options::default())
}

fn full() -> (Bare, HolderId) {
    let mut ledger = empty();
    let getter = ledger.handle_join(None, u64::MAX);
    put(&mut ledger, ITEMS);
    (ledger, getter)
}

fn put(ledger: &mut Bare, items: u64) {
    for _ in 0..items {
        assert_eq!(ledger.refusal(false), None, "no bound");
        ledger.accept(Vec::new());
    }
}

fn get(ledger: &mut Bare, getter: HolderId) -> Vec<Token> {
    let handed = iter::from_fn(|| ledger.handle_get(getter));
    handed.map(|handed| handed.token).collect()
}

/// Measures put, handing out and acknowledging for a worker with credit.
fn whole(criterion: &mut Criterion) {
    let make = || {
        let mut ledger = empty();
        ledger.handle_join(Some(Credit::adaptive()), u64::MAX);
        ledger
    };
    step(criterion, "all steps of", make, |ledger| {
        put(ledger, ITEMS);
        while let Some(handed) = ledger.poll_delivery() {
            black_box(ledger.handle_done(handed.token, SERVICE, Some(()), Scene::default()))
                .expect("held");
        }
        assert_eq!(ledger.counts().done, ITEMS);
    });
}

/// A named function, because a worker process cannot run others.
fn nothing(_item: u32) -> Result<(), String> {
    Ok(())
}

/// Measures from `put` to the return of `join`, with one idle worker.
fn put_join(criterion: &mut Criterion) {
    let ways = [
        ("thread", Supervisor::builder().threads(1)),
        ("process", Supervisor::builder().processes(1)),
    ];
    for (name, builder) in ways {
        let queue = JoinableQueue::unbounded();
        let pool = builder.handler(&queue, nothing).expect("a worker starts");
        // The first one waits until the worker is ready.
        round_trip(&queue);
        criterion.bench_function(&format!("put -> join, {name}"), |bencher| {
            bencher.iter(|| round_trip(&queue));
        });
        drop(pool);
    }
}

fn round_trip(queue: &JoinableQueue<u32>) {
    queue.put(&1).expect("open");
    queue.join().expect("a worker is there");
}

criterion_group!(benches, single_steps, whole, put_join);

/// Written by hand, because worker processes run this program too, up to the first line.
fn main() {
    dishrack::serve(|roles| roles.handler(nothing));
    benches();
    Criterion::default().configure_from_args().final_summary();
}
