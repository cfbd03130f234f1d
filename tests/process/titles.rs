//! What `ps` shows: a line for the supervisor with its counts, one for each worker with its state.

use std::fs;

use crate::support::{Run, pid_of, until};

crate::trials!(
    ps_shows_what_everybody_is_doing,
    forked_workers_have_titles_too,
);

fn args(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.trim_end_matches('\0').trim_end().to_owned()
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap()
        .trim_end()
        .to_owned()
}

fn ps_shows_what_everybody_is_doing() {
    look(&[]);
}

fn forked_workers_have_titles_too() {
    look(&["--start-method", "fork"]);
}

fn look(more: &[&str]) {
    let mut arguments = vec!["-w", "2", "--dishes", "2", "--wash", "10ms", "--dry", "1s"];
    arguments.extend(more);
    let mut run = Run::supervisor(&arguments);
    let idle = run.await_event("worker_started");
    let (idle_pid, name) = (pid_of(&idle), idle["worker"].as_str().unwrap().to_owned());
    assert_eq!(comm(idle_pid), name);
    until("the supervisor shows its counts", || {
        args(run.pid()).starts_with("supervisor 0 of 2 done, 0 dead, ")
    });
    for _ in 0..2 {
        let drying = run.await_event("drying");
        let (pid, worker) = (pid_of(&drying), drying["worker"].as_str().unwrap());
        let expected = format!("{worker} drying {}", drying["item"].as_str().unwrap());
        until("the worker shows its dish", || args(pid) == expected);
        assert_eq!(comm(pid), worker);
    }
    let done = run.await_event("done");
    until("the worker is idle again", || {
        // It ends soon after the other one is done.
        let idle = format!("{} idle", done["worker"].as_str().unwrap());
        fs::exists(format!("/proc/{}", pid_of(&done))).unwrap() && args(pid_of(&done)) == idle
    });
    until("the supervisor counts it", || {
        args(run.pid()).contains("1 of 2 done")
    });
    assert_eq!(comm(run.pid()), "supervisor");
    assert_eq!(run.finish().1.code(), Some(0));
}
