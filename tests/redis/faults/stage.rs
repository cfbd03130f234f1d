//! The common parts of these tests: queues, pools whose work can be held, a listener to notices,
//! and the final check of the books.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{JoinableQueue, Joined, Options, RedisOptions, Supervisor};

use crate::deadline::{DEADLINE, until};
use crate::redis_server::Server;

pub(crate) type Queue = JoinableQueue<String>;

/// The stream of these tests.
pub(crate) const STREAM: &str = "items";

/// A lease that never ends in a test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(3600);

/// A short lease. A busy machine may lose it, and then an item is worked on twice; it ends once.
pub(crate) const SHORT_LEASE: Duration = Duration::from_millis(600);

/// Returns the options of a queue whose results are all kept, so that they can be counted.
pub(crate) fn place(url: impl Into<String>) -> RedisOptions {
    RedisOptions::new(url, STREAM).results(1_000_000)
}

pub(crate) fn open(place: &RedisOptions) -> Queue {
    Queue::shared(place, Options::default()).unwrap()
}

/// Makes a queue without a bound and with that lease.
pub(crate) fn queue(url: impl Into<String>, lease: Duration) -> Queue {
    open(&place(url).lease(lease))
}

/// Puts so many items, "item 0" and so on.
pub(crate) fn put_items(queue: &Queue, count: u64) {
    for n in 0..count {
        let put = queue.put(&format!("item {n}"));
        put.unwrap_or_else(|error| panic!("put {n}: {error}"));
    }
}

pub(crate) fn join(queue: &Queue) -> Joined {
    let joined = queue.join_timeout(DEADLINE);
    joined.unwrap_or_else(|error| panic!("join: {error}; {:?}", queue.counts()))
}

/// Joins, and returns the numbers of items that are done and dead.
pub(crate) fn ends(queue: &Queue) -> (u64, u64) {
    let joined = join(queue);
    (joined.done, joined.dead)
}

/// Lets time pass, where nothing but time matters, such as the end of a lease.
pub(crate) fn let_pass(time: Duration) {
    std::thread::sleep(time);
}

/// A gate at which work waits until the test opens it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let is_shut = |is_open: &mut bool| !*is_open;
        let guard = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(guard, is_shut).unwrap());
    }
}

/// The notices of the stream.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Vec<String>>);

impl Observer for Notices {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, event: Event) {
        match event.kind {
            EventKind::Notice { why, .. } => self.0.lock().unwrap().push(why),
            EventKind::JournalFailed { why, .. } => {
                self.0.lock().unwrap().push(format!("failed: {why}"))
            }
            EventKind::Inconsistent { why, .. } => {
                self.0.lock().unwrap().push(format!("BUG: {why}"))
            }
            _ => {}
        }
    }
}

impl Notices {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, words: &str) -> bool {
        self.all().iter().any(|notice| notice.contains(words))
    }

    pub(crate) fn await_one(&self, words: &str) {
        until(&format!("a notice says {words:?}"), || self.has(words));
    }
}

/// A pool of threads in this process, and the events that it showed.
pub(crate) struct Pool {
    pub(crate) notices: Arc<Notices>,
    began: Arc<Mutex<Vec<String>>>,
    supervisor: Supervisor<String, String>,
}

/// Makes threads that work so. The result of an item is the item.
pub(crate) fn pool(
    queue: &Queue,
    workers: usize,
    work: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
) -> Pool {
    let notices = Arc::new(Notices::default());
    let began: Arc<Mutex<Vec<String>>> = Arc::default();
    let list = Arc::clone(&began);
    let supervisor = Supervisor::builder()
        .threads(workers)
        .observer(Arc::clone(&notices) as Arc<dyn Observer>)
        .handler(queue, move |item: String| {
            list.lock().unwrap().push(item.clone());
            work(&item).map(|()| item)
        });
    Pool {
        notices,
        began,
        supervisor: supervisor.unwrap(),
    }
}

impl Pool {
    /// Returns the items that it has begun so far, with repetitions for retries.
    pub(crate) fn began(&self) -> Vec<String> {
        self.began.lock().unwrap().clone()
    }

    pub(crate) fn await_begun(&self, count: usize) {
        until(&format!("{count} items are begun"), || {
            self.began.lock().unwrap().len() >= count
        });
    }

    pub(crate) fn supervisor(&self) -> &Supervisor<String, String> {
        &self.supervisor
    }
}

/// Makes a pool that does all it gets.
pub(crate) fn willing(queue: &Queue, workers: usize) -> Pool {
    pool(queue, workers, |_| Ok(()))
}

/// Makes a pool of one that begins nothing more until the gate opens.
pub(crate) fn held(queue: &Queue) -> (Pool, Gate) {
    let gate = Gate::default();
    let own = gate.clone();
    let held = pool(queue, 1, move |_| {
        own.pass();
        Ok(())
    });
    (held, gate)
}

/// Returns a text as a serialized item or result.
pub(crate) fn serialized(text: &str) -> String {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 128, "a longer text has more bytes before it");
    format!("{}{text}", char::from(length))
}

pub(crate) fn number(server: &Server, command: &[&str]) -> u64 {
    let said = server.cli(command);
    match &*said {
        "" => 0,
        number => number
            .parse()
            .unwrap_or_else(|_| panic!("{command:?}: {said}")),
    }
}

/// Returns the entries of the stream that have no end, in their order.
pub(crate) fn entries(server: &Server) -> Vec<String> {
    let said = server.cli(&["--json", "xrange", STREAM, "-", "+"]);
    rows(&said).into_iter().map(|(entry, _)| entry).collect()
}

/// Returns the numbers of the entries' items, in their order.
pub(crate) fn numbers(server: &Server) -> Vec<String> {
    let said = server.cli(&["--json", "xrange", STREAM, "-", "+"]);
    let all = rows(&said);
    all.iter().map(|(_, fields)| value(fields, "n")).collect()
}

/// Returns the only entry.
pub(crate) fn only_entry(server: &Server) -> String {
    let entries = entries(server);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.into_iter().next().unwrap()
}

/// Returns entries with their fields.
fn rows(json: &str) -> Vec<(String, Vec<String>)> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn value(fields: &[String], name: &str) -> String {
    let at = fields.iter().step_by(2).position(|field| field == name);
    fields[2 * at.unwrap() + 1].clone()
}

/// Checks that all accounts in Redis agree: nothing is unfinished, so many items are done and so
/// many dead, and each has exactly one record of its end.
pub(crate) fn check_books(server: &Server, done: u64, dead: u64) {
    let told = |key: &str| number(server, &["hget", "{items}:meta", key]);
    assert_eq!((told("done"), told("dead")), (done, dead), "done and dead");
    let results = server.cli(&["--json", "xrange", "{items}:results", "-", "+"]);
    let results = rows(&results);
    let ended = |ok: &str| {
        let ends = results
            .iter()
            .filter(|(_, fields)| value(fields, "ok") == ok);
        ends.map(|(_, fields)| value(fields, "n"))
            .collect::<Vec<_>>()
    };
    let (is_done, is_dead) = (ended("1"), ended("0"));
    assert_eq!(
        (is_done.len() as u64, is_dead.len() as u64),
        (done, dead),
        "records of ends: {results:?}"
    );
    let all: BTreeSet<&String> = is_done.iter().chain(&is_dead).collect();
    assert_eq!(all.len() as u64, done + dead, "each has one: {results:?}");
    assert_eq!(number(server, &["xlen", "{items}:dead"]), dead, "letters");
    let left = ["{items}:past", "{items}:numbers"].map(|key| number(server, &["hlen", key]));
    assert_eq!(left, [0, 0], "nothing is left of what has ended");
    assert_eq!(
        number(server, &["xlen", STREAM]),
        0,
        "no item is unfinished"
    );
    let pending = server.cli(&["xpending", STREAM, "dishrack"]);
    assert_eq!(pending.lines().next(), Some("0"), "nobody holds anything");
}
