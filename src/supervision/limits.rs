//! Checks that the system allows what workers need, with clear errors, before any is started.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{
    PidfdFlags, getpid, parent_process_death_signal, pidfd_open, set_parent_process_death_signal,
};

use super::reap;
use crate::error::Kind;
use crate::protocol::ring_pair::RingPair;
use crate::sys::delegated::DelegatedGroup;
use crate::sys::{machine, signals, usage};

/// Open files for one worker process: two channel ends, a pidfd, the socket and its stderr stay;
/// the rest comes and goes while it boots and while large items travel.
const FILES_PER_WORKER: u64 = 9;

/// Open files that a supervisor needs for itself, and for segments of shared memory.
const FILES_RESERVED: u64 = 32;

/// More workers than this are a typing error.
const WORKERS_MAX: usize = 16_384;

/// The kernel's default buffer of a socket, which small messages must not fill.
const SOCKET_BUFFER: u64 = 212_992;

/// Checks that this many workers are a sensible number.
pub(crate) fn check_count(workers: usize) -> Result<(), Kind> {
    let why = match workers {
        0 => "at least 1 is needed".to_owned(),
        1..=WORKERS_MAX => return Ok(()),
        _ => format!("{workers} are more than {WORKERS_MAX}"),
    };
    Err(Kind::invalid("workers", why))
}

/// Checks that this many workers can be asked for later; then it may be none.
pub(super) fn check_scale(workers: usize) -> Result<(), Kind> {
    match workers {
        0 => Ok(()),
        _ => check_count(workers),
    }
}

/// Checks that this process learns how its workers end.
fn check_exits_are_kept() -> Result<(), Kind> {
    match signals::are_exits_kept() {
        true => Ok(()),
        false => Err(Kind::invalid(
            "SIGCHLD",
            "is ignored by this program, or handled with SA_NOCLDWAIT, so that nobody learns how \
             worker processes end: set it to its default before workers are started",
        )),
    }
}

/// Checks that the memory that is shared with a worker can be made, which is a file to the kernel.
pub(crate) fn check_file_size() -> Result<(), Kind> {
    let (longest, _) = getrlimit(Resource::RLIMIT_FSIZE)
        .map_err(|errno| Kind::io("reading the limit on the size of files")(errno.into()))?;
    match RingPair::BYTES as u64 {
        needed if needed > longest => Err(Kind::invalid(
            "ulimit -f",
            format!(
                "files may have {longest} bytes, and the memory that is shared with a worker \
                 process is a file of {needed}: raise the limit on the size of files"
            ),
        )),
        _ => Ok(()),
    }
}

/// A worker process needs no more open files for itself.
const FILES_OF_WORKER: u64 = 64;

/// The soft limit on open files that was there before we raised it, and what we raised it to.
static RAISED: Mutex<Option<(u64, u64)>> = Mutex::new(None);

/// The soft and the hard limit on open files that worker processes are to have, and with them what
/// they start: the user's own, which may be low for programs that `select`. `None` where we have
/// changed nothing.
pub(super) fn files_of_workers() -> Option<(u64, u64)> {
    let raised = *RAISED.lock();
    let (before, raised_to) = raised?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // Where somebody has changed it again, it is theirs.
    (soft == raised_to).then_some((before.max(FILES_OF_WORKER).min(hard), hard))
}

/// Makes room for the open files of this many worker processes, up to the hard limit.
pub(crate) fn provide_files(workers: usize) -> Result<(), Kind> {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let reserved = open + FILES_RESERVED;
    let needed = reserved + workers as u64 * FILES_PER_WORKER;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| Kind::io("reading the limit on open files")(errno.into()))?;
    if needed <= soft {
        return Ok(());
    }
    if needed <= hard && setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_ok() {
        let mut raised = RAISED.lock();
        let before = match *raised {
            Some((before, raised_to)) if raised_to == soft => before,
            _ => soft,
        };
        *raised = Some((before, needed));
        return Ok(());
    }
    Err(Kind::TooFewFiles {
        workers,
        needed,
        limit: hard,
        fit: hard.saturating_sub(reserved) / FILES_PER_WORKER,
    })
}

/// Checks that the system has what every worker process needs, and allows the calls without which
/// none can be started, watched or ended. Found out by each worker, it would be told without a
/// name.
pub(crate) fn check_system() -> Result<(), Kind> {
    check_exits_are_kept()?;
    let lacking = |what| move |why: String| Kind::Lacking { what, why };
    // A program that runs is there, so that it can only be /proc that is not.
    fs::metadata("/proc/self/exe")
        .map_err(|error| {
            format!("/proc/self/exe: {error}; mount it, as with mount -t proc proc /proc")
        })
        .map_err(lacking("/proc"))?;
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| format!("{error}; make it, as with mknod -m 666 /dev/null c 1 3"))
        .map_err(lacking("/dev/null"))?;
    for (call, try_out) in CALLS {
        try_out()
            .map_err(|errno| {
                format!(
                    "{errno}; it may be a seccomp profile that refuses it, or a kernel before 5.4"
                )
            })
            .map_err(lacking(call))?;
    }
    Ok(())
}

type Trial = (&'static str, fn() -> Result<(), Errno>);

/// System calls that something may refuse, and a use of each that changes nothing.
const CALLS: [Trial; 5] = [
    ("the system call pidfd_open", || pidfd_of_this().map(drop)),
    ("the system call pidfd_send_signal", || {
        let pidfd = pidfd_of_this()?;
        let (fd, none) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
        // SAFETY: the file is open, and signal 0 is none.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, 0, none, 0) };
        match sent {
            0 => Ok(()),
            _ => Err(errno_now()),
        }
    }),
    (reap::WAIT_CALL, || reap::try_out(&pidfd_of_this()?)),
    ("the system call prctl(PR_SET_PDEATHSIG)", || {
        set_parent_process_death_signal(parent_process_death_signal()?)
    }),
    ("the system call memfd_create", || {
        memfd_create("trial", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map(drop)
    }),
];

fn pidfd_of_this() -> Result<OwnedFd, Errno> {
    pidfd_open(getpid(), PidfdFlags::empty())
}

fn errno_now() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Checks that the memory of a worker and of what it has started is bounded by the kernel, or can be
/// measured.
pub(crate) fn check_memory_is_told() -> Result<(), Kind> {
    match DelegatedGroup::get().is_some() || usage::can_be_measured() {
        true => Ok(()),
        false => Err(Kind::Lacking {
            what: "/proc/PID/task/TID/children",
            why: "it is not there, so nobody tells what a worker has started; it needs a kernel with \
                  CONFIG_PROC_CHILDREN, and /proc to be mounted"
                .into(),
        }),
    }
}

/// Checks that the kernel tells the pressure.
pub(crate) fn check_pressure_is_told() -> Result<(), Kind> {
    match machine::pressure() {
        Some(_) => Ok(()),
        None => Err(Kind::Lacking {
            what: "/proc/pressure",
            why: "this kernel tells no pressure; it needs 4.20 or later with CONFIG_PSI, and psi=1 on \
                  its command line where it is off by default"
                .into(),
        }),
    }
}

/// Checks that small messages can be sent without waiting, as the link assumes.
pub(crate) fn check_socket_buffer() -> Result<(), Kind> {
    let text = fs::read_to_string("/proc/sys/net/core/wmem_default").unwrap_or_default();
    match text.trim().parse::<u64>() {
        Ok(bytes) if bytes < SOCKET_BUFFER => Err(Kind::invalid(
            "net.core.wmem_default",
            format!("{bytes} bytes are too few for worker processes; {SOCKET_BUFFER} is usual"),
        )),
        _ => Ok(()),
    }
}
