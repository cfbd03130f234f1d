//! Items that compute, all put at once: the share of the workers' time spent on them, and the
//! longest idle time of a worker while an item waited. `busy.py` does the same sums.

use std::collections::BTreeMap;
use std::time::Instant;

use dishrack::JoinableQueue;

use crate::item::{Span, now_ns, spin};
use crate::order::{Measured, Order};
use crate::pool::{await_ready, how};

/// `busy`: 1 ms each. `mixed`: from 0.1 to 100 ms.
pub(crate) fn measure(order: &Order) -> Measured {
    let times_us = match order.row.as_str() {
        "busy" => vec![1000; order.items],
        _ => mixed_us(order.items),
    };
    let total_s: f64 = times_us.iter().map(|us| f64::from(*us) / 1e6).sum();
    let how = how(&order.contender, order.workers).unwrap_or_else(|| order.unknown());
    let queue = JoinableQueue::unbounded();
    let pool = how.handler(&queue, spin).expect("workers start");
    await_ready(&pool, order.workers);
    assert_eq!(pool.map_unordered(vec![1; 100]).count(), 100);
    let (began, began_ns) = (Instant::now(), now_ns());
    let spans = pool
        .map_unordered(times_us)
        .map(|span| span.expect("it only computes"));
    let spans: Vec<Span> = spans.collect();
    let elapsed_s = began.elapsed().as_secs_f64();
    assert_eq!(spans.len(), order.items);
    let efficiency = 100.0 * total_s / order.workers as f64 / elapsed_s;
    let idle_ms = longest_idle_ms(began_ns, &spans, order.workers);
    match order.row.as_str() {
        "busy" => Measured::new("%", efficiency).with("idle_ms", idle_ms),
        _ => Measured::new("ms", idle_ms).with("efficiency", efficiency),
    }
}

/// Spreads times evenly over the logarithm, the same in every run.
fn mixed_us(items: usize) -> Vec<u32> {
    let in_range = |even: f64| 100.0 * 1000_f64.powf(even);
    let whole = |us: f64| format!("{us:.0}").parse().expect("it is at most 100,000");
    let times = even().map(|even| whole(in_range(even)));
    times.take(items).collect()
}

/// Returns numbers that are spread evenly from 0 to 1, the same in every run: a linear congruential
/// generator (Knuth's MMIX constants), of which the upper 53 bits count.
pub(crate) fn even() -> impl Iterator<Item = f64> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
}

/// Returns the longest idle time of a worker. All items were put at the beginning, so one waits
/// until the last one is begun, and a worker without an item is idle until then.
fn longest_idle_ms(began_ns: u64, spans: &[Span], workers: usize) -> f64 {
    let last_begin = spans
        .iter()
        .map(|span| span.begin_ns)
        .max()
        .unwrap_or(began_ns);
    let mut by_worker: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
    for span in spans {
        by_worker.entry(span.worker).or_default().push(*span);
    }
    // A worker that got none was idle all the time.
    let mut longest = if by_worker.len() < workers {
        last_begin - began_ns
    } else {
        0
    };
    for spans in by_worker.values_mut() {
        spans.sort_unstable_by_key(|span| span.begin_ns);
        let mut free_since = began_ns;
        for span in spans {
            longest = longest.max(span.begin_ns.saturating_sub(free_since));
            free_since = span.end_ns;
        }
        longest = longest.max(last_begin.saturating_sub(free_since));
    }
    longest as f64 / 1e6
}
