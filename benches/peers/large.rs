//! Large items, at most `bound` of them waiting: MiB/s from the first put until all are done. Each
//! is made by one copy and looked at once a page. A mere copy is measured as well.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::item::Maker;
use crate::order::{Measured, Order};
use crate::pool::{Warm, how};
use crate::raw::large::{inline, shared};

pub(crate) fn measure(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let elapsed = match order.contender.as_str() {
        "ipc-channel" => inline(order, &maker),
        "ipc-channel-shared" => shared(order, &maker),
        "memcpy" => copies(order, &maker),
        _ => dishrack(order, &maker),
    };
    let mib = (order.items * order.bytes) as f64 / f64::from(1 << 20);
    Measured::new("MiB/s", mib / elapsed.as_secs_f64())
}

fn dishrack(order: &Order, maker: &Maker) -> Duration {
    let mut warm = match order.contender.as_str() {
        "dishrack-loop" => Warm::of_loops(order, maker),
        contender => {
            let how = how(contender, order.workers).unwrap_or_else(|| order.unknown());
            Warm::start(how, order.workers, order.bound, maker)
        }
    };
    let began = Instant::now();
    warm.work(maker, order.items);
    began.elapsed()
}

/// Copies into existing memory, as much of it as may wait elsewhere.
fn copies(order: &Order, maker: &Maker) -> Duration {
    let mut places = vec![maker.0.clone(); order.bound];
    let began = Instant::now();
    for number in 0..order.items {
        let place = &mut places[number % order.bound];
        place.copy_from_slice(black_box(&maker.0));
        black_box(place);
    }
    began.elapsed()
}
