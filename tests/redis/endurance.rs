//! A long series of kills: of supervisors on one stream, and of Redis itself.
//!
//! There are three witnesses. The worker of an item notes it in a file, in which none may be
//! missing. The supervisors report each end as an event, and nothing may end twice. The stream
//! counts ends in the change that ends the item, and they must be as many as the items.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cli::{Run, STREAM, Stage};
use crate::redis_server::Options;

crate::timely_trials!(three_supervisors_lose_nothing_whoever_is_killed);

const ITEMS: usize = 20_000;

/// The time after which a supervisor is killed, unless enough was done before.
const KILL_TIME: Duration = Duration::from_secs(1);
const KILL_ITEMS: usize = 1_000;

/// Far longer than it takes, even on a busy machine.
const TIME: Duration = Duration::from_secs(240);

/// The number of done items at which Redis is killed.
const REDIS_ITEMS: usize = ITEMS / 2;

/// The workers' program: it notes each item, takes its time, and reports it done.
pub(crate) const PLAY: &str = "a recorder";

const RECORD: &str = "record";
const TIME_OF_ITEM: Duration = Duration::from_millis(1);

pub(crate) fn play() {
    let mut record = OpenOptions::new()
        .append(true)
        .create(true)
        .open(RECORD)
        .unwrap();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let item = request["arguments"][0].as_str().unwrap();
        // It is one write, because others append to the same file.
        record.write_all(format!("{item}\n").as_bytes()).unwrap();
        std::thread::sleep(TIME_OF_ITEM);
        let answer = format!("{}\n", json!({"requestId": request["requestId"]}));
        let mut stdout = std::io::stdout();
        // A supervisor that was killed does not read any more.
        if stdout
            .write_all(answer.as_bytes())
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return;
        }
    }
}

fn start(stage: &Stage) -> Run {
    let recorder = std::env::current_exe().unwrap();
    let recorder = format!("'{}'", recorder.display());
    let options = ["-w", "1", "--lease", "2s", "--format", "json"];
    let mut command = stage.supervisor("work", &options);
    command.args(["--worker", &recorder]).env(crate::PLAY, PLAY);
    let run = Run::of(command);
    // From here on it endures Redis' absence; at the start it would end at once.
    run.await_event("started");
    run
}

/// The reports of the supervisors.
#[derive(Default)]
struct Told {
    done: BTreeMap<String, String>,
    others: BTreeSet<String>,
}

impl Told {
    /// Reads all reports of an ended supervisor. A killed one may have torn its last line.
    fn hear(&mut self, run: &Run) {
        let lines: Vec<String> = std::iter::from_fn(|| run.line()).collect();
        for (at, line) in lines.iter().enumerate() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                assert_eq!(at + 1, lines.len(), "{line}");
                return;
            };
            match event["event"].as_str().unwrap() {
                "done" => {
                    let item = event["item"].as_str().unwrap().to_owned();
                    let who = format!("{} of supervisor {}", event, run.pid());
                    if let Some(before) = self.done.insert(item, who.clone()) {
                        panic!("done twice: {before}, and {who}");
                    }
                }
                "dead" => panic!("nothing dies of kills: {event}"),
                other => drop(self.others.insert(other.to_owned())),
            }
        }
    }
}

/// Returns the stream's number of done items. It is called often, so it starts no process.
fn done(stage: &Stage) -> usize {
    let client = redis::Client::open(stage.server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut get = redis::cmd("HGET");
    get.arg(format!("{{{STREAM}}}:meta")).arg("done");
    let done: Option<usize> = get.query(&mut connection).unwrap();
    done.unwrap_or(0)
}

fn three_supervisors_lose_nothing_whoever_is_killed() {
    let stage = Stage::with(Options::default().durable());
    let numbers: Vec<String> = (1..=ITEMS).map(|number| number.to_string()).collect();
    std::fs::write(stage.path("items"), numbers.join("\n")).unwrap();
    // It puts while the others work, even while Redis is away.
    let mut put = stage.start("put", &["--input", "items", "--capacity", "4000"]);
    let mut works: Vec<Run> = (0..3).map(|_| start(&stage)).collect();
    let mut told = Told::default();
    let kills = kill_in_turn(&stage, &mut works, &mut told, &mut put);
    let join = stage.say("join", &[]);
    assert_eq!(join.code, Some(0), "{join:?}");
    assert!(join.out.starts_with("20000 done, 0 dead; "), "{join:?}");
    for work in &mut works {
        work.signal(Signal::SIGTERM);
        told.hear(work);
        let (code, err) = work.end();
        assert_eq!(code, Some(128 + 15), "{err}");
    }
    assert!(kills >= ITEMS / KILL_ITEMS / 2, "{kills} kills only");
    // Each item was worked on.
    let record = stage.lines(RECORD);
    let worked: BTreeSet<&str> = record.iter().map(String::as_str).collect();
    let missing: Vec<&String> = numbers
        .iter()
        .filter(|one| !worked.contains(&***one))
        .collect();
    assert!(missing.is_empty(), "never worked on: {missing:?}");
    // Each has ended once: there are as many ends as items, and none is left.
    let status = stage.status();
    let count = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        ["done", "dead", "dead_letters", "unfinished", "pending"].map(count),
        [ITEMS as u64, 0, 0, 0, 0],
        "{status}"
    );
    // A kill after an end is durable leaves an end without a report; little is under way at a kill.
    assert!(told.done.len() <= ITEMS && told.done.len() > ITEMS / 2);
    for key in ["past", "numbers", "dead"] {
        let key = format!("{{{STREAM}}}:{key}");
        assert_eq!(stage.redis_cli(&["exists", &key]), "0", "{key}");
    }
    assert_eq!(stage.redis_cli(&["xlen", STREAM]), "0");
}

/// Kills one supervisor after the other and starts another in its place, and Redis once, until all
/// is put and done. Returns the number of killed supervisors.
fn kill_in_turn(stage: &Stage, works: &mut [Run], told: &mut Told, put: &mut Run) -> usize {
    let (began, mut kills, mut is_redis_due) = (Instant::now(), 0, true);
    let (mut last, mut done_last) = (Instant::now(), 0);
    loop {
        let done = done(stage);
        if is_redis_due && done >= REDIS_ITEMS {
            is_redis_due = false;
            stage.server.restart();
        }
        if last.elapsed() >= KILL_TIME || done >= done_last + KILL_ITEMS {
            (last, done_last) = (Instant::now(), done);
            let at = kills % works.len();
            assert!(!works[at].has_ended(), "{}", works[at].err());
            let killed = std::mem::replace(&mut works[at], start(stage));
            killed.signal(Signal::SIGKILL);
            told.hear(&killed);
            kills += 1;
        }
        // The end is for `join`.
        if done >= ITEMS - KILL_ITEMS / 2 && put.has_ended() {
            let (code, err) = put.end();
            assert_eq!(code, Some(0), "{err}");
            assert!(err.contains("20000 items put"), "{err}");
            return kills;
        }
        assert!(began.elapsed() < TIME, "{done} are done");
        std::thread::sleep(Duration::from_millis(10));
    }
}
