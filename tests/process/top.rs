//! `supervisor top` on a terminal: what it shows, what its keys do, and what it leaves behind.

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::cells::{Cells, is_over, sees};
use crate::control::Started;
use crate::place::Place;
use crate::pty::Terminal;
use crate::support::{is_alive, send, state, until};

crate::trials! {
    a_run_is_seen_and_steered_by_keys,
    the_terminal_is_given_back_whatever_ends_it,
    a_small_terminal_is_enough,
    the_end_of_the_run_is_shown,
    a_killed_run_is_shown_as_ended_and_the_terminal_given_back,
    a_filter_finds_what_waits_behind_thousands,
    it_is_stopped_and_goes_on,
    without_a_terminal_it_says_so,
}

/// Runs `top` in this place.
fn top(place: &Place) -> Terminal {
    let folder = place.path("");
    Terminal::of(&["top"], |command| {
        command.env("XDG_RUNTIME_DIR", &folder);
    })
}

fn a_run_is_seen_and_steered_by_keys() {
    let place = Place::new();
    let run = place.start("nightly", &["a", "b", "bad"]);
    let top = top(&place);
    sees(&top, "nightly running  processes for");
    sees(&top, "worker-1   busy     1 a");
    sees(&top, "0 of 3 done (0%), 0 dead, 0 retries");
    top.type_in(b"p");
    sees(&top, "nightly paused");
    assert_eq!(place.ask_json(&["status"])["state"], "paused");
    top.type_in(b"p");
    sees(&top, "nightly running");
    top.type_in(b"+");
    sees(&top, "worker-2   busy     2 b");
    place.let_go("b");
    sees(&top, "worker-2   busy     3 bad");
    top.type_in(b"\x1b[B");
    top.type_in(b"\r");
    sees(&top, "state:    running");
    top.type_in(b"x");
    top.type_in(b"c");
    sees(&top, "cancel 3 bad? It becomes a dead letter. y or n");
    top.type_in(b"y");
    sees(&top, "3 cancelled");
    sees(&top, "3       bad  dead");
    top.type_in(b"\t\tr");
    sees(&top, "3 waits again");
    top.type_in(b"-");
    until("there is to be one worker", || {
        place.ask_json(&["status"])["workers_wanted"] == 1
    });
    top.type_in(b"/ba\r");
    sees(&top, "failures with \"ba\": 1");
    top.type_in(b"q");
    is_over(top, 0);
    assert!(is_alive(run.0.id()));
}

fn the_terminal_is_given_back_whatever_ends_it() {
    let place = Place::new();
    let _run = place.start("one", &["a"]);
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let top = top(&place);
        sees(&top, "one running");
        assert!(!top.is_cooked());
        top.signal(signal);
        is_over(top, 128 + signal as i32);
    }
    let top = top(&place);
    sees(&top, "one running");
    top.type_in(b"\x03");
    is_over(top, 130);
}

fn a_small_terminal_is_enough() {
    let place = Place::new();
    let _run = place.start("one", &["a", "b"]);
    let top = top(&place);
    sees(&top, "one running");
    top.resize(40, 12);
    top.await_output("it is small", |bytes| {
        let lines = Cells::of(bytes).lines();
        lines[11] == "q quit  ? help  Tab next list" && lines[12..].concat().is_empty()
    });
    top.type_in(b"\t");
    sees(&top, " waiting: 1");
    sees(&top, "2       b");
    top.type_in(b"?");
    sees(&top, "pause, or resume");
    top.type_in(b"xq");
    is_over(top, 0);
}

fn the_end_of_the_run_is_shown() {
    let place = Place::new();
    let run = place.start("one", &["a"]);
    let top = top(&place);
    sees(&top, "worker-1   busy     1 a");
    place.let_go("a");
    sees(&top, "one ENDED");
    sees(&top, "the run has ended; this is how it was last seen");
    until("the run is gone", || {
        !is_alive(run.0.id()) || state(run.0.id()) == Some('Z')
    });
    top.type_in(b"p");
    sees(&top, "there is no run to be asked");
    top.type_in(b"q");
    is_over(top, 0);
}

fn a_killed_run_is_shown_as_ended_and_the_terminal_given_back() {
    let place = Place::new();
    for end in ["q", "SIGTERM"] {
        let mut run = place.start("one", &["a"]);
        let top = top(&place);
        sees(&top, "worker-1   busy     1 a");
        send(run.0.id(), Signal::SIGKILL);
        run.0.wait().unwrap();
        sees(&top, "one ENDED");
        match end {
            "q" => {
                top.type_in(b"q");
                is_over(top, 0);
            }
            _ => {
                top.signal(Signal::SIGTERM);
                is_over(top, 143);
            }
        }
    }
}

fn a_filter_finds_what_waits_behind_thousands() {
    const ITEMS: usize = 12_000;
    let place = Place::new();
    let mut command = place.command(&["serve", "--name", "many", "--journal", "kept"]);
    command.args(["-w", "1", "--", "sh", "-c", "exec sleep 1000", "_"]);
    let server = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let _server = Started(server.unwrap());
    let socket = place.socket("many");
    until("it can be asked", || {
        place.try_ask(&["status", "--at", "many"]).status.success()
    });
    let items = (1..ITEMS).map(|n| json!(format!("hay {n}")));
    let items = items
        .chain([json!("a Needle")])
        .map(|item| item.to_string());
    let body = items.collect::<Vec<_>>().join("\n");
    let put = crate::http::ask(&socket, "POST", "/v1/items", body.as_bytes());
    assert_eq!(put.json()["accepted"], ITEMS);
    let top = top(&place);
    sees(&top, "many running");
    top.type_in(b"/needle\r\t");
    sees(&top, "waiting with \"needle\": 1 ");
    sees(&top, "12000   a Needle");
    // Items of many answers are no more than the list has room for.
    top.type_in(b"\x1b");
    sees(&top, " waiting: 11999 ");
    top.type_in(b"/hay 1199\r");
    sees(&top, "waiting with \"hay 1199\": 11 ");
    top.type_in(b"q");
    is_over(top, 0);
}

/// A panic that is planted in a thread of `top` is told on a terminal that is as it was.
#[cfg(feature = "failpoints")]
pub(crate) fn a_panic_gives_the_terminal_back() {
    let place = Place::new();
    let _run = place.start("one", &["a"]);
    for (fault, code) in [
        ("a panic of top", 70),
        ("a panic of what looks for top", 70),
    ] {
        let folder = place.path("");
        let mut top = Terminal::of(&["top"], |command| {
            command.env("XDG_RUNTIME_DIR", &folder);
            command
                .env("DISHRACK_FAULT", fault)
                .env("RUST_BACKTRACE", "0");
        });
        until("it has ended", || top.child.try_wait().unwrap().is_some());
        assert!(top.is_cooked(), "{fault}");
        let (bytes, status) = top.finish();
        let cells = Cells::of(&bytes);
        assert!(!cells.is_alternate && cells.is_cursor_shown, "{fault}");
        let shown = cells.lines().concat();
        assert!(shown.contains("planted"), "{fault}: {shown}");
        assert_eq!(status.code(), Some(code), "{fault}: {shown}");
    }
}

fn it_is_stopped_and_goes_on() {
    let place = Place::new();
    let _run = place.start("one", &["a"]);
    let top = top(&place);
    for key in [true, false] {
        sees(&top, "one running");
        match key {
            true => top.type_in(b"\x1a"),
            false => top.signal(Signal::SIGTSTP),
        }
        until("it is stopped", || state(top.child.id()) == Some('T'));
        assert!(top.is_cooked());
        top.await_output("the terminal is given back", |bytes| {
            !Cells::of(bytes).is_alternate
        });
        top.signal(Signal::SIGCONT);
    }
    sees(&top, "one running");
    top.type_in(b"q");
    is_over(top, 0);
}

fn without_a_terminal_it_says_so() {
    let place = Place::new();
    let mut command = place.command(&["top"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(2), Vec::new()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`supervisor status`"), "{said}");
    // There is a terminal, and no run.
    let mut top = top(&place);
    let (bytes, status) = top.finish();
    assert_eq!(status.code(), Some(2));
    let said = String::from_utf8_lossy(&bytes);
    assert!(
        said.contains("no run is there") && !said.contains("1049"),
        "{said}"
    );
}
