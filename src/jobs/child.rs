//! The process of a command. The kernel kills it when this worker dies, because between its making
//! and the execution of its program it asks for SIGKILL on its parent's death.
//!
//! It is made as `posix_spawn` makes one, which cannot ask for that: the child runs in this
//! process's memory, on a stack of its own, while this thread waits until the program is executed.
//! A fork made a run of small commands a fifth slower. All that the child needs is prepared before;
//! the child only makes system calls. The module knows no commands and no reasons for an end.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::unistd::{Pid, getpid};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

use crate::fail;
use crate::sys::signals::{self, Signals};
use dishrack_core::ledger::Exit;

/// The program to be executed, and its surroundings.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// A path, or a name that is searched as `execvp` does.
    pub(super) file: &'a OsStr,
    /// Its words, with its name first.
    pub(super) words: Vec<&'a OsStr>,
    pub(super) environment: &'a [(OsString, OsString)],
    pub(super) workdir: Option<&'a Path>,
}

/// A process that was started and must be waited for.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    exit: Option<Exit>,
}

impl Child {
    /// Starts a program with these for stdin, stdout and stderr, no signal blocked, and the signals
    /// ignored that this process ignored at its start, except SIGPIPE and SIGCHLD. The calling
    /// thread must live as long as this process, because the kernel takes its end for the parent's.
    ///
    /// `announce` gets the pid before a handler of this thread can run, because that needs it.
    ///
    /// # Errors
    /// The program could not be executed, for this reason.
    pub(super) fn start(
        program: &Program<'_>,
        streams: [BorrowedFd<'_>; 3],
        announce: impl FnOnce(Pid),
    ) -> io::Result<Self> {
        let plan = Plan::of(program)?;
        // A stream numbered below 3 could be overwritten by another before it is used itself.
        let high = streams.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3));
        let [stdin, stdout, stderr] = high;
        let streams: [OwnedFd; 3] = [stdin?, stdout?, stderr?];
        let streams = [0, 1, 2].map(|at: usize| streams[at].as_raw_fd());
        let pid = make(&plan, streams, announce)?;
        Ok(Child { pid, exit: None })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Returns a file that becomes readable when the process ends.
    pub(super) fn pidfd(&self) -> io::Result<OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid());
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let opened = pidfd_open(pid, PidfdFlags::empty());
        opened.map_err(|errno| refused("pidfd_open", errno.raw_os_error()))
    }

    /// Kills it, unless it has ended and was waited for.
    pub(super) fn kill(&self) {
        if self.exit.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Waits until it has ended; its pid is its own until [`await_exit`](Self::await_exit).
    pub(super) fn await_end(&self) {
        if self.exit.is_none() {
            let _ = wait_for(self.pid, WaitIdOptions::NOWAIT);
        }
    }

    /// Waits until it has ended, and returns its pid to the kernel.
    pub(super) fn await_exit(&mut self) -> Exit {
        *self.exit.get_or_insert_with(|| {
            let status = wait_for(self.pid, WaitIdOptions::empty());
            let ended = status.and_then(|status| {
                let code = status.exit_status().map(Exit::Exited);
                code.or_else(|| status.terminating_signal().map(Exit::Signaled))
            });
            // Without a status, other code has taken it.
            ended.unwrap_or(Exit::Unknown)
        })
    }
}

fn wait_for(pid: Pid, more: WaitIdOptions) -> Option<WaitIdStatus> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw())?;
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | more) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return ended.ok().flatten(),
        }
    }
}

/// All that the child needs, so that it need not allocate.
struct Plan {
    candidates: Vec<CString>,
    words: Vec<CString>,
    environment: Vec<CString>,
    workdir: Option<CString>,
}

impl Plan {
    fn of(program: &Program<'_>) -> io::Result<Self> {
        let candidates = candidates(program).into_iter();
        let words = program.words.iter();
        let environment = program.environment.iter().map(|(name, value)| {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            text(entry)
        });
        let workdir = program
            .workdir
            .map(|path| text(path.as_os_str().as_bytes()));
        Ok(Plan {
            candidates: candidates
                .map(|path| text(path.into_os_string().into_vec()))
                .collect::<io::Result<_>>()?,
            words: words
                .map(|word| text(word.as_bytes()))
                .collect::<io::Result<_>>()?,
            environment: environment.collect::<io::Result<_>>()?,
            workdir: workdir.transpose()?,
        })
    }
}

fn text(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    let refused = |_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "nul byte found in provided data",
        )
    };
    CString::new(bytes.into()).map_err(refused)
}

/// Returns the paths where a program may be.
pub(super) fn candidates(program: &Program<'_>) -> Vec<PathBuf> {
    let file = Path::new(program.file);
    if program.file.as_bytes().contains(&b'/') {
        return vec![file.to_owned()];
    }
    let mut environment = program.environment.iter().rev();
    let path = environment.find(|(name, _)| name == "PATH");
    // The path that execvp searches if there is none.
    let path = path.map_or(OsStr::new("/bin:/usr/bin"), |(_, path)| path);
    let folders = std::env::split_paths(path);
    folders.map(|folder| folder.join(file)).collect()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain([ptr::null()]).collect()
}

/// The steps at which a child may fail before it executes its program.
const IN_DEATH_SIGNAL: i32 = 1;
const IN_WORKDIR: i32 = 2;

/// Adds the call's name to an error that will stay. An error for a present lack stays recognizable.
fn refused(call: &str, errno: i32) -> io::Error {
    let error = io::Error::from_raw_os_error(errno);
    match errno {
        libc::EPERM | libc::EACCES | libc::ENOSYS => {
            io::Error::new(error.kind(), format!("{call} is refused: {error}"))
        }
        _ => error,
    }
}

/// Makes the error for a command that cannot enter its folder.
fn no_workdir(folder: &OsStr, errno: i32) -> io::Error {
    let error = io::Error::from_raw_os_error(errno);
    let folder = folder.display();
    let words = format!("no working directory {folder}: {error}; make it again");
    io::Error::new(error.kind(), words)
}

/// The size of the child's stack, which has few calls on it.
const STACK_BYTES: usize = 64 * 1024;

fn make(plan: &Plan, streams: [RawFd; 3], announce: impl FnOnce(Pid)) -> io::Result<Pid> {
    let (words, environment) = (pointers(&plan.words), pointers(&plan.environment));
    let (worker, ignored) = (getpid(), signals::inherited());
    let (failure, step) = (AtomicI32::new(0), AtomicI32::new(0));
    let mut stack = vec![0; STACK_BYTES];
    let child = || {
        let (at, errno) = become_program(plan, (&words, &environment), streams, worker, ignored);
        step.store(at, Ordering::Relaxed);
        failure.store(errno, Ordering::Relaxed);
        127
    };
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // No handler of this process may run in the child, which shares its memory.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    fail::point("command: about to start");
    // SAFETY: this thread waits until the child has executed a program or ended, so all that it
    // uses exists and is its own; it uses the stack, reads the plan and makes system calls.
    let made = unsafe { clone(Box::new(child), &mut stack, flags, Some(libc::SIGCHLD)) };
    let made = made.map_err(io::Error::from);
    let made = made.and_then(|pid| match failure.load(Ordering::Relaxed) {
        0 => Ok(pid),
        errno => {
            let _ = wait_for(pid, WaitIdOptions::empty());
            Err(match (step.load(Ordering::Relaxed), &plan.workdir) {
                (IN_DEATH_SIGNAL, _) => refused("prctl(PR_SET_PDEATHSIG)", errno),
                (IN_WORKDIR, Some(folder)) => {
                    no_workdir(OsStr::from_bytes(folder.as_bytes()), errno)
                }
                _ => io::Error::from_raw_os_error(errno),
            })
        }
    });
    if let Ok(pid) = &made {
        announce(*pid);
    }
    // It fails only for an invalid argument.
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    made
}

/// Executes the program in the child, or returns the step that failed and why.
fn become_program(
    plan: &Plan,
    (words, environment): (&[*const libc::c_char], &[*const libc::c_char]),
    streams: [RawFd; 3],
    worker: Pid,
    ignored: Signals,
) -> (i32, i32) {
    // SAFETY: system calls only, with pointers to texts and rows that end with a zero.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return (IN_DEATH_SIGNAL, Errno::last_raw());
        }
        if libc::getppid() != worker.as_raw() {
            // The parent died before the signal was asked for.
            libc::_exit(127);
        }
        for (fd, stream) in streams.into_iter().zip([0, 1, 2]) {
            if libc::dup2(fd, stream) < 0 {
                return (0, Errno::last_raw());
            }
        }
        if let Some(workdir) = &plan.workdir
            && libc::chdir(workdir.as_ptr()) != 0
        {
            return (IN_WORKDIR, Errno::last_raw());
        }
        restore_dispositions(ignored);
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        let mut is_forbidden = false;
        for candidate in &plan.candidates {
            libc::execve(candidate.as_ptr(), words.as_ptr(), environment.as_ptr());
            match Errno::last_raw() {
                libc::EACCES => is_forbidden = true,
                libc::ENOENT | libc::ENOTDIR => {}
                errno => return (0, errno),
            }
        }
        match is_forbidden {
            true => (0, libc::EACCES),
            false => (0, libc::ENOENT),
        }
    }
}

/// Gives every signal the action that it had when this process was started. The exceptions are
/// SIGPIPE, which Rust ignores, and SIGCHLD, which a shell that ignores it passes on: programs
/// expect neither. Signals are still blocked.
///
/// # Safety
/// Only in a child with handlers of its own, between its making and the execution of its program.
unsafe fn restore_dispositions(ignored: Signals) {
    // SAFETY: system calls only; numbers that are no signal are refused.
    unsafe {
        for signal in 1..=signals::NUMBER_MAX {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            if libc::sigaction(signal, ptr::null(), &raw mut action) != 0 {
                continue;
            }
            let is_ours = matches!(signal, libc::SIGPIPE | libc::SIGCHLD);
            let wanted = match ignored.has(signal) && !is_ours {
                true => libc::SIG_IGN,
                false => libc::SIG_DFL,
            };
            if action.sa_sigaction != wanted {
                action = std::mem::zeroed();
                action.sa_sigaction = wanted;
                libc::sigaction(signal, &raw const action, ptr::null_mut());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn start(words: &[&str], environment: &[(&str, &str)]) -> io::Result<Child> {
        let words: Vec<&OsStr> = words.iter().map(|word| OsStr::new(*word)).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let environment: Vec<(OsString, OsString)> = environment.collect();
        let program = Program {
            file: words[0],
            words,
            environment: &environment,
            workdir: None,
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Child::start(&program, [null.as_fd(); 3], |_| {})
    }

    #[test]
    fn a_program_is_found_executed_and_waited_for() {
        let path = [("PATH", "/nowhere:/bin:/usr/bin"), ("CODE", "7")];
        let mut child = start(&["sh", "-c", "exit $CODE"], &path).unwrap();
        assert_eq!(child.await_exit(), Exit::Exited(7));
        let mut child = start(&["/bin/sh", "-c", "kill -TERM $$"], &[]).unwrap();
        assert_eq!(child.await_exit(), Exit::Signaled(libc::SIGTERM));
        // A signal without a name.
        let mut child = start(&["/bin/sh", "-c", "kill -40 $$"], &[]).unwrap();
        assert_eq!(child.await_exit(), Exit::Signaled(40));
        let mut child = start(&["/bin/sh", "-c", "kill -PIPE $$"], &[]).unwrap();
        assert_eq!(child.await_exit(), Exit::Signaled(libc::SIGPIPE));
    }

    #[test]
    fn a_pid_is_announced_once_and_its_own_until_it_is_waited_for() {
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let program = |file| Program {
            file: OsStr::new(file),
            words: vec![OsStr::new(file)],
            environment: &[],
            workdir: None,
        };
        let mut announced = None;
        let announce = |pid| announced = Some(pid);
        let mut child = Child::start(&program("/bin/true"), [null.as_fd(); 3], announce).unwrap();
        assert_eq!(announced, Some(child.pid));
        child.await_end();
        // A zombie can be signalled, and its pid cannot be another process's.
        assert_eq!(kill(child.pid, None), Ok(()));
        assert_eq!(child.await_exit(), Exit::Exited(0));

        let announce = |_| panic!("there is no such program");
        assert!(Child::start(&program("/no/such"), [null.as_fd(); 3], announce).is_err());
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        let errno = |words: &[&str]| {
            start(words, &[("PATH", "/bin")])
                .unwrap_err()
                .raw_os_error()
        };
        assert_eq!(errno(&["no-such-program"]), Some(libc::ENOENT));
        assert_eq!(errno(&["/etc/passwd"]), Some(libc::EACCES));
        assert_eq!(errno(&["/bin"]), Some(libc::EACCES));
        let zero = start(&["/bin/true", "a\0b"], &[]).unwrap_err();
        assert_eq!(zero.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_refused_call_is_named_and_a_shortage_stays_known() {
        let error = refused("pidfd_open", libc::EPERM);
        let told = "pidfd_open is refused: Operation not permitted (os error 1)";
        assert_eq!(error.to_string(), told);
        let shortage = refused("pidfd_open", libc::EMFILE);
        assert_eq!(shortage.raw_os_error(), Some(libc::EMFILE));
    }
}
