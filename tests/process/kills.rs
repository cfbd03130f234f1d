//! Workers that are killed, crash or end at work: no item is lost, and each death is reported.

use dishrack::{Cause, Exit, JoinableQueue, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use crate::nine_failures::history_of_a_crash;
use crate::roles::{self, Work};
use crate::said::words;
use crate::support::{DEADLINE, Run, named, pid_of, send};

crate::trials! {
    dryers_killed_again_and_again_lose_no_dish => kill_again_and_again("spawn"),
    forked_dryers_killed_again_and_again_lose_no_dish => kill_again_and_again("fork"),
    a_dish_that_always_kills_its_dryer_becomes_a_dead_letter,
    a_crash_is_told_with_its_signal,
    an_exit_is_told_with_its_code,
    items_only_prefetched_are_not_charged,
    an_item_that_ruins_its_workers_files_becomes_a_dead_letter,
    results_and_errors_tell_what_became_of_each_item,
}

const DISHES: usize = 200;

/// Kills the dryer of each twentieth dish: about every 100 ms, with two dryers at 10 ms a dish.
fn kill_again_and_again(method: &str) {
    let mut run = Run::supervisor(&words(&format!(
        "--workers 2 --dishes 200 --wash 0s --dry 10ms --start-method {method}"
    )));
    let mut killed = 0;
    let mut drying = 0;
    let mut events = Vec::new();
    while let Some(event) = run.event() {
        if event["event"] == "drying" {
            drying += 1;
            if drying % 20 == 0 {
                send(pid_of(&event), Signal::SIGKILL);
                killed += 1;
            }
        }
        events.push(event);
    }
    assert_eq!(run.exit().code(), Some(0));
    let summary = named(&events, "summary")[0];
    assert_eq!(summary["accepted"], DISHES);
    assert_eq!(summary["done"], DISHES);
    assert_eq!(named(&events, "done").len(), DISHES);
    let deaths = named(&events, "worker_exited");
    let deaths = deaths
        .iter()
        .filter(|event| event["signal"] == "SIGKILL")
        .count();
    assert!(
        killed >= 10 && deaths > 0,
        "{killed} kills, {deaths} deaths"
    );
    let retries = named(&events, "retry");
    assert!(!retries.is_empty());
    assert!(
        retries
            .iter()
            .all(|retry| retry["cause"] == "killed by SIGKILL")
    );
    assert_eq!(summary["retries"], retries.len());
    // The last kill may come when no dish is left that would need a new dryer.
    let restarts = usize::try_from(summary["restarts"].as_u64().unwrap()).unwrap();
    assert!(
        restarts <= deaths && restarts + 2 >= deaths,
        "{restarts} of {deaths}"
    );
}

fn a_dish_that_always_kills_its_dryer_becomes_a_dead_letter() {
    let mut run = Run::supervisor(&["-w", "2", "--dishes", "20", "--wash", "0", "--dry", "50ms"]);
    let mut events = Vec::new();
    while let Some(event) = run.event() {
        if event["event"] == "drying" && event["item"] == "dish-3" {
            send(pid_of(&event), Signal::SIGKILL);
        }
        events.push(event);
    }
    assert_eq!(run.exit().code(), Some(1));
    let dead = named(&events, "dead");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0]["item"], "dish-3");
    assert_eq!(dead[0]["attempts"], 3);
    assert_eq!(dead[0]["cause"], "killed by SIGKILL");
    let summary = named(&events, "summary")[0];
    assert_eq!(
        (&summary["done"], &summary["dead"]),
        (&19.into(), &1.into())
    );
    let holding = named(&events, "worker_exited");
    assert_eq!(
        holding
            .iter()
            .filter(|event| event["holding"] == "dish-3")
            .count(),
        3
    );
}

fn a_crash_is_told_with_its_signal() {
    let expected = Cause::WorkerDied(Exit::Signaled(Signal::SIGABRT as i32));
    assert_eq!(
        history_of_a_crash(),
        [expected.clone(), expected.clone(), expected]
    );
}

fn an_exit_is_told_with_its_code() {
    let queue = JoinableQueue::unbounded();
    let _pool = roles::start(&queue, 1).unwrap();
    queue.put(&Work::Exit(300)).unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().dead, 1);
    let letters = queue.take_dead_letters().unwrap();
    // As for Python's processes: the low eight bits.
    assert_eq!(
        letters[0].history[2].cause,
        Cause::WorkerDied(Exit::Exited(44))
    );
}

/// A worker with a batch of items crashes at one of them: that one is charged.
fn items_only_prefetched_are_not_charged() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let queue = JoinableQueue::unbounded();
        for n in 0..5000 {
            let work = if n % 1000 == 999 {
                Work::Exit(1)
            } else {
                Work::Nothing
            };
            queue.put(&work).unwrap();
        }
        let builder = Supervisor::builder().processes(2).start_method(method);
        let _pool = builder.handler(&queue, roles::work).unwrap();
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (4995, 5));
        let counts = queue.counts().unwrap();
        assert_eq!(counts.retries, 10, "two retries for each of the five");
    }
}

fn results_and_errors_tell_what_became_of_each_item() {
    let queue = JoinableQueue::bounded(10);
    let pool = roles::start(&queue, 2).unwrap();
    let works = vec![
        Work::Carry(vec![0; 7]),
        Work::Exit(9),
        Work::Carry(vec![0; 9]),
    ];
    let results: Vec<_> = pool.map(works).collect();
    assert_eq!(results[0].as_ref().unwrap(), &7);
    assert_eq!(results[2].as_ref().unwrap(), &9);
    let error = results[1].as_ref().unwrap_err().to_string();
    assert_eq!(error, "item 2 failed 3 times, at last: exited with code 9");
}

/// The handler returns, but its worker cannot report it any more.
fn an_item_that_ruins_its_workers_files_becomes_a_dead_letter() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(1).start_method(method);
        let _pool = builder.handler(&queue, roles::work).unwrap();
        for work in [Work::Nothing, Work::CloseFiles, Work::Nothing] {
            queue.put(&work).unwrap();
        }
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (2, 1));
    }
}
