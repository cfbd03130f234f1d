//! A kill of a supervisor at every step of its exchange with a stream. The next one goes on, and
//! nothing is lost, done after it was told done, or told twice.
//!
//! The points need the feature `failpoints`; without it there is nothing to run.

pub(crate) mod orders;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dishrack::Supervisor;
use dishrack::observe::{Event, EventKind, Observer};

use crate::dependants;
use crate::faults::stage::{Queue, SHORT_LEASE, check_books, let_pass, open, place};
use crate::points;
use crate::redis_server::Server;

crate::trials!(
    every_point_of_the_exchange_is_one_at_which_a_supervisor_is_killed,
    a_kill_at_any_step_of_the_exchange_loses_nothing,
);

const POINTS: [&str; 6] = [
    "exchange: puts to be told",
    "exchange: puts durable, not told",
    "exchange: taken, not held",
    "exchange: ends to be told",
    "exchange: ends durable, not told",
    "exchange: leases renewed",
];

const ITEMS: u64 = 40;

pub(crate) const PLAY: &str = "a killed supervisor";

/// The variables with the folder of the job, and with the address of Redis.
const FOLDER: &str = "DISHRACK_TEST_FOLDER";
const URL: &str = "DISHRACK_TEST_URL";

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).unwrap())
}

/// Returns `true` the first time that this is asked in the folder, whatever process dies.
fn is_first(name: &str) -> bool {
    File::create_new(folder().join(name)).is_ok()
}

fn note(line: &str) {
    let mut options = OpenOptions::new();
    let diary = options.create(true).append(true);
    let mut diary = diary.open(folder().join("diary")).unwrap();
    diary.write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[derive(Debug)]
struct Diarist;

impl Observer for Diarist {
    fn observe(&self, event: Event) {
        match event.kind {
            EventKind::ItemDone { item, .. } => note(&format!("done {item}")),
            EventKind::Dead { item, .. } => note(&format!("dead {item}")),
            _ => {}
        }
    }
}

/// Puts items that were not put before, in batches, and works on all.
pub(crate) fn play() {
    let queue: Queue = open(&place(std::env::var(URL).unwrap()).lease(SHORT_LEASE));
    let pool = Supervisor::builder()
        .threads(2)
        .observer(Arc::new(Diarist))
        .name_items(|item: &String| item.clone());
    let _pool = pool.handler(&queue, work).unwrap();
    if is_first("put") {
        let items = (0..ITEMS).map(|n| n.to_string());
        assert_eq!(queue.put_many(items).into_result().unwrap(), ITEMS);
        (0..ITEMS).for_each(|n| note(&format!("accepted {n}")));
    }
    let joined = queue.join().unwrap();
    note(&format!("joined {} {}", joined.done, joined.dead));
}

fn work(item: String) -> Result<(), String> {
    match &*item {
        // Its lease must be renewed.
        "7" if is_first("slow") => let_pass(SHORT_LEASE),
        "11" if is_first("failed") => return Err("not yet".into()),
        _ => {}
    }
    note(&format!("did {item}"));
    Ok(())
}

fn every_point_of_the_exchange_is_one_at_which_a_supervisor_is_killed() {
    let mut all = points::in_source();
    all.retain(|point| point.starts_with(points::OF_STREAMS));
    assert_eq!(all, POINTS.map(str::to_owned).into());
}

fn a_kill_at_any_step_of_the_exchange_loses_nothing() {
    for point in POINTS {
        let times = std::iter::successors(Some(1), |n| Some(2 * n));
        let killed = times.take_while(|n| is_killed_at(point, *n)).count();
        assert!(killed > 0, "nobody was killed at {point}");
    }
}

fn run(server: &Server, folder: &Path, kill: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(crate::PLAY, PLAY)
        .env(URL, server.url())
        .env(FOLDER, folder)
        .env_remove("DISHRACK_KILL_POINT");
    if let Some(kill) = kill {
        command.env("DISHRACK_KILL_POINT", kill);
    }
    dependants::spawn(command)
        .unwrap()
        .wait()
        .unwrap()
        .success()
}

/// Kills a run where it passes a point for the `n`-th time, and lets others go on. Returns `false`
/// if the point is not passed so often.
fn is_killed_at(point: &str, n: u64) -> bool {
    let (server, folder) = (Server::plain(), tempfile::tempdir().unwrap());
    let of = format!("{point}, {n}");
    let mark = folder.path().join("killed");
    let kill = format!("supervisor|{point}|{n}|{}", mark.display());
    let is_fine = run(&server, folder.path(), Some(&kill));
    let is_killed = mark.exists();
    assert_eq!(is_fine, !is_killed, "{of}");
    if is_killed {
        assert!(run(&server, folder.path(), None), "after {of}");
    }
    let read = || fs::read_to_string(folder.path().join("diary")).unwrap();
    let diary = read();
    // The next one has nothing left to do.
    assert!(run(&server, folder.path(), None), "after {of}");
    let again = read().split_off(diary.len());
    let is_idle = !again.contains("did") && !again.contains("done");
    assert!(is_idle, "{of}: {again}");
    let did = check(&diary, &of);
    check_books(&server, did, 0);
    is_killed
}

/// Checks the promises in a diary. Returns the number of items that were done.
fn check(diary: &str, of: &str) -> u64 {
    let (mut accepted, mut did) = (BTreeSet::new(), BTreeSet::new());
    let mut done = BTreeSet::new();
    for line in diary.lines() {
        let (word, item) = line.split_once(' ').unwrap();
        match word {
            "accepted" => assert!(accepted.insert(item), "{of}: {diary}"),
            "did" => {
                assert!(!done.contains(item), "{of}: done again: {diary}");
                did.insert(item);
            }
            "done" => assert!(done.insert(item), "{of}: told twice: {diary}"),
            "dead" => panic!("{of}: nothing dies of one kill: {diary}"),
            _ => {}
        }
    }
    assert!(accepted.is_subset(&did), "{of}: lost: {diary}");
    assert!(done.is_subset(&did), "{of}: {diary}");
    let joined = format!("joined {} 0", did.len());
    assert_eq!(diary.lines().last(), Some(&*joined), "{of}: {diary}");
    did.len() as u64
}
