//! `--worker`: processes that stay and serve items as JSON requests.

use nix::sys::signal::Signal;

use super::{Place, read_pid, stderr, stdout};
use crate::support::{is_alive, named, send, until};

crate::trials!(
    one_process_serves_many_items,
    an_exit_code_is_a_failed_attempt,
    an_answer_that_is_no_json_has_its_process_replaced,
    an_answer_to_another_request_has_its_process_replaced,
    a_process_that_dies_with_an_item_is_replaced,
    a_process_that_dies_without_an_item_costs_no_item,
    a_process_that_hangs_is_replaced_after_the_time_limit,
    a_process_that_never_answers_ends_the_run,
    a_process_sees_the_end_of_its_stdin_and_may_clean_up,
    items_that_are_no_text_fail,
);

/// A worker in shell: it answers with its pid, and does what the first argument says.
const WORKER: &[u8] = br#"#!/bin/sh
say() { printf '%s\n' "$1"; }
echo "$$" >> started
while read -r request; do
    id=${request#*\"requestId\":}; id=${id%%,*}
    case $request in
    *'["fail"]'*) say "{\"requestId\":$id,\"exitCode\":4,\"output\":\"why\"}";;
    *'["junk"]'*) test -e junk && say "{\"requestId\":$id}" || { touch junk; echo 'no json'; };;
    *'["other"]'*) test -e other && say "{\"requestId\":$id}" || { touch other; say '{"requestId":99}'; };;
    *'["die"]'*) test -e die && say "{\"requestId\":$id}" || { touch die; exit 3; };;
    *'["hang"]'*) test -e hang && say "{\"requestId\":$id}" || { touch hang; read x < never; };;
    *) say "{\"requestId\":$id,\"output\":\"$$ $id\n\"}";;
    esac
done
echo end > end
"#;

fn with_worker() -> Place {
    let place = Place::new();
    place.write("worker.sh", WORKER);
    place
}

const SERVE: [&str; 4] = ["-w", "1", "--worker", "sh worker.sh"];

/// The run's causes of retries; all items are done in the end.
fn causes(place: &Place, items: &[&str], more: &[&str]) -> Vec<String> {
    let again = ["--max-attempts", "2"];
    let arguments = [&SERVE[..], &again, more, &["--", ":::"], items].concat();
    let (events, status) = place.watch(&arguments).finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(named(&events, "summary")[0]["done"], items.len());
    let retries = named(&events, "retry");
    let causes = retries.iter().map(|retry| retry["cause"].as_str().unwrap());
    causes.map(String::from).collect()
}

fn starts(place: &Place) -> usize {
    place.text("started").lines().count()
}

fn one_process_serves_many_items() {
    let place = with_worker();
    let output = place.run(&[&SERVE[..], &["-k"]].concat(), b"a\nb\nc d\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let pid = place.text("started");
    let pid = pid.trim();
    assert_eq!(stdout(&output), format!("{pid} 1\n{pid} 2\n{pid} 3\n"));
}

fn an_exit_code_is_a_failed_attempt() {
    let place = with_worker();
    let arguments = [&SERVE[..], &["--max-attempts", "1", "--joblog", "log"]].concat();
    let output = place.run(&arguments, b"fail\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let told = "fail: given up on after 1 attempt (exited with code 4: why)\nwhy";
    assert!(stderr(&output).starts_with(told), "{}", stderr(&output));
    assert_eq!(place.joblog("log")[0][6], "4");
    assert_eq!(starts(&place), 1);
}

fn an_answer_that_is_no_json_has_its_process_replaced() {
    let place = with_worker();
    let causes = causes(&place, &["a", "junk", "b"], &[]);
    assert_eq!(causes.len(), 1);
    assert!(
        causes[0].starts_with("its process answered \"no json\""),
        "{causes:?}"
    );
    assert_eq!(starts(&place), 2);
}

fn an_answer_to_another_request_has_its_process_replaced() {
    let place = with_worker();
    let causes = causes(&place, &["a", "other", "b"], &[]);
    assert_eq!(causes, ["its process answered request 99 instead of 2"]);
    assert_eq!(starts(&place), 2);
}

fn a_process_that_dies_with_an_item_is_replaced() {
    let place = with_worker();
    let causes = causes(&place, &["a", "die", "b"], &[]);
    assert_eq!(
        causes,
        ["its process ended without an answer: exited with code 3"]
    );
    assert_eq!(starts(&place), 2);
}

fn a_process_that_dies_without_an_item_costs_no_item() {
    let place = with_worker();
    place.gate("items");
    let arguments = [&SERVE[..], &["--input", "items"]].concat();
    let mut run = place.watch(&arguments);
    let mut items = std::fs::File::create(place.path("items")).unwrap();
    std::io::Write::write_all(&mut items, b"a\n").unwrap();
    run.await_event("done");
    let pid = read_pid(&place.path("started"));
    send(pid, Signal::SIGKILL);
    until("it has ended", || !is_alive(pid));
    std::io::Write::write_all(&mut items, b"b\n").unwrap();
    drop(items);
    let (events, status) = run.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(named(&events, "summary")[0]["retries"], 0);
    assert_eq!(starts(&place), 2);
}

fn a_process_that_hangs_is_replaced_after_the_time_limit() {
    let place = with_worker();
    place.gate("never");
    let causes = causes(&place, &["a", "hang", "b"], &["--timeout", "2s"]);
    assert_eq!(causes, ["took longer than its time limit of 2s"]);
    assert_eq!(starts(&place), 2);
}

fn a_process_that_never_answers_ends_the_run() {
    let place = Place::new();
    let items: String = (0..100).map(|n| format!("{n}\n")).collect();
    let arguments = [
        "-w",
        "1",
        "--max-restarts",
        "4",
        "--worker",
        "sh -c 'exit 3'",
    ];
    let output = place.run(&arguments, items.as_bytes());
    assert_eq!(output.status.code(), Some(3));
    let why = "no workers left (5 times: its process ended before it ever answered: \
               exited with code 3)";
    assert!(stderr(&output).contains(why), "{}", stderr(&output));
}

fn a_process_sees_the_end_of_its_stdin_and_may_clean_up() {
    let place = with_worker();
    let output = place.run(&SERVE, b"a\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(place.text("end"), "end\n");
}

fn items_that_are_no_text_fail() {
    let place = with_worker();
    let arguments = [&SERVE[..], &["--max-attempts", "1"]].concat();
    let output = place.run(&arguments, b"\xff\na\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is not UTF-8, as JSON must be"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("1 of 2 jobs done, 1 dead"));
}
