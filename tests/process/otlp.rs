//! `--otlp`: what a collector gets of a run, and what becomes of a run whose collector gets nothing.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::collector::{Collector, nowhere};
use crate::said::{Said, sh};

crate::trials! {
    a_collector_gets_a_span_of_each_put_and_attempt,
    a_later_run_of_a_journal_links_to_the_puts_of_the_one_before,
    spans_that_are_not_sampled_are_not_missed,
    a_run_without_a_collector_does_its_work_and_says_what_was_lost,
    a_collector_that_does_not_answer_holds_up_nothing,
}

fn command(url: &str, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let options = format!("--otlp {url} -w 1 {options}");
    command
        .args(sh(&options, "test $0 != bad", "{} ::: good bad"))
        .env_remove("OTEL_SERVICE_NAME")
        .stdin(Stdio::null());
    command
}

fn said(command: &mut Command) -> Said {
    let output: Output = command.output().unwrap();
    output.into()
}

fn run(url: &str, options: &str) -> Said {
    said(&mut command(url, options))
}

fn a_collector_gets_a_span_of_each_put_and_attempt() {
    let mut collector = Collector::start();
    run(&collector.url, "--max-attempts 2 --backoff 0s").ends(1);
    let puts = collector.named("put jobs");
    let processes = collector.named("process jobs");
    let all = collector.spans();
    assert_eq!(
        (puts.len(), processes.len(), all.len()),
        (2, 3, 5),
        "{all:?}"
    );
    // SPAN_KIND_PRODUCER and SPAN_KIND_CONSUMER.
    assert!(puts.iter().all(|span| span.kind == 4));
    assert!(processes.iter().all(|span| span.kind == 5));
    let told: Vec<_> = processes
        .iter()
        .map(|span| {
            let attempt = span.has("dishrack.attempt");
            (span.has("dishrack.item"), attempt, span.status.0)
        })
        .collect();
    // STATUS_CODE_ERROR is 2.
    assert_eq!(told, [("good", "1", 0), ("bad", "1", 2), ("bad", "2", 2)]);
    assert_eq!(processes[1].status.1, "exited with code 1");
    for span in &processes {
        let put = puts
            .iter()
            .find(|put| put.has("messaging.message.id") == span.has("messaging.message.id"));
        let put = put.unwrap();
        assert_eq!(span.links, std::slice::from_ref(&put.id));
        assert!(put.to <= span.from && span.from <= span.to, "{all:?}");
        for (name, value) in [
            ("messaging.system", "dishrack"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "jobs"),
        ] {
            assert_eq!(span.has(name), value);
        }
    }
}

/// The item is put by the first run, and worked on by both.
fn a_later_run_of_a_journal_links_to_the_puts_of_the_one_before() {
    let mut collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    let run = |folder: &Path| {
        let options = "--journal j --max-attempts 1";
        said(command(&collector.url, options).current_dir(folder)).ends(1);
    };
    run(folder.path());
    let mut retry = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    retry.args(["dead", "retry", "--journal", "j", "--all"]);
    said(retry.current_dir(&folder)).ends(0);
    run(folder.path());
    let puts = collector.named("put jobs");
    assert_eq!(puts.len(), 2, "{puts:?}");
    let processes = collector.named("process jobs");
    let bad: Vec<_> = processes
        .iter()
        .filter(|span| span.has("dishrack.item") == "bad")
        .collect();
    assert_eq!(bad.len(), 2, "{processes:?}");
    let put = puts
        .iter()
        .find(|put| put.has("messaging.message.id") == bad[0].has("messaging.message.id"));
    let put = &put.unwrap().id;
    assert!(
        bad.iter()
            .all(|span| span.links == std::slice::from_ref(put))
    );
}

fn spans_that_are_not_sampled_are_not_missed() {
    let mut collector = Collector::start();
    let mut command = command(&collector.url, "--max-attempts 1");
    said(command.env("OTEL_TRACES_SAMPLER", "always_off"))
        .ends(1)
        .hides("did not reach");
    assert_eq!(collector.spans().len(), 0);
}

fn a_run_without_a_collector_does_its_work_and_says_what_was_lost() {
    let said = run(&nowhere(), "--max-attempts 1");
    said.ends(1)
        .tells("cannot send spans to http://127.0.0.1:")
        .tells("4 of 4 spans did not reach http://127.0.0.1:");
    said.tells("1 of 2 jobs done");
}

fn a_collector_that_does_not_answer_holds_up_nothing() {
    let mut collector = Collector::silent();
    run(&collector.url, "--max-attempts 1")
        .ends(1)
        .tells("4 of 4 spans did not reach http://127.0.0.1:");
    assert!(!collector.spans().is_empty());
}
