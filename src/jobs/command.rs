//! One run of a command in a worker process: started, waited for, and ended with its worker.
//!
//! A command is in its worker's process group, and dies with its worker (see `child`). So whatever
//! ends the worker (its supervisor's end, a time limit, a kill) ends the command and all that it
//! has started, unless they left the group. A worker that is asked to end (SIGTERM) asks its
//! command, too, so that this can clean up, waits for it, and ends without acknowledging the item.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Once, OnceLock};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
use nix::unistd::{Pid, getppid};

use super::child::{CommandProcess, Invocation, Variable, candidates};
use super::leftovers;
use crate::protocol::orders::BOOT_VARIABLE;
use dishrack_core::ledger::Exit;

/// The beginning of the variables that are the item's alone, or those of a process that serves many.
const MARK: &[u8] = b"SUPERVISOR_";

/// The words of a command.
#[derive(Debug)]
pub(super) struct CommandWords<'a> {
    /// The path of the program, if it was found before.
    pub(super) program: Option<&'a OsStr>,
    /// The words, with the program's name first.
    pub(super) words: &'a [OsString],
}

/// The environment and the folder of a command.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) environment: Vec<(&'a OsStr, OsString)>,
    pub(super) workdir: Option<&'a Path>,
    /// True if the folder is the item's alone: a lack of it stops no other item.
    pub(super) is_own_workdir: bool,
}

impl CommandWords<'_> {
    /// Returns the program's name, for complaints.
    pub(super) fn name(&self) -> &OsStr {
        self.words.first().map_or(OsStr::new(""), |name| name)
    }

    pub(super) fn start(
        &self,
        surroundings: &Surroundings<'_>,
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<CommandProcess> {
        self.start_announced(surroundings, streams, |_| {})
    }

    /// Starts it, and announces its pid before a signal can come in between. A script without an
    /// interpreter is run by the shell, as `execvp` does.
    fn start_announced(
        &self,
        surroundings: &Surroundings<'_>,
        streams: [BorrowedFd<'_>; 3],
        announce: fn(Pid),
    ) -> io::Result<CommandProcess> {
        let file = self.program.unwrap_or(self.name());
        let added = surroundings.added()?;
        let is_added = |name: &OsStr| added.iter().any(|added| added.name() == name);
        let own = own_environment().iter();
        let own = own.filter(|variable| !is_added(variable.name()));
        let mut program = Invocation {
            file,
            words: self.words.iter().map(OsString::as_os_str).collect(),
            environment: own.chain(&added).collect(),
            workdir: surroundings.workdir,
        };
        match CommandProcess::start(&program, streams, announce) {
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                let shell = OsStr::new("/bin/sh");
                program.words.splice(..1, [shell, file]);
                program.file = shell;
                CommandProcess::start(&program, streams, announce)
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                Err(what_is_missing(&program).unwrap_or(error))
            }
            result => result,
        }
    }
}

/// Returns the error for a missing program whose real cause is another: the working directory is
/// gone, or the script exists and its interpreter does not.
fn what_is_missing(program: &Invocation<'_>) -> Option<io::Error> {
    let missing = |what: String| Some(io::Error::new(io::ErrorKind::NotFound, what));
    if let (None, Err(error)) = (program.workdir, std::env::current_dir()) {
        return missing(format!(
            "the working directory is gone ({error}): it must stay there during the run"
        ));
    }
    let here = program.workdir.unwrap_or(Path::new(""));
    let mut candidates = candidates(program).into_iter();
    let file = candidates.find(|file| here.join(file).is_file())?;
    missing(format!(
        "{} is there, and its interpreter is not",
        file.display()
    ))
}

impl Surroundings<'_> {
    /// Ends what a command that was started here has left in this worker's group, if a signal has ended it.
    pub(super) fn end_leftovers_of(&self, exit: Exit) {
        if !matches!(exit, Exit::Signaled(_)) {
            return;
        }
        // It could be started, so all of them can be written.
        let added = self.added().unwrap_or_default();
        let marks = added.iter().map(Variable::entry);
        let marks: Vec<&[u8]> = marks.filter(|entry| entry.starts_with(MARK)).collect();
        if !marks.is_empty() {
            leftovers::end(&marks);
        }
    }

    /// Returns the additions to this process's environment. Of two with one name the last counts.
    fn added(&self) -> io::Result<Vec<Variable>> {
        let all = self.environment.iter().enumerate();
        let last = all.filter(|(at, (name, _))| {
            let mut later = self.environment[at + 1..].iter();
            later.all(|(other, _)| other != name)
        });
        last.map(|(_, (name, value))| Variable::new(name, value))
            .collect()
    }
}

/// Returns this process's environment, which a worker of commands does not change.
fn own_environment() -> &'static [Variable] {
    static OWN: OnceLock<Vec<Variable>> = OnceLock::new();
    OWN.get_or_init(|| {
        let own = std::env::vars_os().filter(|(name, _)| name != BOOT_VARIABLE);
        // The kernel passes no text with a zero in it.
        own.filter_map(|(name, value)| Variable::new(&name, &value).ok())
            .collect()
    })
}

/// Runs a command to its end.
pub(super) fn run(
    words: &CommandWords<'_>,
    surroundings: &Surroundings<'_>,
    streams: [BorrowedFd<'_>; 3],
) -> io::Result<Exit> {
    let mut child = words.start_announced(surroundings, streams, begin)?;
    child.await_end();
    // From here on no process is signalled: after the next step the pid may be another process's.
    AT_WORK.store(0, Ordering::SeqCst);
    Ok(child.await_exit())
}

/// The pid of the running command; 0 for none.
static AT_WORK: AtomicI32 = AtomicI32::new(0);

/// Notes the command, while SIGTERM is blocked, and passes on one that came before. A SIGTERM to
/// the whole group from here on reaches the command itself.
fn begin(command: Pid) {
    AT_WORK.store(command.as_raw(), Ordering::SeqCst);
    let is_pending = is_termination_pending();
    IS_PENDING_ONE_PASSED_ON.store(is_pending, Ordering::SeqCst);
    if is_pending || IS_ASKED_TO_END.load(Ordering::SeqCst) {
        let _ = kill(command, Signal::SIGTERM);
    }
}

/// True if a SIGTERM waits until it is unblocked, and was passed to the command already.
static IS_PENDING_ONE_PASSED_ON: AtomicBool = AtomicBool::new(false);

fn is_termination_pending() -> bool {
    // SAFETY: all zeros are a valid value, and the calls read and write it only.
    unsafe {
        let mut pending = std::mem::zeroed::<libc::sigset_t>();
        libc::sigpending(&raw mut pending) == 0
            && libc::sigismember(&raw const pending, libc::SIGTERM) == 1
    }
}

/// Runs `work` while a SIGTERM waits. Afterwards the signal takes effect.
pub(super) fn while_at_work<R>(work: impl FnOnce() -> R) -> R {
    hear_termination();
    IS_AT_WORK.store(true, Ordering::SeqCst);
    let result = work();
    IS_AT_WORK.store(false, Ordering::SeqCst);
    if IS_ASKED_TO_END.load(Ordering::SeqCst) {
        end_as_asked();
    }
    result
}

static IS_AT_WORK: AtomicBool = AtomicBool::new(false);
static IS_ASKED_TO_END: AtomicBool = AtomicBool::new(false);

/// Sets the handler, once. Commands have the action that this process was given.
fn hear_termination() {
    static IS_HEARD: Once = Once::new();
    IS_HEARD.call_once(|| {
        let action = SigAction::new(
            SigHandler::SigAction(on_termination),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler only uses atomics and makes calls that a handler may make. If it
        // cannot be set, a SIGTERM ends the worker at once, as before.
        let _ = unsafe { sigaction(Signal::SIGTERM, &action) };
    });
}

extern "C" fn on_termination(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    IS_ASKED_TO_END.store(true, Ordering::SeqCst);
    let is_passed_on = IS_PENDING_ONE_PASSED_ON.swap(false, Ordering::SeqCst);
    if !IS_AT_WORK.load(Ordering::SeqCst) {
        return end_as_asked();
    }
    // SAFETY: with a handler of this form the kernel passes the signal's information.
    let sender = unsafe { (*info).si_pid() };
    let command = AT_WORK.load(Ordering::SeqCst);
    // The supervisor signals the whole group; any other sender has signalled only this process.
    if command > 0 && !is_passed_on && sender != getppid().as_raw() {
        let _ = kill(Pid::from_raw(command), Signal::SIGTERM);
    }
}

/// Ends this process as a SIGTERM does, by calls that a signal handler may make.
fn end_as_asked() {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action is no handler at all.
    let _ = unsafe { sigaction(Signal::SIGTERM, &action) };
    let _ = raise(Signal::SIGTERM);
    // In its own handler the signal is blocked until the handler returns.
}
