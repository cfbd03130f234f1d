//! From `put` to the return of `join` for one small item, with one idle worker.

use std::time::{Duration, Instant};

use crate::channels::Channels;
use crate::item::Maker;
use crate::order::{Measured, Order};
use crate::pool::{Warm, how};
use crate::raw::round_trip::Pair;

pub(crate) fn measure(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let mut times = match order.contender.as_str() {
        "ipc-channel" => ipc_channel(order, &maker, false),
        "ipc-channel-polling" => ipc_channel(order, &maker, true),
        "crossbeam" => crossbeam(order, &maker),
        _ => dishrack(order, &maker),
    };
    times.sort_unstable();
    let quantile_us = |per_mille: usize| {
        let at = (times.len() - 1) * per_mille / 1000;
        times[at].as_secs_f64() * 1e6
    };
    Measured::new("us", quantile_us(500)).with("p99_us", quantile_us(990))
}

fn dishrack(order: &Order, maker: &Maker) -> Vec<Duration> {
    let mut warm = match order.contender.as_str() {
        "dishrack-loop" => Warm::of_loops(order, maker),
        contender => {
            let how = how(contender, order.workers).unwrap_or_else(|| order.unknown());
            Warm::start(how, order.workers, order.bound, maker)
        }
    };
    round_trips(order, || warm.work(maker, 1))
}

fn crossbeam(order: &Order, maker: &Maker) -> Vec<Duration> {
    let channels = Channels::start(order.workers, maker);
    round_trips(order, || channels.work(maker, 1))
}

fn ipc_channel(order: &Order, maker: &Maker, polls: bool) -> Vec<Duration> {
    let mut pair = Pair::start(polls);
    for _ in 0..100 {
        pair.put_and_join(maker);
    }
    let times = round_trips(order, || pair.put_and_join(maker));
    pair.stop();
    times
}

/// Returns the time of each. With a gap, all threads are asleep when the next one begins.
fn round_trips(order: &Order, mut trip: impl FnMut()) -> Vec<Duration> {
    let gap = Duration::from_micros(order.gap_us);
    let mut times = Vec::with_capacity(order.items);
    for _ in 0..order.items {
        if !gap.is_zero() {
            std::thread::sleep(gap);
        }
        let began = Instant::now();
        trip();
        times.push(began.elapsed());
    }
    times
}
