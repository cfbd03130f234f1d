//! A kill at every step of a putting, working or supervising process: one run for each point until
//! no point is left. Afterwards the same program is run again, like by its user, and nothing may be
//! lost, done after it was reported done, or reported twice.
//!
//! The points need the feature `failpoints`; without it there is nothing to run.

mod commands;
mod diary;
mod plays;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use self::diary::{Account, Diary};
use self::plays::{FOLDER, Kind};
pub(crate) use self::plays::{PLAY, play, register};
use crate::points;
use crate::support::{self, Run};

crate::trials!(
    every_point_in_the_source_is_one_at_which_a_process_is_killed,
    a_kill_at_any_step_of_the_supervisor_loses_nothing,
    a_kill_at_any_step_of_a_worker_loses_nothing,
    a_kill_at_any_step_of_a_producer_loses_nothing,
    a_kill_at_any_step_of_copies_loses_nothing_and_tells_nothing_twice,
    a_kill_at_any_step_of_a_change_loses_nothing,
    a_kill_while_ends_are_stored_loses_nothing,
    a_kill_while_threads_work_loses_nothing,
    a_kill_while_many_are_put_keeps_the_first_of_them,
    a_kill_at_any_step_of_a_stream_of_puts_loses_nothing,
    a_kill_while_many_are_taken_and_settled_loses_nothing,
    a_kill_while_a_long_log_is_taken_in_loses_nothing,
    a_kill_while_results_come_leaves_nobody_and_gives_none_twice,
    a_kill_while_output_is_kept_and_shown_loses_none_of_it,
    a_kill_at_any_step_of_a_client_loses_nothing,
    a_panic_of_top_gives_the_terminal_back => crate::top::a_panic_gives_the_terminal_back(),
    a_supervisor_killed_in_the_middle_of_a_start_leaves_nobody,
);

/// The points at which a process of a role is killed in a play.
struct Scene {
    kind: Kind,
    role: &'static str,
    points: &'static [&'static str],
}

const SUPERVISOR: Scene = Scene {
    kind: Kind::Plain,
    role: "supervisor",
    points: &[
        "journal: not begun",
        "journal: being made",
        "journal: about to be there",
        "journal: made",
        "journal: not in use",
        "journal: in use, in its log",
        "journal: in use",
        "journal: in use, and its log whole",
        "journal: about to be closed",
        "journal: closed, in its log",
        "journal: closed",
        "start: process made",
        "put many: begin",
        "put many: accepted, not durable",
        "put: begin",
        "put: accepted, not durable",
        "put: durable",
        "commit: begin",
        "commit: inside",
        "commit: durable, not told",
        "commit: told",
        "deliver: chosen",
        "deliver: to be sent",
        "deliver: sent",
        "ended by a record: received",
        "ended by a record: settled",
        "join: begin",
        "join: end",
    ],
};

const CLERK: Scene = Scene {
    kind: Kind::Plain,
    role: "clerk",
    points: &[
        "worker: ordered",
        "worker: guarded",
        "worker: appointed",
        "worker: ready",
        "worker: packet read",
        "worker: started",
        "worker: finished",
        "worker: acknowledged",
        "worker: to be sent",
    ],
};

const PRODUCER: Scene = Scene {
    kind: Kind::Plain,
    role: "producer",
    points: &[
        "worker: ready",
        "worker: request made",
        "worker: request sent",
        "worker: packet read",
        "worker: request answered",
    ],
};

/// From the begin of copies to the end of those that are not needed. A point that is about other
/// things is tried without copies.
const COPIES: [Scene; 2] = [
    Scene {
        kind: Kind::Copied,
        role: "supervisor",
        points: &[
            "copy: handed out",
            "copy: counted",
            "copy: to be stopped",
            "copy: stopped",
            "commit: durable, not told",
        ],
    },
    Scene {
        kind: Kind::Copied,
        role: "clerk",
        points: &[
            "worker: started",
            "worker: finished",
            "worker: acknowledged",
        ],
    },
];

const CHANGES: Scene = Scene {
    kind: Kind::Steered,
    role: "supervisor",
    points: &[
        "pause: begin",
        "pause: asked",
        "pause: end",
        "scale: asked",
        "scale: end",
        "leave: asked",
        "reload: asked",
        "reload: end",
    ],
};

/// Nobody is told of single ends, so workers only store that they are through.
const STORES: [Scene; 2] = [
    Scene {
        kind: Kind::Unwatched,
        role: "supervisor",
        points: &[
            "done by a store: received",
            "done by a store: settled",
            "ended by a record: received",
            "ended by a record: settled",
        ],
    },
    Scene {
        kind: Kind::Unwatched,
        role: "clerk",
        points: &[
            "worker: forked",
            "worker: forked, guarded",
            "worker: finished",
            "worker: acknowledged",
        ],
    },
];

/// A thread cannot be killed: its process is.
const THREADS: Scene = Scene {
    kind: Kind::Threads,
    role: "supervisor",
    points: &[
        "thread: begun",
        "thread: stored",
        "done by a thread's store: received",
        "done by a thread's store: settled",
        "ended by a thread: received",
        "ended by a thread: settled",
    ],
};

const TOGETHER: Scene = Scene {
    kind: Kind::Together,
    role: "supervisor",
    points: &[
        "put many: begin",
        "put many: accepted, not durable",
        "put many: no room",
    ],
};

/// A run passes these only if puts and writes meet so.
const STREAMED: Scene = Scene {
    kind: Kind::Streamed,
    role: "supervisor",
    points: &["commit: put off", "commit: left to who puts"],
};

/// The number of runs of which one at least passes such a point.
const RUNS_MAX: usize = 100;

const TAKEN: Scene = Scene {
    kind: Kind::Taken,
    role: "supervisor",
    points: &[
        "get many: taken",
        "settle many: begin",
        "settle many: settled",
    ],
};

const LOOPS: [Scene; 2] = [
    Scene {
        kind: Kind::Loops,
        role: "supervisor",
        points: &[
            "done by a run: received",
            "done by a run: settled",
            "done by a store: received",
            "done by a store: settled",
        ],
    },
    Scene {
        kind: Kind::Loops,
        role: "taker",
        points: &[
            "worker: request answered",
            "worker: got",
            "worker: run settled",
            "worker: settled what it got",
        ],
    },
];

const LONG: Scene = Scene {
    kind: Kind::Long,
    role: "supervisor",
    points: &[
        "journal: its log synced ahead",
        "journal: about to take its log in",
        "journal: has taken its log in",
    ],
};

/// By a worker that uses another queue than its own, and at the supervisor that has it.
const CALLS: [Scene; 2] = [
    Scene {
        kind: Kind::Called,
        role: "caller",
        points: &[
            "connection: to be sent",
            "connection: sent",
            "connection: answered",
        ],
    },
    Scene {
        kind: Kind::Called,
        role: "supervisor",
        points: &[
            "client: heard",
            "client: served",
            "client: gone",
            "client: given back",
        ],
    },
];

const MAPPED: [Scene; 2] = [
    Scene {
        kind: Kind::Mapped,
        role: "supervisor",
        points: &["done by a result: received", "done by a result: settled"],
    },
    Scene {
        kind: Kind::Mapped,
        role: "clerk",
        points: &["worker: finished", "worker: acknowledged"],
    },
];

/// A new point is in one of these, or in the list of the commands, or it is a stream's, whose tests
/// have a list of their own.
fn every_point_in_the_source_is_one_at_which_a_process_is_killed() {
    let single = [
        SUPERVISOR, CLERK, PRODUCER, THREADS, TOGETHER, STREAMED, TAKEN, LONG, CHANGES,
    ];
    let pairs = [COPIES, STORES, LOOPS, CALLS, MAPPED].into_iter().flatten();
    let scenes = single.into_iter().chain(pairs);
    let points = scenes.flat_map(|scene| scene.points);
    let points = points.chain(commands::SCENES.iter().flat_map(|scene| scene.points));
    let killed_at: BTreeSet<String> = points.map(|point| (*point).to_owned()).collect();
    let mut all = points::in_source();
    let of_streams = [points::OF_STREAMS, points::OF_ORDERS];
    all.retain(|point| !of_streams.iter().any(|of| point.starts_with(of)));
    assert!(!all.is_empty());
    assert_eq!(all, killed_at);
}

/// Runs a play to its end, and until nobody is left who was started by it.
fn run(kind: Kind, folder: &Path, kill: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(support::PLAY, PLAY)
        .env(plays::KIND, kind.name())
        .env(FOLDER, folder);
    end_of(command, kill).0
}

/// Returns whether a program has succeeded, and its lines.
fn end_of(mut command: Command, kill: Option<&str>) -> (bool, Vec<String>) {
    command.env_remove("DISHRACK_KILL_POINT");
    if let Some(kill) = kill {
        command.env("DISHRACK_KILL_POINT", kill);
    }
    let mut run = Run::of(command);
    // Its workers have its stdout, too.
    let lines = std::iter::from_fn(|| run.line()).collect();
    (run.exit().success(), lines)
}

/// Kills a run where a role passes a point for the `n`-th time, and adds the user's later runs.
/// Returns `false` if the point is not passed so often.
fn is_killed_at(kind: Kind, role: &str, point: &str, n: u64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("killed");
    let kill = format!("{role}|{point}|{n}|{}", mark.display());
    let of = format!("{kind:?}, {role}, {point}, {n}");
    let is_fine = run(kind, folder.path(), Some(&kill));
    let is_killed = mark.exists();
    if !is_fine {
        assert!(is_killed && role == "supervisor", "{of}");
    }
    if kind == Kind::Mapped {
        // Nothing is kept of it.
        Account::of(&folder, kind, &of).check_results(is_fine);
        return is_killed;
    }
    if !is_fine {
        assert!(run(kind, folder.path(), None), "after {of}");
    }
    // The next run has nothing left to do.
    let diary = Diary::of(folder.path()).text();
    assert!(run(kind, folder.path(), None), "after {of}");
    Account::of(&folder, kind, &of).check(&diary);
    is_killed
}

/// Kills a role wherever it passes a point, one of the scene's or another.
fn kill_everywhere(scene: &Scene) {
    for point in &points_of(scene) {
        kill_each_time(scene, point);
    }
}

/// Returns all points that the role passes, those of the scene among them.
fn points_of(scene: &Scene) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("points");
    let all = format!("{}||0|{}", scene.role, list.display());
    assert!(run(scene.kind, folder.path(), Some(&all)));
    let text = fs::read_to_string(list).unwrap();
    let points: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    for point in scene.points {
        let (role, kind) = (scene.role, scene.kind);
        let is_passed = points.contains(*point);
        assert!(
            is_passed,
            "{role} does not pass {point} in {kind:?}: {points:?}"
        );
    }
    points
}

/// Kills a role at the first time that it passes a point, the second time, and so on.
fn kill_each_time(scene: &Scene, point: &str) {
    kill_at_times(point, 1.., |n| {
        is_killed_at(scene.kind, scene.role, point, n)
    });
}

/// Kills a role at points that it passes often: the first time, the second, the fourth, and so on.
fn kill_now_and_then(scene: &Scene) {
    for point in scene.points {
        let times = std::iter::successors(Some(1), |n| Some(2 * n));
        kill_at_times(point, times, |n| {
            is_killed_at(scene.kind, scene.role, point, n)
        });
    }
}

/// The runs among which each point is passed in one, though it depends on chance.
const RUNS_OF_CHANCE: u32 = 20;

/// Kills until a point is not passed so often any more.
fn kill_at_times(
    point: &str,
    times: impl IntoIterator<Item = u64>,
    is_killed_at: impl Fn(u64) -> bool,
) {
    let mut times = times.into_iter();
    let first = times.next().expect("there is a first time");
    // Some are passed only if one thread is later than another, so not in every run.
    let is_killed = (0..RUNS_OF_CHANCE).any(|_| is_killed_at(first));
    assert!(is_killed, "nobody was killed at {point}");
    times.take_while(|n| is_killed_at(*n)).for_each(drop);
}

fn a_kill_at_any_step_of_the_supervisor_loses_nothing() {
    kill_everywhere(&SUPERVISOR);
}

fn a_kill_at_any_step_of_a_worker_loses_nothing() {
    kill_everywhere(&CLERK);
}

fn a_kill_at_any_step_of_a_producer_loses_nothing() {
    kill_everywhere(&PRODUCER);
}

fn a_kill_at_any_step_of_copies_loses_nothing_and_tells_nothing_twice() {
    for scene in &COPIES {
        scene
            .points
            .iter()
            .for_each(|point| kill_each_time(scene, point));
    }
}

fn a_kill_at_any_step_of_a_change_loses_nothing() {
    points_of(&CHANGES);
    for point in CHANGES.points {
        kill_each_time(&CHANGES, point);
    }
}

fn a_kill_while_ends_are_stored_loses_nothing() {
    STORES.iter().for_each(kill_now_and_then);
}

fn a_kill_while_threads_work_loses_nothing() {
    kill_now_and_then(&THREADS);
}

fn a_kill_while_many_are_put_keeps_the_first_of_them() {
    kill_now_and_then(&TOGETHER);
}

/// Writes that gather more, and what follows from them in the thread that puts.
fn a_kill_at_any_step_of_a_stream_of_puts_loses_nothing() {
    for point in [
        "commit: begin",
        "commit: inside",
        "commit: durable, not told",
    ] {
        kill_each_time(&STREAMED, point);
    }
    for point in STREAMED.points {
        let is_killed = |_| is_killed_at(Kind::Streamed, STREAMED.role, point, 1);
        assert!((0..RUNS_MAX).any(is_killed), "no run passes {point}");
    }
}

fn a_kill_while_many_are_taken_and_settled_loses_nothing() {
    kill_now_and_then(&TAKEN);
    LOOPS.iter().for_each(kill_now_and_then);
}

fn a_kill_at_any_step_of_a_client_loses_nothing() {
    CALLS.iter().for_each(|scene| drop(points_of(scene)));
    CALLS.iter().for_each(kill_now_and_then);
}

fn a_kill_while_a_long_log_is_taken_in_loses_nothing() {
    kill_now_and_then(&LONG);
}

/// Without a journal nothing outlives the supervisor, and nothing is promised of what it had.
fn a_kill_while_results_come_leaves_nobody_and_gives_none_twice() {
    MAPPED.iter().for_each(kill_now_and_then);
}

fn a_kill_while_output_is_kept_and_shown_loses_none_of_it() {
    commands::SCENES.iter().for_each(commands::kill_each_time);
}

/// By a process that is not executed yet, shares its supervisor's memory, and has not asked for the
/// signal of its death.
fn a_supervisor_killed_in_the_middle_of_a_start_leaves_nobody() {
    for method in ["spawn", "fork"].repeat(20) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .args(["-w", "2", "--wash", "1000s", "--format", "json"])
            .args(["--start-method", method])
            .env("DISHRACK_FAULT", "killed in the middle of a start");
        let mut run = Run::of(command);
        // Whoever was started has its stdout, so that this ends when nobody is left.
        while let Some(line) = run.line() {
            assert!(!line.contains("worker_started"), "{method}: {line}");
        }
        let signal = run.exit().signal();
        assert_eq!(signal, Some(nix::libc::SIGKILL), "{method}");
    }
}
