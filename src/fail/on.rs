//! The points in a build for tests: what happens there is in the environment.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use dishrack_core::pool::spec::pool_of;

/// The variable with role, point, number and file, separated by `|`.
const KILL: &str = "DISHRACK_KILL_POINT";

/// The variable of the same form that has a process stopped.
const STOP: &str = "DISHRACK_STOP_POINT";

/// The variable of the same form that has a thread panic.
const PANIC: &str = "DISHRACK_PANIC_POINT";

/// The variable with the name of a thread that panics.
const PANIC_THREAD: &str = "DISHRACK_PANIC_THREAD";

/// The variable with the name of a fault.
const FAULT: &str = "DISHRACK_FAULT";

static ROLE: OnceLock<String> = OnceLock::new();
static PASSED: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct FaultPlan {
    role: String,
    point: String,
    number: u64,
    file: String,
    fault: PointFault,
}

/// The fault at a point.
#[derive(Debug, Clone, Copy)]
enum PointFault {
    Signal(Signal),
    Panic,
}

fn plan() -> Option<&'static FaultPlan> {
    static PLAN: OnceLock<Option<FaultPlan>> = OnceLock::new();
    let read = || {
        let variables = [
            (KILL, PointFault::Signal(Signal::SIGKILL)),
            (STOP, PointFault::Signal(Signal::SIGSTOP)),
            (PANIC, PointFault::Panic),
        ];
        let mut set = variables
            .into_iter()
            .filter_map(|(name, fault)| Some((std::env::var(name).ok()?, fault)));
        let (text, fault) = set.next()?;
        let mut words = text.splitn(4, '|').map(str::to_owned);
        Some(FaultPlan {
            role: words.next()?,
            point: words.next()?,
            number: words.next()?.parse().ok()?,
            file: words.next()?,
            fault,
        })
    };
    PLAN.get_or_init(read).as_ref()
}

/// Sets the role of this process: the name of its pool.
pub(crate) fn set_role(worker: &str) {
    let name = pool_of(worker);
    // A process is one worker all its life.
    let _ = ROLE.set(name.to_owned());
}

/// Passes a point of the program; the tests know what must hold before it and after it.
pub(crate) fn point(name: &'static str) {
    let Some(plan) = plan() else {
        return;
    };
    if plan.role != ROLE.get().map_or("supervisor", String::as_str) {
        return;
    }
    let mut options = OpenOptions::new();
    if plan.number == 0 {
        let file = options.create(true).append(true).open(&plan.file);
        let line = format!("{name}\n");
        // The test notices that the line is missing.
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
        return;
    }
    if plan.point != name || PASSED.fetch_add(1, Ordering::SeqCst) + 1 != plan.number {
        return;
    }
    let file = options.write(true).create_new(true).open(&plan.file);
    if let Ok(mut file) = file {
        let _ = file.write_all(std::process::id().to_string().as_bytes());
        match plan.fault {
            // To the process: a copy made by a bare clone does not know its thread's id.
            PointFault::Signal(signal) => drop(kill(Pid::this(), signal)),
            PointFault::Panic => panic!("planted"),
        }
    }
}

/// Notes that a thread begins its work, or goes on with it.
pub(crate) fn thread_begins() {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var(PANIC_THREAD).ok());
    let is_planted = planted.is_some() && std::thread::current().name() == planted.as_deref();
    assert!(!is_planted, "planted");
}

/// Returns `true` if a test wants this fault.
pub(crate) fn is_planted(fault: &'static str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var(FAULT).ok());
    planted.as_deref() == Some(fault)
}
