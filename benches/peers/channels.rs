//! Threads with nothing but crossbeam-channel: one channel for items, and one back on which each
//! item is acknowledged by a message of its own.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::item::{Item, Maker, look};
use crate::order::Order;

/// Items that may wait in the channel between threads.
const CHANNEL: usize = 1024;

/// Items that are done before a measurement begins.
const WARMING: usize = 1000;

#[derive(Debug)]
pub(crate) struct Channels {
    put: Sender<Item>,
    acks: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Channels {
    pub(crate) fn start(workers: usize, maker: &Maker) -> Self {
        let (put, get) = bounded(CHANNEL);
        // Its bound is that of the items; a second one would have two sides wait for each other.
        let (ack, acks) = unbounded();
        let start = |_| {
            let (get, ack) = (get.clone(), ack.clone());
            std::thread::spawn(move || serve(&get, &ack))
        };
        let threads = (0..workers).map(start).collect();
        let channels = Channels { put, acks, threads };
        channels.work(maker, WARMING);
        channels
    }

    /// Puts items one by one, and waits for all acknowledgements.
    pub(crate) fn work(&self, maker: &Maker, items: usize) {
        let mut missing = items;
        for _ in 0..items {
            self.put.send(maker.make()).expect("threads are there");
            missing -= self.acks.try_iter().count();
        }
        for _ in 0..missing {
            self.acks.recv().expect("threads are there");
        }
        assert!(self.acks.is_empty());
    }

    fn stop(self) {
        drop(self.put);
        for thread in self.threads {
            thread.join().expect("it does not panic");
        }
    }
}

fn serve(get: &Receiver<Item>, ack: &Sender<()>) {
    for item in get {
        let Ok(()) = look(item);
        if ack.send(()).is_err() {
            return;
        }
    }
}

pub(crate) fn throughput(order: &Order, maker: &Maker) -> Duration {
    let channels = Channels::start(order.workers, maker);
    let began = Instant::now();
    channels.work(maker, order.items);
    let elapsed = began.elapsed();
    channels.stop();
    elapsed
}
