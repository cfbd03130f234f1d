//! This project and its Rust peers on the same work. Each run of this program makes one measurement
//! and prints it as a line of JSON; `benches/run` runs it and its Python counterparts in turns.
//!
//!     peers ROW CONTENDER [--workers N] [--items N] [--bytes N] [--batch N] [--bound N] ...
//!     peers answer               the worker of `supervisor --worker`: answers each request
//!     peers --test               all of them in small: they run, and their counts are right

#![allow(clippy::print_stdout, reason = "it prints what it has measured")]

mod answering;
mod bare_commands;
mod busy;
mod callers;
mod channels;
mod hedging;
mod item;
#[cfg(feature = "journal")]
mod journaled;
mod large;
mod order;
mod pool;
mod raw;
mod raw_streams;
mod redis_queue;
mod redis_server;
mod round_trip;
mod scale;
mod smoke;
mod start;
mod throughput;
mod waiting;

use nix::unistd::alarm;

use order::{Measured, Order};

fn main() -> Result<(), String> {
    dishrack::serve(|roles| {
        roles.handler(item::look);
        roles.handler(item::weigh);
        roles.handler(item::rest);
        roles.handler(item::spin);
        roles.handler(hedging::work);
        roles.worker(callers::loop_of_one);
        roles.worker(callers::loop_of_many);
    });
    if raw::serve() || raw_streams::serve() {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return smoke::run();
    }
    // The arguments of `cargo bench` for every benchmark.
    if arguments.is_empty() || arguments == ["--bench"] {
        println!("benches/run compares this project with its peers");
        return Ok(());
    }
    if arguments == ["answer"] {
        return answering::serve().map_err(|error| error.to_string());
    }
    if arguments == ["--version"] {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let order = Order::parse(&arguments)?;
    // The signal bounds the wait: it ends this process, and that ends its workers.
    alarm::set(order.limit_s);
    println!("{}", measure(&order).line(&order));
    Ok(())
}

fn measure(order: &Order) -> Measured {
    match order.row.as_str() {
        "throughput" => throughput::measure(order),
        "producers" => callers::producers(order),
        "getters" => callers::getters(order),
        "round-trip" => round_trip::measure(order),
        "large" => large::measure(order),
        #[cfg(feature = "journal")]
        "journal" => journaled::measure(order),
        "start" => start::measure(order),
        "start-many" => start::many(order),
        "commands" => bare_commands::measure(order),
        "busy" | "mixed" => busy::measure(order),
        "hedging" => hedging::measure(order),
        "waiting" => waiting::memory(order),
        "drain" => waiting::drain(order),
        "keys" => waiting::keys(order),
        "scale" => scale::measure(order),
        "idle" => scale::idle(order, |line| println!("{line}")),
        "redis" => redis_queue::throughput(order),
        "redis-idle" => redis_queue::idle(order, |line| println!("{line}")),
        row => panic!("there is no row {row}"),
    }
}
