//! What one item costs in the parts: a step of the ledger, and a round trip through a thread.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dishrack::ledger::{Credit, Ledger, Options};
use dishrack::{JoinableQueue, Supervisor};

/// Put, hand out, acknowledge: 1,000 items through a bare ledger.
fn ledger_steps(criterion: &mut Criterion) {
    criterion.bench_function("ledger: 1,000 items", |bencher| {
        bencher.iter_batched(
            || {
                let mut ledger: Ledger<Vec<u8>> = Ledger::new(Options::default());
                ledger.handle_join(Credit::adaptive());
                ledger
            },
            |mut ledger| {
                for _ in 0..1000 {
                    ledger.handle_put(Vec::new()).expect("no bound");
                }
                while let Some(handed) = ledger.poll_delivery() {
                    let service = Duration::from_nanos(100);
                    black_box(ledger.handle_done(handed.token, service, Some(()))).expect("held");
                }
                assert_eq!(ledger.counts().done, 1000);
            },
            BatchSize::SmallInput,
        );
    });
}

/// From `put` to the return of `join`, with one idle worker thread.
fn put_join(criterion: &mut Criterion) {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().threads(1);
    let crew = builder.handler(&queue, |n: u32| Ok::<u32, String>(n));
    criterion.bench_function("put -> join, thread", |bencher| {
        bencher.iter(|| {
            queue.put(&1).expect("open");
            queue.join().expect("a worker is there");
        });
    });
    drop(crew);
}

criterion_group!(benches, ledger_steps, put_join);
criterion_main!(benches);
