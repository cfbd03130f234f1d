//! Many workers, many restarts: nothing piles up.

use std::collections::HashSet;
use std::fs;

use dishrack::{JoinableQueue, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::said::words;
use crate::support::{Run, named, open_files, pid_of, send, until, zombies_of};

crate::trials! {
    two_hundred_workers_start_work_and_stop => two_hundred("spawn"),
    two_hundred_forked_workers_start_work_and_stop => two_hundred("fork"),
    a_workers_files_do_not_grow_with_its_siblings,
    five_hundred_restarts_leave_nothing_behind,
    too_few_files_are_told_before_anything_is_started,
}

/// Runs until each of the 200 has done something, and then stops them all.
fn two_hundred(method: &str) {
    let mut run = Run::supervisor(&words(&format!(
        "--workers 200 --dishes 1000000 --wash 0 --dry 50ms --start-method {method}"
    )));
    let mut at_work = HashSet::new();
    while at_work.len() < 200 {
        at_work.insert(pid_of(&run.await_event("done")));
    }
    run.signal(Signal::SIGTERM);
    let events = run.ends(143);
    let exited = named(&events, "worker_exited");
    let pids: HashSet<u32> = exited.iter().map(|event| pid_of(event)).collect();
    assert_eq!(pids, at_work);
    assert!(exited.iter().all(|event| event["code"] == 0));
    assert_eq!(named(&events, "summary")[0]["restarts"], 0);
}

fn a_workers_files_do_not_grow_with_its_siblings() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let [few, many] = [1, 40].map(|workers| {
            let queue = JoinableQueue::unbounded();
            let builder = Supervisor::builder()
                .processes(workers)
                .start_method(method);
            let pool = builder.handler(&queue, roles::work).unwrap();
            until("all are ready", || pool.workers().len() == workers);
            let counts = pool.map((0..200).map(|_| Work::CountFiles));
            counts.map(Result::unwrap).max().unwrap()
        });
        assert!(
            many <= few,
            "{method:?}: {many} files with siblings, {few} without"
        );
    }
}

/// It runs in a process of its own, so that its files and children are its own.
fn five_hundred_restarts_leave_nothing_behind() {
    for method in ["spawn", "fork"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args([
            "--format", "json", "-w", "2", "--dishes", "1000000", "--wash", "0",
        ]);
        command.args([
            "--dry",
            "5ms",
            "--max-attempts",
            "1000000",
            // A kill may come between two dishes, and is charged to the dryer then.
            "--max-restarts",
            "1000000",
            "--start-method",
            method,
        ]);
        let mut run = Run::of({
            command.env("TMPDIR", folder.path());
            command
        });
        kill_500_times(&run);
        run.signal(Signal::SIGTERM);
        run.ends(143);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{method}: files left"
        );
    }
}

fn kill_500_times(run: &Run) {
    let mut before = 0;
    for n in 0..520 {
        let event = run.await_event("drying");
        send(pid_of(&event), Signal::SIGKILL);
        run.await_event("worker_started");
        if n == 20 {
            before = open_files(run.pid());
        }
    }
    // Both workers may be between death and restart, or booting.
    until("files are as many as before", || {
        open_files(run.pid()) <= before + 8
    });
    until("no zombies", || zombies_of(run.pid()) == 0);
}

/// One shell makes both runs, so that both inherit the same files. The named number must be enough.
fn too_few_files_are_told_before_anything_is_started() {
    let script = format!(
        "ulimit -n 128
        said=$({binary} --workers 200 2>&1); code=$?
        echo \"$code $said\"
        fit=$(echo \"$said\" | sed 's/.* \\([0-9]*\\) workers would fit.*/\\1/')
        exec {binary} --quiet --wash 0 --dry 0 --workers $fit",
        binary = env!("CARGO_BIN_EXE_supervisor")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = "2 supervisor: 200 workers need ";
    assert!(
        said.starts_with(expected) && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(output.status.code(), Some(0), "{said}");
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.starts_with("4 of 4 dishes done"), "{summary}");
}
