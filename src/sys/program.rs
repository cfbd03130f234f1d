//! Executing the running program again, or another one, without a copy of this process in between.
//!
//! `fork` copies the page tables of the whole process only to throw them away in `exec`, and what
//! std's `Command` does without it (`posix_spawn`) cannot set the signal of a parent's death, which
//! has to be there before the program runs: nobody may outlive a supervisor that is killed just
//! then. So this is what `posix_spawn` is made of, a `clone` that shares this process's memory and
//! has the calling thread wait until the program is executed, with more steps in between.
//!
//! What runs in between writes into the memory of a living process. So it makes system calls and
//! nothing else: no memory is taken, no lock, and no handler of the program runs there. It knows
//! nothing of workers.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::signals;

/// The program that runs here, whatever has its name by now.
const THIS_PROGRAM: &CStr = c"/proc/self/exe";

/// Enough for the few calls between clone and exec, also in a build that optimizes nothing.
const STACK_BYTES: usize = 64 * 1024;

/// The exit code of a process that could not execute its program. Nobody sees it.
const NOT_EXECUTED: libc::c_int = 127;

/// The standard streams and the one file besides them that a new process may be given.
const FILES: usize = 4;

/// The resources that all starts share: numbers for the files that are given to new processes, as
/// low as there were when it was made, and a stack for what runs between clone and exec.
///
/// A new process gets a table of open files of its own, and what lies above these numbers is not
/// even copied into it: a thousand workers are thousands of files, for each of which the kernel
/// would take a reference and give it back at every start.
pub(crate) struct Handover {
    null: OwnedFd,
    places: [OwnedFd; FILES],
    stack: Vec<u8>,
}

impl Handover {
    pub(crate) fn new() -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let null = fcntl_dupfd_cloexec(null, 3)?;
        let place = || fcntl_dupfd_cloexec(&null, 3);
        Ok(Handover {
            places: [place()?, place()?, place()?, place()?],
            null,
            stack: vec![0; STACK_BYTES],
        })
    }

    /// Returns the one that was made at the first start, when few files were open.
    pub(crate) fn made(made: &mut Option<Self>) -> io::Result<&mut Self> {
        match made {
            Some(handover) => Ok(handover),
            None => Ok(made.insert(Handover::new()?)),
        }
    }

    /// Returns the numbers of the files that a new process is given.
    fn numbers(&self) -> [RawFd; FILES] {
        [0, 1, 2, 3].map(|at: usize| self.places[at].as_raw_fd())
    }

    /// Puts the files of the next process that is started in their places; `None` stands for
    /// /dev/null.
    fn give(&mut self, files: &[Option<OwnedFd>; FILES]) -> io::Result<()> {
        for (place, file) in self.places.iter_mut().zip(files) {
            dup3(
                file.as_ref().unwrap_or(&self.null),
                place,
                DupFlags::CLOEXEC,
            )?;
        }
        Ok(())
    }
}

/// Another program than this one, with its arguments and its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    path: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
}

impl Image {
    /// Describes the program of this path, in the environment that this process has now.
    pub(crate) fn new(path: OsString, arguments: Vec<OsString>) -> Self {
        Image {
            path,
            arguments,
            environment: std::env::vars_os().collect(),
        }
    }
}

/// A start of a program that is being prepared. It has no stdin, but for what is said.
#[derive(Debug)]
pub(crate) struct Program {
    /// `None` for this program.
    path: Option<OsString>,
    words: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    /// The standard streams, and one more file.
    files: [Option<OwnedFd>; FILES],
    /// True for each of the standard streams that is this process's own.
    is_inherited: [bool; FILES],
}

impl Program {
    /// This program without arguments, under a title, in this process's environment.
    pub(crate) fn again(title: impl Into<OsString>) -> Self {
        Program {
            path: None,
            words: vec![title.into()],
            environment: std::env::vars_os().collect(),
            files: [None, None, None, None],
            is_inherited: [false, true, true, true],
        }
    }

    /// That program, if there is one, or else this one again. Another program finds itself by its
    /// first word, so there the title is the last one.
    pub(crate) fn of(image: Option<&Image>, title: impl Into<OsString>) -> Self {
        let mut program = Program::again(title);
        if let Some(image) = image {
            let before = image.arguments.iter().cloned();
            let before = std::iter::once(image.path.clone()).chain(before);
            program.words = before.chain(program.words).collect();
            program.path = Some(image.path.clone());
            program.environment.clone_from(&image.environment);
        }
        program
    }

    /// Gives it a variable.
    pub(crate) fn env(&mut self, name: impl AsRef<OsStr>, value: impl Into<OsString>) -> &mut Self {
        let name = name.as_ref().to_owned();
        self.environment.insert(name, value.into());
        self
    }

    /// Lets it have no such variable.
    pub(crate) fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.environment.remove(name.as_ref());
        self
    }

    pub(crate) fn stdin(&mut self, file: impl Into<OwnedFd>) -> &mut Self {
        self.files[0] = Some(file.into());
        self
    }

    /// Nobody sees what it prints.
    pub(crate) fn without_output(&mut self) -> &mut Self {
        self.is_inherited[1] = false;
        self.is_inherited[2] = false;
        self
    }

    pub(crate) fn stdout(&mut self, file: impl Into<OwnedFd>) -> &mut Self {
        self.files[1] = Some(file.into());
        self.is_inherited[1] = false;
        self
    }

    pub(crate) fn stderr(&mut self, file: impl Into<OwnedFd>) -> &mut Self {
        self.files[2] = Some(file.into());
        self.is_inherited[2] = false;
        self
    }

    /// Gives it one more file, under the number that a variable tells after this prefix.
    pub(crate) fn file(
        &mut self,
        file: impl Into<OwnedFd>,
        by: &Handover,
        (variable, prefix): (&str, &str),
    ) -> &mut Self {
        let number = by.numbers()[3];
        self.files[3] = Some(file.into());
        self.is_inherited[3] = false;
        self.env(variable, format!("{prefix}{number}"))
    }

    /// Starts it; its pid. It has no signal blocked, ignores what this process was told to ignore,
    /// and has no other file open than those that it is given. `prepare` runs in the new process
    /// first of all, and decides with its error that there is none.
    ///
    /// # Errors
    /// There can be no process, `prepare` has failed, or the program cannot be executed.
    ///
    /// # Safety
    /// `prepare` runs in a process that shares this one's memory and open files. It may only make
    /// system calls that change neither: it takes no memory and no lock, and does not panic.
    pub(crate) unsafe fn start(
        self,
        by: &mut Handover,
        mut prepare: impl FnMut() -> io::Result<()>,
    ) -> io::Result<u32> {
        let word = |word: OsString| CString::new(word.into_vec());
        let path = self.path.map(word).transpose()?;
        let path = path.as_deref().unwrap_or(THIS_PROGRAM);
        let words = self.words.into_iter().map(word);
        let words = words.collect::<Result<Vec<_>, _>>()?;
        let variables = self.environment.into_iter().map(variable);
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        let (arguments, environment) = (list_of(&words), list_of(&variables));
        let (numbers, is_inherited) = (by.numbers(), self.is_inherited);
        let run = || {
            prepare()?;
            keep(numbers)?;
            place(numbers, is_inherited)?;
            signals::reset_for_exec()?;
            Err(execute(path, &arguments, &environment))
        };
        let started = by
            .give(&self.files)
            .and_then(|()| share_until_executed(&mut by.stack, run));
        // Whoever waits for the end of a file waits for this copy, too. A file that is open can be
        // replaced by another at any time.
        let _ = by.give(&[None, None, None, None]);
        started
    }
}

/// Runs this in a new process that shares this one's memory, while the calling thread waits. It
/// returns when it was not able to execute a program, and has the process end.
fn share_until_executed(
    stack: &mut [u8],
    mut run: impl FnMut() -> io::Result<()>,
) -> io::Result<u32> {
    let failure = AtomicI32::new(0);
    let run = || -> isize {
        if let Err(error) = run() {
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            failure.store(errno, Ordering::Relaxed);
        }
        // SAFETY: it ends this process alone, and nothing of the program is run for that.
        unsafe { libc::_exit(NOT_EXECUTED) }
    };
    let mut flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    flags.set(CloneFlags::CLONE_FILES, can_keep_some());
    // Blocked in the new process as well, until it has no handlers any more.
    let started = signals::with_all_blocked(|| {
        // SAFETY: the calling thread waits until the new process has executed its program or has
        // ended, so that the stack and all that is borrowed outlive its use of them. That only
        // system calls are made there is what the caller has promised and what this file does.
        unsafe { clone(Box::new(run), stack, flags, Some(libc::SIGCHLD)) }
    })?;
    match failure.load(Ordering::Relaxed) {
        0 => u32::try_from(started.as_raw()).map_err(io::Error::other),
        errno => {
            // It is gone, and never was anybody whom a reaper could know.
            let _ = waitpid(Pid::from_raw(started.as_raw()), WaitOptions::empty());
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

/// Returns `true` if a process that shares its open files can get a table of its own with only some
/// of them in it. Kernels before 5.9 cannot do that; there it gets a copy of the whole table.
fn can_keep_some() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    // Nothing is closed: no file has this number.
    *CAN.get_or_init(|| close_range(libc::c_uint::MAX, 0).is_ok())
}

/// Does to all files from this one on what the flags say. A system call.
pub(super) fn close_range(first: libc::c_uint, flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: what it closes is not used in this process any more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    Errno::result(closed).map(drop)
}

/// Gives the new process open files of its own: these, and what has a lower number, which exec
/// closes. ipc-channel copies descriptors of shared memory without the flag that would do this, and
/// what belongs to one worker must not reach another.
fn keep(numbers: [RawFd; FILES]) -> Result<(), Errno> {
    if can_keep_some() {
        let above = numbers.iter().fold(2, |last, number| last.max(*number)) + 1;
        let above = libc::c_uint::try_from(above).map_err(|_| Errno::EBADF)?;
        if close_range(above, libc::CLOSE_RANGE_UNSHARE).is_err() {
            // SAFETY: a system call; nobody else runs in this process.
            Errno::result(unsafe { libc::unshare(libc::CLONE_FILES) })?;
        }
    }
    // Kernels before 5.11 do not know the flag; there, a few descriptors too many are inherited.
    let _ = close_range(3, libc::CLOSE_RANGE_CLOEXEC);
    Ok(())
}

/// A variable as it stands in an environment.
fn variable((name, value): (OsString, OsString)) -> io::Result<CString> {
    let mut bytes = name.into_vec();
    bytes.push(b'=');
    bytes.extend(value.into_vec());
    Ok(CString::new(bytes)?)
}

/// Has these files be inherited, the standard streams under their own numbers. In the new process.
fn place(numbers: [RawFd; FILES], is_inherited: [bool; FILES]) -> Result<(), Errno> {
    for ((stream, number), is_inherited) in (0..).zip(numbers).zip(is_inherited) {
        if is_inherited {
            continue;
        }
        // SAFETY: system calls that change this process's own descriptors.
        let placed = unsafe {
            match stream {
                0..3 => libc::dup2(number, stream),
                _ => libc::fcntl(number, libc::F_SETFD, 0),
            }
        };
        Errno::result(placed)?;
    }
    Ok(())
}

/// The list of strings that exec takes.
fn list_of(strings: &[CString]) -> Vec<*const c_char> {
    let pointers = strings.iter().map(|one| one.as_ptr());
    pointers.chain([ptr::null()]).collect()
}

/// Executes the program; why that is not possible. In the new process.
fn execute(path: &CStr, arguments: &[*const c_char], environment: &[*const c_char]) -> io::Error {
    // SAFETY: both lists end with a null, and what they point to lives in the thread that waits.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Executing these tests again would run them again: what can be tried here is that it fails.
    #[test]
    fn what_fails_in_the_new_process_is_told_and_leaves_nothing() {
        let mut by = Handover::new().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut program = Program::again("none");
        program.stderr(writer);
        let pid = AtomicI32::new(0);
        // SAFETY: only system calls are made.
        let started = unsafe {
            program.start(&mut by, || {
                pid.store(libc::getpid(), Ordering::Relaxed);
                Err(io::Error::from_raw_os_error(libc::ENOTTY))
            })
        };
        assert_eq!(started.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        let pid = Pid::from_raw(pid.into_inner());
        assert!(pid.is_some_and(|pid| pid != rustix::process::getpid()));
        let waited = waitpid(pid, WaitOptions::NOHANG);
        assert_eq!(waited.unwrap_err(), rustix::io::Errno::CHILD);
        // Nobody has the file any more.
        let read = std::io::Read::read(&mut reader, &mut [0]);
        assert_eq!(read.unwrap(), 0);
    }

    #[test]
    fn a_title_with_a_zero_is_no_process() {
        let program = Program::again("a\0b");
        let mut by = Handover::new().unwrap();
        // SAFETY: only system calls are made.
        let started = unsafe { program.start(&mut by, || Ok(())) };
        assert_eq!(started.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn only_files_that_are_kept_stay_open() {
        let mut by = Handover::new().unwrap();
        let numbers = by.numbers();
        let other = fcntl_dupfd_cloexec(&by.null, 200).unwrap();
        let count = |number: RawFd| {
            // SAFETY: where no file has this number the call says so.
            unsafe { libc::fcntl(number, libc::F_GETFD) }
        };
        let (kept, lost) = (AtomicI32::new(-1), AtomicI32::new(-1));
        let started = share_until_executed(&mut by.stack, || {
            keep(numbers)?;
            place(numbers, [true, true, true, false])?;
            kept.store(count(numbers[3]), Ordering::Relaxed);
            lost.store(count(other.as_raw_fd()), Ordering::Relaxed);
            Err(io::Error::from_raw_os_error(libc::EXFULL))
        });
        assert_eq!(started.unwrap_err().raw_os_error(), Some(libc::EXFULL));
        assert_eq!(kept.into_inner(), 0, "it would be inherited");
        // A copy of the whole table, on old kernels, has it closed by exec.
        let closed_by_exec = i32::from(!can_keep_some()) * 2 - 1;
        assert_eq!(lost.into_inner(), closed_by_exec);
        assert_eq!(count(other.as_raw_fd()), libc::FD_CLOEXEC, "here it stays");
        assert_eq!(count(numbers[3]), libc::FD_CLOEXEC);
    }
}
