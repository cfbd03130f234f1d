//! A bare Redis stream with a group of consumers: one producer that adds in pipelines, and consumer
//! processes of this program that read and acknowledge many items at once, without any recovery of
//! a dead consumer's items. It is the ceiling for libraries on top of it.
//!
//! The consumers count with XACK and INCRBY in the same pipeline, as in `streams.py`; the one that
//! counts the last item tells the producer. Nothing is deleted from the stream.

use std::collections::VecDeque;
use std::env;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, FromRedisValue, RedisResult, Value, cmd};

use crate::item::{Maker, touch};
use crate::order::Order;
use crate::redis_server::Server;

/// The first argument of a consumer process.
const CONSUMER: &str = "raw-consumer";

const STREAM: &str = "items";
const GROUP: &str = "crew";
/// The number of acknowledged items.
const DONE: &str = "done";
/// A list that has an entry once all items so far are done.
const JOINED: &str = "joined";

/// The number of items that are done before a measurement begins.
const WARMING: usize = 1000;

/// Batches that the producer sends before it reads the answers to the first of them.
const BATCHES_UNDER_WAY: usize = 2;

pub(crate) fn throughput(order: &Order, maker: &Maker) -> Duration {
    let server = Server::start();
    let url = match order.contender.as_str() {
        "raw-socket" => server.socket_url(),
        _ => server.url(),
    };
    let mut producer = Producer::connect(&url, order.batch);
    let all = WARMING + order.items;
    let start = |number| consumer(&url, number, order.batch, all);
    let consumers: Vec<Child> = (0..order.workers).map(start).collect();
    producer.put(maker, WARMING);
    producer.join();
    let began = Instant::now();
    producer.put(maker, order.items);
    producer.join();
    let elapsed = began.elapsed();
    producer.check(all);
    drop(server);
    consumers.into_iter().for_each(await_end);
    elapsed
}

/// Runs `while_idle` with the consumers' pids, while they wait for items.
pub(crate) fn idle(order: &Order, server: &Server, while_idle: impl FnOnce(&[u32])) {
    let mut producer = Producer::connect(&server.url(), order.batch);
    let start = |number| consumer(&server.url(), number, order.batch, WARMING);
    let mut consumers: Vec<Child> = (0..order.workers).map(start).collect();
    producer.put(&Maker::new(order.bytes), WARMING);
    producer.join();
    let pids: Vec<u32> = consumers.iter().map(Child::id).collect();
    while_idle(&pids);
    for consumer in &mut consumers {
        consumer.kill().expect("it is our child");
        consumer.wait().expect("it is our child");
    }
}

/// Starts a consumer, which ends when its server does.
fn consumer(url: &str, number: usize, batch: usize, all: usize) -> Child {
    let program = env::current_exe().expect("it is running");
    let numbers = [number, batch, all].map(|number| number.to_string());
    Command::new(program)
        .args([CONSUMER, url])
        .args(numbers)
        .stdin(Stdio::null())
        .spawn()
        .expect("this program can be executed")
}

fn await_end(mut consumer: Child) {
    let status = consumer.wait().expect("it is our child");
    assert!(status.success(), "a consumer ended with {status}");
}

struct Producer {
    connection: Connection,
    batch: usize,
}

impl Producer {
    fn connect(url: &str, batch: usize) -> Self {
        let mut connection = connect(url).expect("the server answers");
        let mut group = cmd("XGROUP");
        group.arg(&["CREATE", STREAM, GROUP, "0", "MKSTREAM"]);
        group
            .exec(&mut connection)
            .expect("the server has no such group");
        Producer { connection, batch }
    }

    /// Makes items one by one, and adds them in batches.
    fn put(&mut self, maker: &Maker, items: usize) {
        let mut under_way = VecDeque::new();
        let mut packed = Vec::new();
        for first in (0..items).step_by(self.batch) {
            let count = self.batch.min(items - first);
            packed.clear();
            for _ in 0..count {
                let item = maker.make();
                let mut add = cmd("XADD");
                add.arg(&[STREAM, "*", "p"]).arg(item.0.as_slice());
                add.write_packed_command(&mut packed);
            }
            self.connection
                .send_packed_command(&packed)
                .expect("the server lives");
            under_way.push_back(count);
            if under_way.len() == BATCHES_UNDER_WAY {
                let first = under_way.pop_front().expect("there are two");
                self.take_answers(first);
            }
        }
        self.take_answers(under_way.into_iter().sum());
    }

    fn take_answers(&mut self, count: usize) {
        for _ in 0..count {
            let answer = self.connection.recv_response().expect("the server lives");
            assert!(matches!(answer, Value::BulkString(_)), "{answer:?}");
        }
    }

    fn join(&mut self) {
        let mut pop = cmd("BLPOP");
        pop.arg(JOINED).arg(0);
        pop.exec(&mut self.connection).expect("the server lives");
    }

    /// Checks that all items are acknowledged, and none of them twice.
    fn check(&mut self, all: usize) {
        let mut ask = |command: &mut redis::Cmd| -> Value {
            command
                .query(&mut self.connection)
                .expect("the server lives")
        };
        let done: usize =
            redis::from_redis_value(ask(cmd("GET").arg(DONE))).expect("it is counted");
        assert_eq!(done, all);
        let pending = ask(cmd("XPENDING").arg(&[STREAM, GROUP]));
        let Value::Array(parts) = pending else {
            panic!("not what XPENDING answers: {pending:?}");
        };
        assert_eq!(parts[0], Value::Int(0), "items are not acknowledged");
    }
}

/// Does a consumer's work, if this process was started as one.
pub(crate) fn serve() -> bool {
    let arguments: Vec<String> = env::args().collect();
    let [_, first, url, numbers @ ..] = arguments.as_slice() else {
        return false;
    };
    if first != CONSUMER {
        return false;
    }
    let numbers: Vec<usize> = numbers
        .iter()
        .map(|number| number.parse().expect("the producer gives numbers"))
        .collect();
    let [number, batch, all] = numbers[..] else {
        panic!("a consumer needs three numbers");
    };
    let error = consume(url, number, batch, all).expect_err("it goes on until its server ends");
    let is_end = error.is_connection_dropped() || error.is_io_error();
    assert!(is_end, "a consumer failed: {error}");
    true
}

/// Acknowledges its items and asks for more in one message, until the connection ends.
fn consume(url: &str, number: usize, batch: usize, all: usize) -> RedisResult<Value> {
    let mut connection = connect(url)?;
    // A connection that waits for items answers nothing else.
    let mut telling = connect(url)?;
    let mut read = cmd("XREADGROUP");
    read.arg(&["GROUP", GROUP]).arg(format!("c{number}"));
    read.arg("COUNT").arg(batch).arg("BLOCK").arg(0);
    read.arg(&["STREAMS", STREAM, ">"]);
    let mut packed = read.get_packed_command();
    connection.send_packed_command(&packed)?;
    loop {
        let ids = touch_all(connection.recv_response()?);
        packed.clear();
        let mut ack = cmd("XACK");
        ack.arg(&[STREAM, GROUP]).arg(&ids);
        ack.write_packed_command(&mut packed);
        let mut count = cmd("INCRBY");
        count.arg(DONE).arg(ids.len());
        count.write_packed_command(&mut packed);
        read.write_packed_command(&mut packed);
        connection.send_packed_command(&packed)?;
        let acknowledged: usize = take(&mut connection)?;
        assert_eq!(acknowledged, ids.len(), "items are acknowledged once");
        let done: usize = take(&mut connection)?;
        let counted = done - ids.len() + 1..=done;
        if counted.contains(&WARMING) || counted.contains(&all) {
            cmd("LPUSH").arg(JOINED).arg(done).exec(&mut telling)?;
        }
    }
}

fn connect(url: &str) -> RedisResult<Connection> {
    Client::open(url)?.get_connection()
}

fn take<T: FromRedisValue>(connection: &mut Connection) -> RedisResult<T> {
    Ok(redis::from_redis_value(connection.recv_response()?)?)
}

/// Looks at all items of an answer, and returns their names.
fn touch_all(answer: Value) -> Vec<Vec<u8>> {
    // One stream: its name and its entries, each with an id, a field and a payload.
    let [stream] = parts(answer);
    let [_, entries] = parts(stream);
    let Value::Array(entries) = entries else {
        panic!("not a stream's entries: {entries:?}");
    };
    let touch_one = |entry| {
        let [id, fields] = parts(entry);
        let [_, payload] = parts(fields);
        touch(&bytes(payload));
        bytes(id)
    };
    entries.into_iter().map(touch_one).collect()
}

fn parts<const N: usize>(value: Value) -> [Value; N] {
    match value {
        Value::Array(parts) => parts.try_into().expect("the server answers in this form"),
        other => panic!("not of {N} parts: {other:?}"),
    }
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("not a string: {other:?}"),
    }
}
