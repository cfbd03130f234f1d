//! A supervisor of a stream whose books do not agree, or in which a thread panics: it ends with 70, and others go on
//! with what it had. It needs the feature `failpoints`.

use std::collections::BTreeSet;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::cli::{Run, Said, Stage, said};

crate::timely_trials!(
    what_it_had_goes_to_others,
    one_that_stays_ends_also_if_it_is_found_before_anybody_hears_of_it,
    a_thread_that_panics_ends_it_and_what_it_had_goes_to_others,
    who_only_puts_is_told_of_a_thread_that_panics,
    an_order_that_panics_is_answered_and_no_more,
);

fn what_it_had_goes_to_others() {
    for fault in ["one too many", "one too many while items are in hand"] {
        let stage = Stage::new();
        stage.put(&["1", "2", "3", "4", "5"]);
        let work = |script| {
            let options = ["-w", "2", "--lease", "2s", "--until-done"];
            [&options[..], &["--", "sh", "-c", script]].concat()
        };
        let mut command = stage.supervisor("work", &work("sleep 1000"));
        command.env("DISHRACK_FAULT", fault);
        let first: Said = said(command);
        first.ends(70).tells("internal error");
        assert_eq!(first.err.matches("internal error").count(), 1);
        let next = stage.say("work", &work("echo got {}"));
        next.ends(0);
        let mut lines: Vec<&str> = next.out.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            ["got 1", "got 2", "got 3", "got 4", "got 5"],
            "{fault}"
        );
    }
}

fn one_that_stays_ends_also_if_it_is_found_before_anybody_hears_of_it() {
    let stage = Stage::new();
    let mut command = stage.supervisor("work", &["-w", "1", "--", "true"]);
    command.env("DISHRACK_FAULT", "one too many");
    let only: Said = said(command);
    only.ends(70).tells("internal error");
}

/// The threads of a supervisor that speak with the stream, and moments in their work: the point, and
/// the passing of it that panics.
const THREADS: [(&str, Option<&str>); 8] = [
    ("tell", None),
    ("fetch", None),
    ("listen", None),
    ("orders", None),
    ("tell", Some("exchange: ends to be told|2")),
    ("tell", Some("exchange: ends durable, not told|2")),
    ("fetch", Some("exchange: taken, not held|2")),
    ("fetch", Some("exchange: leases renewed|1")),
];

/// Plants a panic in a thread.
fn plant(stage: &Stage, command: &mut Command, thread: &str, point: Option<&str>) {
    let fault = stage.path("fault").display().to_string();
    match point {
        None => command.env("DISHRACK_PANIC_THREAD", format!("dishrack-{thread}")),
        Some(point) => {
            let point = format!("supervisor|{point}|{fault}");
            command.env("DISHRACK_PANIC_POINT", point)
        }
    };
    command.env("RUST_BACKTRACE", "0");
}

fn why(thread: &str) -> String {
    format!("internal error: the thread dishrack-{thread} panicked: planted; ")
}

fn a_thread_that_panics_ends_it_and_what_it_had_goes_to_others() {
    for (thread, point) in THREADS {
        let stage = Stage::new();
        let items: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        stage.put(&items.iter().map(String::as_str).collect::<Vec<_>>());
        let work = |last| {
            let options = ["-w", "2", "--lease", "2s", last];
            [&options[..], &["--", "sh", "-c", "echo got {} >>log"]].concat()
        };
        let mut command = stage.supervisor("work", &work("--quiet"));
        plant(&stage, &mut command, thread, point);
        let first: Said = said(command);
        first.ends(70).tells(&why(thread));
        assert_eq!(first.err.matches("internal error").count(), 1, "{first:?}");
        let next = stage.say("work", &work("--until-done"));
        next.ends(0);
        // What was done and not told is done again.
        let lines: BTreeSet<String> = stage.lines("log").into_iter().collect();
        let expected = items.iter().map(|n| format!("got {n}")).collect();
        assert_eq!(lines, expected, "{thread} {point:?}");
    }
}

fn who_only_puts_is_told_of_a_thread_that_panics() {
    for point in [None, Some("exchange: puts durable, not told|1")] {
        let stage = Stage::new();
        let mut command = stage.supervisor("put", &[":::", "1", "2"]);
        plant(&stage, &mut command, "tell", point);
        let put: Said = said(command);
        put.ends(70).tells(&why("tell"));
        assert_eq!(put.err.matches("internal error").count(), 1, "{put:?}");
    }
}

fn an_order_that_panics_is_answered_and_no_more() {
    let stage = Stage::new();
    let mut command = stage.supervisor("work", &["-w", "1", "--", "echo", "got"]);
    plant(&stage, &mut command, "", Some("orders: heard|1"));
    let mut work = Run::of(command);
    stage.put(&["1"]);
    assert_eq!(work.line().as_deref(), Some("got 1"));
    let refused = stage.say("scale", &["2"]);
    refused.tells("it ended by a bug, please report it: the thread order panicked: planted");
    assert_ne!(refused.code, Some(0));
    stage.say("scale", &["2"]).ends(0);
    work.signal(Signal::SIGTERM);
    assert_eq!(work.end().0, Some(143));
}
