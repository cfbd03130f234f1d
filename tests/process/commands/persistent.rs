//! `--worker`: processes that stay and serve items as JSON requests.

use nix::sys::signal::Signal;

use super::{Place, Said, read_pid};
use crate::support::{is_alive, named, send, until};

crate::trials!(
    one_process_serves_many_items,
    an_exit_code_is_a_failed_attempt,
    an_answer_that_is_no_json_has_its_process_replaced,
    a_process_that_dies_with_an_item_is_replaced,
    a_process_that_dies_without_an_item_costs_no_item,
    a_process_that_hangs_is_replaced_after_the_time_limit,
    a_process_that_never_answers_ends_the_run,
    a_process_sees_the_end_of_its_stdin_and_may_clean_up,
    items_that_are_no_text_fail,
    a_process_that_dies_while_another_one_holds_its_stdout_is_replaced,
    a_process_that_dies_without_reading_is_replaced,
    a_process_that_dies_between_items_is_replaced_whoever_holds_its_stdout,
    what_was_said_before_the_end_counts_whoever_holds_stdout,
    what_a_killed_process_has_started_is_ended,
    a_second_answer_costs_no_item,
    a_line_after_an_answer_costs_no_item,
    a_request_has_no_number,
    a_request_longer_than_a_pipe_arrives,
    an_answer_needs_no_number,
    a_cancelled_request_is_not_done,
    a_banner_is_passed_on_with_advice,
    words_between_answers_are_told_with_advice,
);

/// A worker in shell: it answers with its pid, and obeys the first argument.
const WORKER: &[u8] = br#"#!/bin/sh
say() { printf '%s\n' "$1"; }
echo "$$" >> started
served=0
while read -r request; do
    served=$((served + 1))
    case $request in
    *'["fail"]'*) say '{"exitCode":4,"output":"why"}';;
    *'["junk"]'*) test -e junk && say '{}' || { touch junk; echo 'no json'; };;
    *'["die"]'*) test -e die && say '{}' || { touch die; exit 3; };;
    *'["hang"]'*) test -e hang && say '{}' || { touch hang; read x < never; };;
    *) say "{\"output\":\"$$ $served\n\"}";;
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

/// Returns the run's causes of retries. All items are done in the end.
fn causes(place: &Place, items: &[&str], more: &[&str]) -> Vec<String> {
    let again = ["--max-attempts", "2"];
    let arguments = [&SERVE[..], &again, more, &["--", ":::"], items].concat();
    let events = place.watch(&arguments).ends(0);
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
    output.ends(0);
    let pid = place.text("started");
    let pid = pid.trim();
    output.prints(format!("{pid} 1\n{pid} 2\n{pid} 3\n"));
}

fn an_exit_code_is_a_failed_attempt() {
    let place = with_worker();
    let arguments = [&SERVE[..], &["--max-attempts", "1", "--joblog", "log"]].concat();
    let output = place.run(&arguments, b"fail\n");
    output.ends(1).prints("");
    let told = "fail: given up on after 1 attempt (exited with code 4: why)\nwhy";
    assert!(output.err.starts_with(told), "{}", output.err);
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
    let events = run.ends(0);
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
    output.ends(3);
    let why = "no workers left (5 times: its process ended before it ever answered: \
               exited with code 3)";
    output.tells(why);
}

fn a_process_sees_the_end_of_its_stdin_and_may_clean_up() {
    let place = with_worker();
    place.run(&SERVE, b"a\n").ends(0);
    assert_eq!(place.text("end"), "end\n");
}

fn items_that_are_no_text_fail() {
    let place = with_worker();
    let arguments = [&SERVE[..], &["--max-attempts", "1"]].concat();
    let output = place.run(&arguments, b"\xff\na\n");
    output.ends(1).tells("is not UTF-8, as JSON must be");
    output.tells("1 of 2 jobs done, 1 dead");
}

/// Runs `sh -c script` as the process that serves, for these items.
fn serve(script: &str, more: &[&str], items: &[u8]) -> (Place, Said) {
    let place = Place::new();
    place.write("worker.sh", script.as_bytes());
    let output = place.run(&[&SERVE[..], more].concat(), items);
    (place, output)
}

/// Leaves a process behind at its death, which keeps its stdout open.
const LEAVES_A_HOLDER: &str = "sleep 1000 & exit 3";

fn a_process_that_dies_while_another_one_holds_its_stdout_is_replaced() {
    let script = format!("read -r request; {LEAVES_A_HOLDER}");
    let (_, output) = serve(&script, &["--max-attempts", "1"], b"a\n");
    let why = "its process ended before it ever answered: exited with code 3";
    output.tells(why).ends(1);
}

fn a_process_that_dies_without_reading_is_replaced() {
    // It is more than a pipe holds, and the pipe is held open, too.
    let script = "exec 3<&0; sleep 1000 <&3 & exit 3";
    let item = [&[b'x'; 100_000][..], b"\n"].concat();
    let (_, output) = serve(script, &["--max-attempts", "1"], &item);
    let why = "its process ended before it ever answered: exited with code 3";
    output.tells(why);
}

fn a_process_that_dies_between_items_is_replaced_whoever_holds_its_stdout() {
    let place = Place::new();
    let script = format!("echo $$ >>started; read -r r; echo '{{}}'; {LEAVES_A_HOLDER}");
    place.write("worker.sh", script.as_bytes());
    place.gate("items");
    let mut run = place.watch(&[&SERVE[..], &["--input", "items"]].concat());
    let mut items = std::fs::File::create(place.path("items")).unwrap();
    std::io::Write::write_all(&mut items, b"a\n").unwrap();
    run.await_event("done");
    let pid = read_pid(&place.path("started"));
    until("it has ended", || !is_alive(pid));
    std::io::Write::write_all(&mut items, b"b\n").unwrap();
    drop(items);
    let events = run.ends(0);
    assert_eq!(named(&events, "summary")[0]["retries"], 0);
    assert_eq!(starts(&place), 2);
}

fn what_was_said_before_the_end_counts_whoever_holds_stdout() {
    let script = format!("read -r request; echo '{{\"output\":\"said\"}}'; {LEAVES_A_HOLDER}");
    let (_, output) = serve(&script, &[], b"a\n");
    output.ends(0).prints("said");
}

/// A process is killed with an item, and not what it has started, which has its lock as well.
fn what_a_killed_process_has_started_is_ended() {
    let script = "exec 9>lock; flock -n 9 || exit 9
        sleep 1000 & echo $! >>left
        while read -r request; do
            case $request in
            *'[\"b\"]'*) test -e again || { : >again; kill -9 $$; };;
            esac
            echo '{}'
        done";
    let (place, output) = serve(script, &[], b"a\nb\nc\n");
    output.ends(0);
    let left = place.text("left");
    assert_eq!(left.lines().count(), 2, "{left}");
    for pid in left.lines() {
        until("it has ended", || !is_alive(pid.parse().unwrap()));
    }
}

/// Returns a script that answers items with their number. When the next request, or the end, has
/// come, it prints `words` before it takes that.
fn says_late(words: &str) -> String {
    // Only bash can look for waiting input.
    format!(
        r#"exec bash -c '
        served=0
        while read -r request; do
            served=$((served + 1))
            echo "{{\"output\":\"$served\"}}"
            until read -t 0; do sleep 0.01; done
            echo "$0"
        done' '{words}'"#
    )
}

fn a_second_answer_costs_no_item() {
    let script = says_late(r#"{"exitCode":7,"output":"late"}"#);
    let (_, output) = serve(&script, &["-k", "--max-attempts", "1"], b"a\nb\nc\n");
    output.ends(0).prints("123");
    let told = &output.err;
    assert_eq!(told.matches("one answer a request").count(), 1, "{told}");
}

fn a_line_after_an_answer_costs_no_item() {
    let script = says_late("finished with it");
    let (_, output) = serve(&script, &["-k", "--max-attempts", "1"], b"a\nb\nc\n");
    output.ends(0).prints("123");
    let told = &output.err;
    assert_eq!(told.matches("stdout is for answers").count(), 1, "{told}");
}

fn a_request_has_no_number() {
    let script = r#"while read -r request; do echo "$request" >>requests; echo '{}'; done"#;
    let (place, output) = serve(script, &[], b"a\nb c\n");
    output.ends(0);
    let expected =
        "{\"arguments\":[\"a\"],\"inputs\":[]}\n{\"arguments\":[\"b c\"],\"inputs\":[]}\n";
    assert_eq!(place.text("requests"), expected);
}

fn a_request_longer_than_a_pipe_arrives() {
    let script = r#"while IFS= read -r request; do echo "{\"output\":\"${#request} \"}"; done"#;
    let item = [&[b'x'; 200_000][..], b"\n"].concat();
    let (_, output) = serve(script, &["-k"], &[&b"a\n"[..], &item, b"b\n"].concat());
    output.ends(0).prints("31 200030 31 ");
}

fn an_answer_needs_no_number() {
    let script = r#"
    echo $$ >>started
    while read -r request; do
        echo '{}'; read -r request
        echo '{"exitCode":0,"output":"x"}'; read -r request
        echo '{"requestId":0,"output":"y"}'; read -r request
        echo '{"requestId":9,"output":"z"}'; read -r request
        echo '{"requestId":null,"exitCode":4,"output":"why"}'
    done"#;
    let (place, output) = serve(script, &["-k", "--max-attempts", "1"], b"a\nb\nc\nd\ne\n");
    output.ends(1).prints("xyz");
    let told = "e: given up on after 1 attempt (exited with code 4: why)";
    output.tells(told);
    assert_eq!(starts(&place), 1);
}

fn a_cancelled_request_is_not_done() {
    let script = r#"
    echo $$ >>started
    while read -r request; do echo '{"wasCancelled":true}'; done"#;
    let (place, output) = serve(script, &["--max-attempts", "1"], b"a\nb\n");
    output.ends(1);
    let why = "its process answered that the request was cancelled";
    output.tells(why);
    assert_eq!(starts(&place), 1);
}

fn a_banner_is_passed_on_with_advice() {
    let script = r#"
    echo 'Loading the model'
    echo '{"level":"info","message":"loaded"}'
    while read -r request; do echo '{"output":"x"}'; done"#;
    let (_, output) = serve(script, &["--max-attempts", "1"], b"a\nb\n");
    output.ends(0).prints("xx").tells("stdout is for answers");
    output.tells("\"message\":\"loaded\"");
}

fn words_between_answers_are_told_with_advice() {
    let script = r#"
    while read -r request; do
        test -e first && echo 'working'
        echo >first
        echo '{"output":"x"}'
    done"#;
    let (_, output) = serve(script, &["--max-attempts", "1", "-k"], b"a\nb\n");
    output.ends(1).prints("x");
    let told = &output.err;
    let why = "its process answered \"working\"";
    assert!(
        told.contains(why) && told.contains("stdout is for answers"),
        "{told}"
    );
}
