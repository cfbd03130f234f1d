//! Those who wait for something else while a run's books are found wrong: each is answered with the reason.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use dishrack::{Error, JoinableQueue};
use nix::unistd::gettid;
use serde_json::Value;

use super::panics::owner;
use super::{ends_with_70, supervisor};
use crate::control::Started;
use crate::deadline::DEADLINE;
use crate::place::Place;
use crate::support::{Run, until};

crate::trials! {
    who_scales_is_told,
    who_reloads_is_told,
    who_asks_by_the_page_is_told,
    attached_programs_are_told,
}

const WHY: &str = "internal error: items are lost or counted twice";

/// Starts a run with two workers, both of which have an item that never ends.
fn begin(place: &Place, options: &[&str]) -> Run {
    let begin = "--name run -w 2 --shutdown 1000s --input items".split(' ');
    let begin: Vec<&str> = begin.collect();
    let arguments = [&begin[..], options, &["--", "sleep"]].concat();
    fs::write(place.path("items"), "1000\n1000\n").unwrap();
    let run = Run::of(supervisor(place, &arguments, "one too many in a pause"));
    until("both workers have an item", || {
        states(place) == ["busy", "busy"]
    });
    run
}

/// Returns the states of the workers; none if the run cannot be asked yet.
fn states(place: &Place) -> Vec<String> {
    let asked = place.try_ask(&["status", "--format", "json", "--at", "run"]);
    let status: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
    let workers = status["workers"].as_array().into_iter().flatten();
    let state = |worker: &Value| worker["state"].as_str().unwrap().to_owned();
    workers.map(state).collect()
}

/// Ends the run while a worker is to leave when its item has ended, which never comes.
fn end_while_one_leaves(place: &Place, run: Run) {
    until("a worker is to leave", || {
        states(place).iter().any(|state| state == "stopping")
    });
    // Whether it is told that there is a pause is a matter of the moment.
    place.try_ask(&["pause", "--at", "run"]);
    ends_with_70(place, run, "a change of workers");
}

fn ask(place: &Place, arguments: &[&str]) -> Started {
    let mut command = place.command(arguments);
    let said = File::create(place.path("said")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Started(command.stderr(said).spawn().unwrap())
}

/// Checks that it was answered.
#[track_caller]
fn is_told(place: &Place, asked: &mut Child) {
    let mut status = None;
    until("it is answered", || {
        status = asked.try_wait().unwrap();
        status.is_some()
    });
    let said = fs::read_to_string(place.path("said")).unwrap();
    assert!(said.contains(WHY), "{said}");
    assert_eq!(status.unwrap().code(), Some(70), "{said}");
}

fn who_scales_is_told() {
    let place = Place::new();
    let run = begin(&place, &[]);
    let mut asked = ask(&place, &["scale", "1", "--at", "run"]);
    end_while_one_leaves(&place, run);
    is_told(&place, &mut asked.0);
}

fn who_reloads_is_told() {
    let place = Place::new();
    let run = begin(&place, &[]);
    let mut asked = ask(&place, &["reload", "--at", "run"]);
    end_while_one_leaves(&place, run);
    is_told(&place, &mut asked.0);
}

fn who_asks_by_the_page_is_told() {
    let place = Place::new();
    let options = ["--web", "127.0.0.1:0", "--web-token-file", "token"];
    let run = begin(&place, &options);
    let said = fs::read_to_string(place.path("stderr")).unwrap();
    let (_, host) = said.split_once("the page is at http://").unwrap();
    let (host, _) = host.split_once('/').unwrap();
    let token = fs::read_to_string(place.path("token")).unwrap();
    let body = "count=1";
    let mut page = TcpStream::connect(host).unwrap();
    page.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        page,
        "POST /act/scale HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token.trim(),
        body.len()
    )
    .unwrap();
    end_while_one_leaves(&place, run);
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("Not done: {WHY}")), "{answer}");
}

fn attached_programs_are_told() {
    let place = Place::new();
    let fault = "one too many while a client waits for the end";
    let mut owner = owner(&place, ("DISHRACK_FAULT", fault));
    let attach = || JoinableQueue::<u32>::attach(place.path("s")).unwrap();
    let (queue, other) = (attach(), attach());
    let held = queue.get_timeout(DEADLINE).unwrap();
    let check = |error: Error| {
        assert!(error.is_inconsistent(), "{error}");
        assert!(error.to_string().contains(WHY), "{error}");
    };
    let (says, said) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let getting = scope.spawn(|| {
            says.send(gettid()).unwrap();
            other.get_timeout(DEADLINE).unwrap_err()
        });
        let stat = format!("/proc/self/task/{}/stat", said.recv().unwrap());
        until("it waits for an item", || {
            let stat = fs::read_to_string(&stat).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('S')
        });
        check(queue.join_timeout(DEADLINE).unwrap_err());
        check(getting.join().unwrap());
    });
    drop(held);
    // So is the program itself.
    let line = owner.line().unwrap();
    assert!(line.contains(WHY), "{line}");
    drop(owner.child.stdin.take());
    assert!(owner.exit().success());
}
