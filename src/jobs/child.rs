//! The process of a command. The kernel kills it when this worker dies, because between its making
//! and the execution of its program it asks for SIGKILL on its parent's death.
//!
//! It is made as `posix_spawn` makes one, which cannot ask for that: the child runs in this
//! process's memory, on a stack of its own, while this thread waits until the program is executed.
//! A fork made a run of small commands a fifth slower. All that the child needs is prepared before,
//! and what is the same for every command only once; the child only makes system calls. The module
//! knows no commands and no reasons for an end.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::unistd::{Pid, getpid};
use parking_lot::Mutex;
use rustix::io::retry_on_intr;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

use crate::fail;
use crate::sys::dispositions::Dispositions;
use dishrack_core::ledger::Exit;

/// The program to be executed, and its surroundings.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    /// A path, or a name that is searched as `execvp` does.
    pub(super) file: &'a OsStr,
    /// Its words, with its name first.
    pub(super) words: Vec<&'a OsStr>,
    pub(super) environment: Vec<&'a Variable>,
    pub(super) workdir: Option<&'a Path>,
}

/// A variable as it stands in an environment.
#[derive(Debug)]
pub(super) struct Variable {
    entry: CString,
    name_bytes: usize,
}

impl Variable {
    /// # Errors
    /// There is a zero in it.
    pub(super) fn new(name: &OsStr, value: &OsStr) -> io::Result<Self> {
        let mut entry = Vec::with_capacity(name.len() + value.len() + 2);
        entry.extend_from_slice(name.as_bytes());
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        Ok(Variable {
            entry: text(entry)?,
            name_bytes: name.len(),
        })
    }

    pub(super) fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.entry.as_bytes()[..self.name_bytes])
    }

    /// Returns it as it stands in an environment.
    pub(super) fn entry(&self) -> &[u8] {
        self.entry.as_bytes()
    }

    fn value(&self) -> &OsStr {
        OsStr::from_bytes(&self.entry.as_bytes()[self.name_bytes + 1..])
    }
}

/// A process that was started and must be waited for.
#[derive(Debug)]
pub(super) struct CommandProcess {
    pid: Pid,
    exit: Option<Exit>,
}

impl CommandProcess {
    /// Starts a program with these for stdin, stdout and stderr, no signal blocked, and the signals
    /// ignored that this process ignored at its start, except SIGPIPE and SIGCHLD. The calling
    /// thread must live as long as this process, because the kernel takes its end for the parent's.
    ///
    /// `announce` gets the pid before a handler of this thread can run, because that needs it.
    ///
    /// # Errors
    /// The program could not be executed, for this reason.
    pub(super) fn start(
        program: &Invocation<'_>,
        streams: [BorrowedFd<'_>; 3],
        announce: impl FnOnce(Pid),
    ) -> io::Result<Self> {
        let plan = Plan::of(program)?;
        let [stdin, stdout, stderr] = streams.map(above_streams);
        let high = [stdin?, stdout?, stderr?];
        let numbers = [0, 1, 2].map(|at: usize| match &high[at] {
            Some(copy) => copy.as_raw_fd(),
            None => streams[at].as_raw_fd(),
        });
        let pid = make(&plan, numbers, announce)?;
        Ok(CommandProcess { pid, exit: None })
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
    let ended = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | more));
    ended.ok().flatten()
}

/// Copies a file that is numbered as a stream is: another stream could be put into its place before
/// it is used itself.
fn above_streams(file: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match file.as_raw_fd() {
        0..3 => Ok(Some(rustix::io::fcntl_dupfd_cloexec(file, 3)?)),
        _ => Ok(None),
    }
}

/// All that the child needs, so that it need not allocate.
struct Plan<'a> {
    candidates: Vec<CString>,
    words: Vec<CString>,
    environment: &'a [&'a Variable],
    workdir: Option<CString>,
}

impl<'a> Plan<'a> {
    fn of(program: &'a Invocation<'a>) -> io::Result<Self> {
        let candidates = candidates(program).into_iter();
        let words = program.words.iter();
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
            environment: &program.environment,
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
pub(super) fn candidates(program: &Invocation<'_>) -> Vec<PathBuf> {
    let file = Path::new(program.file);
    if program.file.as_bytes().contains(&b'/') {
        return vec![file.to_owned()];
    }
    let mut environment = program.environment.iter().rev();
    let path = environment.find(|variable| variable.name() == "PATH");
    // The path that execvp searches if there is none.
    let path = path.map_or(OsStr::new("/bin:/usr/bin"), |path| path.value());
    let folders = std::env::split_paths(path);
    folders.map(|folder| folder.join(file)).collect()
}

/// A row of texts as the kernel wants it.
fn row<'a>(texts: impl Iterator<Item = &'a CString>) -> Vec<*const libc::c_char> {
    let texts = texts.map(|text| text.as_ptr());
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

/// The stack of one child after the other: each is done with it when its program is executed.
static STACK: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Returns the changes to the actions on signals. This process sets its own for good before its
/// first command.
fn dispositions() -> Dispositions {
    static FOUND: OnceLock<Dispositions> = OnceLock::new();
    let found = *FOUND.get_or_init(Dispositions::of_commands);
    // Unit tests of other things set them in the same process.
    if cfg!(all(debug_assertions, not(test))) {
        let now = Dispositions::of_commands();
        assert_eq!(found, now, "an action was set after the first command");
    }
    found
}

fn make(plan: &Plan<'_>, streams: [RawFd; 3], announce: impl FnOnce(Pid)) -> io::Result<Pid> {
    let variables = plan.environment.iter().map(|variable| &variable.entry);
    let (words, environment) = (row(plan.words.iter()), row(variables));
    let (worker, dispositions) = (getpid(), dispositions());
    let (failure, step) = (AtomicI32::new(0), AtomicI32::new(0));
    let mut stack = STACK.lock();
    stack.resize(STACK_BYTES, 0);
    let child = || {
        let rows = (&*words, &*environment);
        let (at, errno) = become_program(plan, rows, streams, worker, dispositions);
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
    plan: &Plan<'_>,
    (words, environment): (&[*const libc::c_char], &[*const libc::c_char]),
    streams: [RawFd; 3],
    worker: Pid,
    dispositions: Dispositions,
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
        // Before any signal can come: a handler would run in the worker's memory.
        if let Err(errno) = dispositions.set_for_exec() {
            return (0, errno as i32);
        }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn start(words: &[&str], environment: &[(&str, &str)]) -> io::Result<CommandProcess> {
        let words: Vec<&OsStr> = words.iter().map(|word| OsStr::new(*word)).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| Variable::new(name.as_ref(), value.as_ref()));
        let environment: Vec<Variable> = environment.collect::<io::Result<_>>()?;
        let program = Invocation {
            file: words[0],
            words,
            environment: environment.iter().collect(),
            workdir: None,
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        CommandProcess::start(&program, [null.as_fd(); 3], |_| {})
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
        let program = |file| Invocation {
            file: OsStr::new(file),
            words: vec![OsStr::new(file)],
            environment: Vec::new(),
            workdir: None,
        };
        let mut announced = None;
        let announce = |pid| announced = Some(pid);
        let mut child =
            CommandProcess::start(&program("/bin/true"), [null.as_fd(); 3], announce).unwrap();
        assert_eq!(announced, Some(child.pid));
        child.await_end();
        // A zombie can be signalled, and its pid cannot be another process's.
        assert_eq!(kill(child.pid, None), Ok(()));
        assert_eq!(child.await_exit(), Exit::Exited(0));

        let announce = |_| panic!("there is no such program");
        assert!(CommandProcess::start(&program("/no/such"), [null.as_fd(); 3], announce).is_err());
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
    fn a_stream_may_have_the_number_of_another() {
        // A shell may redirect its own stdout for what it executes, so it is asked before that.
        let script = "own=$(readlink /proc/$$/fd/1); echo \"$own\" >&2";
        let words = ["/bin/sh", "-c", script];
        let path = Variable::new("PATH".as_ref(), "/bin:/usr/bin".as_ref()).unwrap();
        let program = Invocation {
            file: OsStr::new(words[0]),
            words: words.map(OsStr::new).to_vec(),
            environment: vec![&path],
            workdir: None,
        };
        let (told, (theirs, _ours)) = (tempfile::tempfile().unwrap(), io::pipe().unwrap());
        // Our stdin is to be its stdout, and another file takes the number before that.
        let own = io::stdin();
        let streams = [theirs.as_fd(), own.as_fd(), told.as_fd()];
        let mut child = CommandProcess::start(&program, streams, |_| {}).unwrap();
        assert_eq!(child.await_exit(), Exit::Exited(0));
        let mut text = [0; 256];
        let count = told.read_at(&mut text, 0).unwrap();
        let expected = std::fs::read_link("/proc/self/fd/0").unwrap();
        let expected = [expected.as_os_str().as_bytes(), b"\n"].concat();
        assert_eq!(&text[..count], expected);
    }

    #[test]
    fn a_variable_is_a_name_and_a_value() {
        let variable = Variable::new("A".as_ref(), "b=c".as_ref()).unwrap();
        assert_eq!(variable.name(), "A");
        assert_eq!(variable.value(), "b=c");
        let zero = Variable::new("A".as_ref(), "b\0".as_ref()).unwrap_err();
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
