//! `--otlp` on a stream: whoever puts sends the span of that, and whoever works links to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::{GATE, Run, STREAM, Said, Stage, said, supervisor};
use crate::collector::{Collector, Ids, Span, nowhere};
use crate::deadline::until;

crate::timely_trials!(
    every_attempt_links_to_the_put_of_its_item_whoever_works_on_it,
    what_was_given_back_or_retried_links_to_its_put,
    a_whole_run_has_spans_of_its_puts_and_links_to_those_of_others,
    the_ids_of_a_put_are_those_that_are_written_down,
    streams_of_one_name_have_no_ids_in_common,
    a_put_without_a_collector_says_what_was_lost,
    a_put_whose_collector_does_not_answer_ends_by_a_signal,
    spans_of_what_is_put_on_a_run_are_asked_of_the_run,
);

/// Lets spans be sent as soon as they are made.
fn hasty(mut command: Command) -> Command {
    command
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .env_remove("OTEL_SERVICE_NAME");
    command
}

fn put(stage: &Stage, url: &str, items: &[&str]) -> Said {
    let options = ["--otlp", url, ":::"];
    said(hasty(
        stage.supervisor("put", &[&options[..], items].concat()),
    ))
}

/// Starts a supervisor, of one worker if `options` do not say otherwise. An item `bad` fails, and one that begins with `held` waits at the gate.
fn work(stage: &Stage, url: &str, options: &[&str]) -> Run {
    let script =
        format!("case $0 in held*) touch begun-$0; exec flock -s {GATE} true;; bad) exit 1;; esac");
    let own = ["-w", "1", "--otlp", url, "--format", "json"];
    let command = ["--", "sh", "-c", &script, "{}"];
    let arguments = [&own[..], options, &command].concat();
    Run::of(hasty(stage.supervisor("work", &arguments)))
}

/// Returns the ids of the only put of each item, by its number.
fn puts(collector: &mut Collector) -> BTreeMap<String, Ids> {
    let spans = collector.named("put jobs");
    let puts: BTreeMap<String, Ids> = spans
        .iter()
        .map(|span| (span.has("messaging.message.id").to_owned(), span.id.clone()))
        .collect();
    assert_eq!(puts.len(), spans.len(), "an item has two puts: {spans:?}");
    let ids: BTreeSet<&Ids> = puts.values().collect();
    assert_eq!(
        ids.len(),
        puts.len(),
        "two puts have the same ids: {puts:?}"
    );
    for span in &spans {
        // SPAN_KIND_PRODUCER.
        assert_eq!(span.kind, 4);
        assert_eq!(span.has("messaging.destination.name"), STREAM);
        assert_eq!(span.has("messaging.operation.type"), "send");
    }
    puts
}

/// Checks that each attempt links to the put of its item, and returns them.
fn linked(collector: &mut Collector) -> Vec<Span> {
    let puts = puts(collector);
    let spans = collector.named("process jobs");
    for span in &spans {
        let put = &puts[span.has("messaging.message.id")];
        assert_eq!(span.links, std::slice::from_ref(put), "{span:?}");
        assert_ne!(span.id.0, put.0, "an attempt is a trace of its own");
        // SPAN_KIND_CONSUMER.
        assert_eq!(span.kind, 5);
        assert_eq!(span.has("messaging.destination.name"), STREAM);
    }
    spans
}

/// Returns the attempts at this item.
fn attempts(spans: &[Span], item: &str) -> Vec<u64> {
    let of_item = spans
        .iter()
        .filter(|span| span.has("dishrack.item") == item);
    of_item
        .map(|span| span.has("dishrack.attempt").parse().unwrap())
        .collect()
}

fn every_attempt_links_to_the_put_of_its_item_whoever_works_on_it() {
    let (stage, mut collector) = (Stage::new(), Collector::start());
    let gate = stage.gate();
    let url = collector.url.clone();
    let items = ["bad", "quick", "held-1", "held-2", "late"];
    put(&stage, &url, &items)
        .ends(0)
        .tells("5 items put on stream jobs");
    assert_eq!(puts(&mut collector).len(), 5);
    let options = ["--lease", "1s", "--max-attempts", "2", "--backoff", "0s"];
    let first = work(&stage, &url, &options);
    until("the first one waits at the gate", || {
        stage.path("begun-held-1").exists()
    });
    until("the spans of what it has done are there", || {
        let spans = collector.named("process jobs");
        attempts(&spans, "bad") == [1, 2] && attempts(&spans, "quick") == [1]
    });
    // It has a worker for each item that waits at the gate.
    let more = ["-w", "2", "--until-done"];
    let mut second = work(&stage, &url, &[&options[..], &more].concat());
    until("the second one is there", || {
        stage.status()["supervisors"].as_array().unwrap().len() == 2
    });
    std::fs::remove_file(stage.path("begun-held-1")).unwrap();
    first.kill();
    until("the second one has it", || {
        stage.path("begun-held-1").exists()
    });
    gate.open();
    while second.line().is_some() {}
    let (code, err) = second.end();
    assert_eq!(code, Some(0), "{err}");
    let spans = linked(&mut collector);
    // What the killed one had in hand has no end there, and no span.
    for (item, expected) in items.into_iter().zip([&[1, 2][..], &[1], &[1], &[1], &[1]]) {
        assert_eq!(attempts(&spans, item), expected, "{item}: {spans:?}");
    }
    let worker = |item: &str| {
        let span = spans.iter().find(|span| span.has("dishrack.item") == item);
        span.unwrap().has("dishrack.worker.pid")
    };
    assert_ne!(worker("bad"), worker("held-1"), "both have worked");
}

fn what_was_given_back_or_retried_links_to_its_put() {
    let (stage, mut collector) = (Stage::new(), Collector::start());
    let url = collector.url.clone();
    put(&stage, &url, &["bad"]).ends(0);
    let entry = || stage.redis_cli(&["xrange", STREAM, "-", "+"]);
    let before = entry();
    let before = before.lines().next().unwrap();
    // It rests there, and is given back by a stop.
    let mut first = work(&stage, &url, &["--max-attempts", "3", "--backoff", "1h"]);
    first.await_event("retry");
    first.signal(Signal::SIGTERM);
    while first.line().is_some() {}
    first.end();
    assert_ne!(entry().lines().next(), Some(before), "it is another entry");
    let rest = || {
        let options = ["--max-attempts", "3", "--backoff", "0s", "--until-done"];
        let mut rest = work(&stage, &url, &options);
        while rest.line().is_some() {}
        assert_eq!(rest.end().0, Some(1));
    };
    rest();
    stage.say("dead retry", &["--all"]).ends(0);
    rest();
    let spans = linked(&mut collector);
    assert_eq!(puts(&mut collector).len(), 1);
    assert_eq!(attempts(&spans, "bad"), [1, 2, 3, 4, 5, 6]);
}

fn a_whole_run_has_spans_of_its_puts_and_links_to_those_of_others() {
    let (stage, mut collector) = (Stage::new(), Collector::start());
    let gate = stage.gate();
    let url = collector.url.clone();
    let options = ["-w", "1", "--otlp", &url];
    let script = format!("exec flock -s {GATE} echo $0");
    let command = ["--", "sh", "-c", &script, "{}", ":::", "a", "b"];
    let run = hasty(stage.supervisor("", &[&options[..], &command].concat()));
    let mut run = Run::of(run);
    stage.await_status("unfinished", 2);
    put(&stage, &url, &["c"]).ends(0);
    // This one makes no span of its put, so the link leads nowhere.
    stage.redis_cli(&["xadd", STREAM, "*", "item", "d"]);
    gate.open();
    assert_eq!(run.rest(), ["a", "b", "c", "d"]);
    assert_eq!(run.end().0, Some(0));
    let puts = puts(&mut collector);
    assert_eq!(puts.keys().collect::<Vec<_>>(), ["1", "2", "3"]);
    for span in collector.named("process jobs") {
        let put = puts.get(span.has("messaging.message.id"));
        match span.has("dishrack.item") {
            "d" => assert_eq!((put, span.links.len()), (None, 1)),
            _ => assert_eq!(span.links, [put.unwrap().clone()]),
        }
    }
}

/// What docs/events.md has for a shell.
fn the_ids_of_a_put_are_those_that_are_written_down() {
    let (stage, mut collector) = (Stage::new(), Collector::start());
    put(&stage, &collector.url.clone(), &["a", "b"]).ends(0);
    let mark = stage.redis_cli(&["hget", &format!("{{{STREAM}}}:meta"), "born"]);
    for (number, (trace, span)) in puts(&mut collector) {
        let mut sum = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("{mark}:{number}");
        sum.stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let digest = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!((&*trace, &*span), (&digest[..32], &digest[32..48]));
    }
}

fn streams_of_one_name_have_no_ids_in_common() {
    let mut collector = Collector::start();
    for _ in 0..2 {
        put(&Stage::new(), &collector.url.clone(), &["a"]).ends(0);
    }
    let [one, other] = collector.named("put jobs").try_into().unwrap();
    assert_eq!(
        one.has("messaging.message.id"),
        other.has("messaging.message.id")
    );
    assert!(one.id.0 != other.id.0 && one.id.1 != other.id.1);
}

fn a_put_without_a_collector_says_what_was_lost() {
    let stage = Stage::new();
    put(&stage, &nowhere(), &["a", "b"])
        .ends(0)
        .tells("2 items put on stream jobs")
        .tells("2 of 2 spans did not reach http://127.0.0.1:");
    assert_eq!(stage.status()["unfinished"], 2);
}

fn a_put_whose_collector_does_not_answer_ends_by_a_signal() {
    let (stage, collector) = (Stage::new(), Collector::silent());
    let mut command = stage.supervisor("put", &["--otlp", &collector.url]);
    command.stdin(Stdio::piped());
    let mut put = Run::of(hasty(command));
    put.tell("a\n");
    stage.await_status("unfinished", 1);
    put.signal(Signal::SIGTERM);
    let (code, err) = put.end();
    assert_eq!(code, Some(128 + 15), "{err}");
    assert!(err.contains("1 item put on stream jobs"), "{err}");
    // That is said after five seconds, for which it does not wait.
    assert!(!err.contains("did not reach"), "{err}");
}

fn spans_of_what_is_put_on_a_run_are_asked_of_the_run() {
    let mut command = supervisor();
    command.args([
        "put",
        "--at",
        "any",
        "--otlp",
        "http://127.0.0.1:4318",
        ":::",
        "a",
    ]);
    said(command).is_refused("give --otlp to the run");
}
