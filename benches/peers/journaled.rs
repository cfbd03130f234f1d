//! Small items by way of a journal, and the same without one. Each run has a new journal, beside the
//! program, so on the disk that programs are on.

use std::time::{Duration, Instant};

use dishrack::{Capacity, Durability, JoinableQueue, Options, Supervisor};

use crate::item::Maker;
use crate::order::{Measured, Order};
use crate::pool::Warm;

pub(crate) fn measure(order: &Order) -> Measured {
    let durability = match order.contender.as_str() {
        "dishrack-none" => None,
        "dishrack-normal" => Some(Durability::Normal),
        "dishrack-full" => Some(Durability::Full),
        _ => order.unknown(),
    };
    let elapsed = put_and_join(order, durability);
    Measured::new("items/s", order.items as f64 / elapsed.as_secs_f64())
}

fn put_and_join(order: &Order, durability: Option<Durability>) -> Duration {
    let program = std::env::current_exe().expect("this program has a path");
    let folder = program.parent().expect("it is in a folder");
    let folder = tempfile::tempdir_in(folder).expect("the folder is writable");
    let capacity = match order.bound {
        0 => Capacity::Unbounded,
        bound => Capacity::Bounded(bound),
    };
    let options = Options::default().capacity(capacity);
    let queue = match durability {
        Some(durability) => {
            let path = folder.path().join("journal");
            JoinableQueue::journaled(path, durability, options).expect("a journal can be made")
        }
        None => JoinableQueue::with(options),
    };
    let maker = Maker::new(order.bytes);
    let how = Supervisor::builder().processes(order.workers);
    let mut warm = Warm::on(queue, how, order.workers, &maker);
    let began = Instant::now();
    warm.work(&maker, order.items);
    began.elapsed()
}
