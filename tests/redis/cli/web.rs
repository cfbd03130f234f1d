//! `supervisor web` of a stream: what the page shows of it and of all its supervisors, and what its forms do.

use std::io::Write;
use std::net::TcpStream;

use nix::sys::signal::Signal;

use super::{GATE, Run, STREAM, Stage};
use crate::deadline::{DEADLINE, until};
use crate::redis_server::Options;

crate::timely_trials!(
    a_stream_is_shown_with_its_supervisors_and_steered,
    a_worker_is_ended_and_replaced_where_its_supervisor_is,
    items_of_a_stream_are_listed_cancelled_tried_again_and_dropped,
    a_long_list_goes_on_where_it_ended,
    the_chart_has_the_workers_of_all_supervisors,
    a_supervisor_counts_the_waits_of_all_that_it_has_begun,
    the_output_of_an_item_is_that_of_its_run,
    where_nobody_works_that_is_said,
    a_stream_that_is_away_is_told_and_shown_again,
);

const WAIT: [&str; 7] = ["-w", "1", "--", "flock", "-s", GATE, "true"];

/// The page of the stream of a stage.
struct StreamPage {
    run: Run,
    host: String,
}

impl StreamPage {
    fn of(stage: &Stage) -> Self {
        StreamPage::of_run(stage.start("web", &["0"]))
    }

    /// Returns the page that this run serves.
    fn of_run(run: Run) -> Self {
        run.await_err("the page is at http://");
        let said = run.err();
        let (_, host) = said.split_once("the page is at http://").unwrap();
        let host = host.split('/').next().unwrap().to_owned();
        StreamPage { run, host }
    }

    /// Asks for something, and returns the status and the body of the answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (host, length) = (&self.host, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let answer = std::io::read_to_string(stream).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, format!("{head}\r\n\r\n{body}"))
    }

    fn load(&self, path: &str) -> String {
        let (status, page) = self.ask("GET", path, "", "");
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    fn shows(&self, path: &str, words: &[&str]) {
        until(&format!("{path} shows {words:?}"), || {
            let (_, page) = self.ask("GET", path, "", "");
            words.iter().all(|words| page.contains(words))
        });
    }

    /// Presses a button, as somebody who is sure, and returns what is said then.
    fn press(&self, act: &str, fields: &str) -> String {
        let page = self.load("/");
        let between = |from: &str, to: &str| -> String {
            let (_, after) = page.split_once(from).expect(from);
            after.split_once(to).unwrap().0.to_owned()
        };
        let cookie = between("set-cookie: ", ";");
        let token = between("name=\"token\" value=\"", "\"");
        let headers = format!("Cookie: {cookie}\r\n");
        let form = format!("token={token}&sure=yes&back=/&{fields}");
        let (status, answer) = self.ask("POST", &format!("/act/{act}"), &headers, &form);
        assert_eq!(status, 303, "{act}: {answer}");
        let (_, page) = self.ask("GET", "/", &headers, "");
        let (_, said) = page.split_once("role=\"status\">").expect(&page);
        said.split_once("</p>").unwrap().0.to_owned()
    }
}

/// Starts a supervisor, and returns when it has taken something, beside this much.
fn work(stage: &Stage, arguments: &[&str], taken: u64) -> Run {
    let run = stage.start("work", arguments);
    until("it has taken something", || {
        stage.status()["pending"].as_u64() > Some(taken)
    });
    run
}

fn a_stream_is_shown_with_its_supervisors_and_steered() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c", "d"]);
    let works = [work(&stage, &WAIT, 0), work(&stage, &WAIT, 1)];
    let mut page = StreamPage::of(&stage);
    let pids = works.each_ref().map(|run| format!("-{}-", run.pid()));
    page.shows(
        "/",
        &[
            &format!("<strong>{STREAM}</strong>, a stream at redis://"),
            "Waiting</a></dt><dd>2</dd>",
            "With workers</a></dt><dd>2</dd>",
            "Oldest waits for",
            "<h2>Supervisors</h2>",
            &pids[0],
            &pids[1],
        ],
    );
    let names = works.each_ref().map(|run| format!("-{}</td>", run.pid()));
    page.shows("/workers", &[&names[0], &names[1], "items/1", "items/2"]);
    let numbers = page.load("/metrics");
    for line in [
        "dishrack_items{state=\"waiting\"} 2\n",
        "dishrack_workers{state=\"busy\"} 2\n",
        "dishrack_supervisors{state=\"running\"} 2\n",
    ] {
        assert!(numbers.contains(line), "{line}: {numbers}");
    }
    let said = page.press("pause", "");
    assert_eq!(said, "paused: nothing more is begun.");
    assert_eq!(stage.status()["paused"], true);
    page.shows("/", &["paused</span>", "act/resume"]);
    assert_eq!(page.press("resume", ""), "resumed.");
    assert_eq!(stage.status()["paused"], false);
    assert_eq!(page.press("scale", "count=2"), "4 workers.");
    page.shows("/workers", &["4 workers, 4 wanted"]);
    gate.open();
    stage.say("join", &[]).ends(0);
    assert_eq!(page.press("reload", ""), "reloaded: all workers are new.");
    assert_eq!(page.press("stop", ""), "stopped.");
    for mut work in works {
        assert_eq!(work.end().0, Some(143));
    }
    page.shows("/", &["Nobody works on the stream."]);
    let said = page.press("scale", "count=2");
    assert!(
        said.contains("Not done: nobody works on the stream"),
        "{said}"
    );
    page.run.signal(Signal::SIGTERM);
    assert_eq!(page.run.end().0, Some(143));
}

fn a_worker_is_ended_and_replaced_where_its_supervisor_is() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b"]);
    let works = [work(&stage, &WAIT, 0), work(&stage, &WAIT, 1)];
    let page = StreamPage::of(&stage);
    let names = works.each_ref().map(|run| format!("-{}-", run.pid()));
    page.shows("/workers", &[&names[0], &names[1], "act/end-worker"]);
    // The value of the button of this supervisor's worker.
    let worker = |name: &str| -> String {
        let list = page.load("/workers");
        let mut values = list.split("value=\"").skip(1);
        let value = values.find(|value| value.contains(name)).expect(&list);
        value.split_once('"').unwrap().0.to_owned()
    };
    let ended = worker(&names[1]);
    let (supervisor, _) = ended.split_once('/').unwrap();
    let said = page.press("end-worker", &format!("what={ended}"));
    assert_eq!(
        said,
        format!("worker-1 of {supervisor} has ended, and is started again.")
    );
    stage.await_status("retries", 1);

    for (what, why) in [
        (format!("{supervisor}/worker-7"), "there is no such worker"),
        (
            "gone-1-ab/worker-1".to_owned(),
            "gone-1-ab: it is gone, or not heard of any more",
        ),
        ("worker-1".to_owned(), "a stream does not tell that"),
    ] {
        let said = page.press("end-worker", &format!("what={what}"));
        assert!(said.contains("Not done:") && said.contains(why), "{said}");
    }

    gate.open();
    stage.say("join", &[]).ends(0);
    let replaced = worker(&names[0]);
    let said = page.press("replace-worker", &format!("what={replaced}"));
    let (supervisor, _) = replaced.split_once('/').unwrap();
    assert_eq!(said, format!("worker-1 of {supervisor} is replaced."));
    let status = stage.status();
    assert_eq!((&status["done"], &status["dead"]), (&2.into(), &0.into()));
}

fn items_of_a_stream_are_listed_cancelled_tried_again_and_dropped() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["first", "<b>second</b>", "third"]);
    let _work = work(&stage, &WAIT, 0);
    let page = StreamPage::of(&stage);
    page.shows("/items?state=running", &["items/1\"", "first"]);
    let waiting = page.load("/items?state=waiting");
    assert!(
        waiting.contains("&lt;b&gt;second") && !waiting.contains("<b>second"),
        "{waiting}"
    );
    assert!(!waiting.contains("items/1\""), "{waiting}");
    let found = page.load("/items?text=THIRD");
    assert!(
        found.contains("items/3\"") && !found.contains("items/2\""),
        "{found}"
    );
    page.shows("/items/1", &["running", "first", ", at "]);
    assert_eq!(page.ask("GET", "/items/99", "", "").0, 404);
    assert_eq!(page.press("cancel", "what=2"), "Item 2 is cancelled.");
    assert_eq!(page.press("cancel", "what=3"), "Item 3 is cancelled.");
    let dead = page.load("/dead");
    assert!(
        dead.contains("2 dead letters") && dead.contains("cancelled"),
        "{dead}"
    );
    let (_, like) = dead.split_once("value=\"like:").unwrap();
    let like = like.split_once('"').unwrap().0;
    assert_eq!(page.press("retry", "what=2"), "Item 2 is tried again.");
    let said = page.press("drop-all", &format!("what=like:{like}"));
    assert_eq!(said, "Item 3 is dropped.");
    page.shows("/dead", &["There is none."]);
    assert_eq!(stage.status()["unfinished"], 2);
    let done = page.ask("GET", "/items?state=done", "", "");
    assert!(done.0 == 409 && done.1.contains("does not keep items that are done"));
    let said = page.press("cancel", "what=77");
    assert!(said.contains("0 items are cancelled"), "{said}");
}

fn a_long_list_goes_on_where_it_ended() {
    let stage = Stage::new();
    let names: Vec<String> = (1..=250).map(|number| format!("item-{number}")).collect();
    stage.put(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let page = StreamPage::of(&stage);
    let (mut path, mut seen) = ("/items".to_owned(), Vec::new());
    loop {
        let list = page.load(&path);
        let rows = list.split("scope=\"row\">").skip(1);
        seen.extend(rows.map(|row| row.split('<').next().unwrap().to_owned()));
        let Some((_, next)) = list.split_once("<a href=\"items?") else {
            break;
        };
        let next = next.split_once('"').unwrap().0.replace("&amp;", "&");
        path = format!("/items?{next}");
        assert!(path.contains("after="), "{path}");
    }
    assert_eq!(seen, names);
    assert_eq!(page.ask("GET", "/items?after=x", "", "").0, 409);
}

fn the_chart_has_the_workers_of_all_supervisors() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b"]);
    let works = [work(&stage, &WAIT, 0), work(&stage, &WAIT, 1)];
    let page = StreamPage::of(&stage);
    let rows = works
        .each_ref()
        .map(|run| format!("-{} worker-1", run.pid()));
    page.shows("/timeline", &[&rows[0], &rows[1], "items/1\"", "items/2\""]);
}

fn a_supervisor_counts_the_waits_of_all_that_it_has_begun() {
    let stage = Stage::new();
    // They are begun as soon as there is a worker, whether or not anybody can ask.
    stage.put(&["a", "b"]);
    let arguments = ["-w", "1", "--max-attempts", "2", "--backoff", "0"];
    let arguments = [&arguments[..], &["--web", "0", "--", "false"]].concat();
    let own = StreamPage::of_run(stage.start("work", &arguments));
    stage.await_status("dead", 2);
    let numbers = own.load("/metrics");
    for line in [
        "dishrack_items_retried_total 2\n",
        "dishrack_item_wait_seconds_count 4\n",
        "dishrack_item_duration_seconds_count{outcome=\"failed\"} 4\n",
    ] {
        assert!(numbers.contains(line), "{line}: {numbers}");
    }
    // Nobody else knows them.
    let page = StreamPage::of(&stage);
    let numbers = page.load("/metrics");
    assert!(!numbers.contains("_seconds_count"), "{numbers}");
}

fn the_output_of_an_item_is_that_of_its_run() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["said"]);
    let arguments = [
        "-w",
        "1",
        "--",
        "sh",
        "-c",
        "echo it has $0; flock -s gate true",
    ];
    let _work = work(&stage, &arguments, 0);
    let page = StreamPage::of(&stage);
    until("it has written", || {
        page.ask("GET", "/items/1/output", "", "")
            .1
            .ends_with("it has said\n")
    });
    page.shows("/items/1", &["data-follow=\"items/1/follow\""]);
}

fn where_nobody_works_that_is_said() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let page = StreamPage::of(&stage);
    page.shows("/", &["unattended", "Nobody works on the stream."]);
    page.shows("/workers", &["0 workers, 0 wanted"]);
    page.shows("/timeline", &["<h1>Timeline</h1>"]);
    let (status, said) = page.ask("GET", "/items/1/output", "", "");
    assert!(
        status == 404 && said.contains("nobody works on item 1"),
        "{said}"
    );
    // A stream that is not there is told before anything is served.
    let mut command = stage.supervisor("web 0", &[]);
    command.args(["--stream", "other"]);
    let refused = super::said(command);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    let both = stage.say("web 0 --at run", &[]);
    both.ends(2);
    assert!(
        both.err.contains("web is about all of a stream"),
        "{}",
        both.err
    );
}

fn a_stream_that_is_away_is_told_and_shown_again() {
    let stage = Stage::with(Options::default().durable());
    stage.put(&["a"]);
    let page = StreamPage::of(&stage);
    page.shows("/", &["Waiting</a></dt><dd>1</dd>"]);
    stage.server.kill();
    until("that is told", || page.ask("GET", "/", "", "").0 != 200);
    stage.server.restart();
    page.shows("/", &["<h1>Overview</h1>", "Waiting</a></dt><dd>1</dd>"]);
}
