//! Long series of kills: of workers, and of the supervisor itself.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Run, named, pid_of, send};

crate::trials!(
    a_thousand_kills_of_workers_lose_nothing,
    two_hundred_kills_of_the_supervisor_lose_nothing,
);

/// Returns a number that is the same in every run, by the finalizer of SplitMix64.
fn number(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn a_thousand_kills_of_workers_lose_nothing() {
    const DISHES: usize = 20_000;
    const KILLS: usize = 1000;
    let mut run = Run::supervisor(&[
        "-w",
        "2",
        "--wash",
        "0",
        "--dry",
        "0.5ms",
        "--dishes",
        &DISHES.to_string(),
        // A dish may be under way at several of so many kills.
        "--max-attempts",
        "100",
        "--max-restarts",
        "2000",
    ]);
    let (mut drying, mut killed) = (0, 0);
    let (mut done, mut events) = (BTreeSet::new(), Vec::new());
    while let Some(event) = run.event() {
        match event["event"].as_str().unwrap() {
            "drying" => {
                drying += 1;
                if drying % (DISHES / KILLS) == 0 && killed < KILLS {
                    send(pid_of(&event), Signal::SIGKILL);
                    killed += 1;
                }
            }
            "done" => assert!(
                done.insert(event["item"].to_string()),
                "done twice: {event}"
            ),
            "washing" => {}
            _ => events.push(event),
        }
    }
    assert_eq!(run.exit().code(), Some(0));
    assert_eq!((killed, done.len()), (KILLS, DISHES));
    let summary = named(&events, "summary")[0];
    assert_eq!(
        (&summary["done"], &summary["dead"]),
        (&DISHES.into(), &0.into())
    );
    let retries = named(&events, "retry");
    assert!(
        retries
            .iter()
            .all(|retry| retry["cause"] == "killed by SIGKILL")
    );
    assert_eq!(summary["retries"], retries.len());
}

/// The reports of one job's runs, one after the other.
#[derive(Default)]
struct Told {
    done: BTreeSet<String>,
    kills: u64,
}

impl Told {
    fn hear(&mut self, event: &Value) {
        let item = event["item"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "drying" => {
                assert!(
                    !self.done.contains(&item),
                    "{item} is dried again: it was done"
                );
            }
            "done" => assert!(self.done.insert(item), "done twice: {event}"),
            "dead" => panic!("nothing dies of the supervisor's kills: {event}"),
            _ => {}
        }
    }
}

fn two_hundred_kills_of_the_supervisor_lose_nothing() {
    // More than are done before the last kill, also on a busy machine: 2000 were not.
    const DISHES: usize = 5000;
    const KILLS: u64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("rack.journal").display().to_string();
    let count = DISHES.to_string();
    let arguments = [
        "-w",
        "2",
        "--wash",
        "0",
        "--dry",
        "1ms",
        "--dishes",
        &count,
        "--journal",
        &journal,
    ];
    let mut told = Told::default();
    let summary = loop {
        let mut run = Run::supervisor(&arguments);
        let mut events = match told.kills < KILLS {
            true => kill_at_some_moment(&run, &mut told.kills),
            false => Vec::new(),
        };
        events.extend(run.last_events());
        let status = run.exit();
        events.iter().for_each(|event| told.hear(event));
        if let Some(summary) = named(&events, "summary").first() {
            assert_eq!(status.code(), Some(0));
            break (*summary).clone();
        }
    };
    // Every dish has its one terminal record, and a dish that was reported done was never begun
    // again. A kill after a commit and before its event leaves a done dish without a report.
    assert_eq!(
        (&summary["accepted"], &summary["done"]),
        (&DISHES.into(), &DISHES.into())
    );
    assert!(told.done.len() <= DISHES);
    assert_eq!(told.kills, KILLS, "the job was over before");
    let mut again = Run::supervisor(&arguments);
    let events = again.ends(0);
    assert_eq!(
        named(&events, "drying").len(),
        0,
        "there is nothing left to do"
    );
}

/// Kills the supervisor after some of its lines and some more time. Returns the events until then, or all if
/// it ends before.
fn kill_at_some_moment(run: &Run, kills: &mut u64) -> Vec<Value> {
    let chance = number(*kills);
    let mut events = Vec::new();
    for _ in 0..chance % 24 {
        match run.event() {
            Some(event) => events.push(event),
            None => return events,
        }
    }
    std::thread::sleep(Duration::from_micros(chance >> 32 & 0x7ff));
    run.signal(Signal::SIGKILL);
    *kills += 1;
    events
}
