//! From a re-executed program to a worker: connect to the supervisor and do what it orders.
//!
//! A process is called when its environment names the pid of its own parent, so that a program
//! started by a worker, which inherits the environment, does not take itself for one.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicU32, Ordering};

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, dup2_stderr, getppid, setpgid};

use super::session::Session;
use super::{exit, roles, run, title};
use crate::link::frame::PROTOCOL;
use crate::supervision::orders::{Appointment, BOOT_VARIABLE, ForkReply, Hello, Order};

/// How a supervisor calls: its pid and the socket where it waits.
pub(super) struct Call {
    socket: String,
}

/// Whether this process was started to be a worker.
pub(super) fn call() -> Option<Call> {
    let value = std::env::var(BOOT_VARIABLE).ok()?;
    let (pid, socket) = value.split_once(' ')?;
    let supervisor = Pid::from_raw(pid.parse().ok()?);
    (supervisor == getppid()).then(|| Call {
        socket: socket.to_owned(),
    })
}

/// Connects and serves. The exit code.
pub(super) fn answer(call: &Call) -> i32 {
    title::claim("worker", false);
    let Ok((orders, order)) = ipc::channel::<Order>() else {
        return exit::BOOT_FAILED;
    };
    let Ok(supervisor) = IpcSender::connect(call.socket.clone()) else {
        return exit::BOOT_FAILED;
    };
    let hello = Hello {
        protocol: PROTOCOL,
        pid: std::process::id(),
        orders,
    };
    if supervisor.send(hello).is_err() {
        return exit::BOOT_FAILED;
    }
    drop(supervisor);
    match order.recv() {
        Ok(Order::Work(appointment)) => {
            watch_supervisor(appointment.supervisor);
            roles::preload();
            work(appointment)
        }
        Ok(Order::ServeForks { replies }) => serve_forks(order, replies),
        Ok(Order::Fork(_)) | Err(_) => exit::BOOT_FAILED,
    }
}

/// Is a worker until there is no more work. The exit code.
fn work(appointment: Appointment) -> i32 {
    title::claim(&appointment.name, false);
    let Some(role) = roles::find(&appointment.role) else {
        return exit::BOOT_FAILED;
    };
    match Session::open(appointment) {
        Some(session) => run(&role, &session),
        None => exit::BOOT_FAILED,
    }
}

/// Has the kernel tell when the supervisor is gone, and goes too, with all that this process has
/// started. Until now its plain SIGKILL would have left those behind. A stopped worker is woken:
/// see `wake_when_orphaned` in `session`.
fn watch_supervisor(supervisor: u32) {
    extern "C" fn on_hangup(_: libc::c_int) {
        let supervisor = SUPERVISOR.load(Ordering::Relaxed);
        if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
            // Only calls that a signal handler may make follow.
            exit::as_orphan_in_handler();
        }
    }
    SUPERVISOR.store(supervisor, Ordering::Relaxed);
    let action = SigAction::new(
        SigHandler::Handler(on_hangup),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler calls only functions that are safe in a signal handler.
    let is_set = unsafe { sigaction(Signal::SIGHUP, &action) }.is_ok();
    if is_set {
        let _ = prctl::set_pdeathsig(Signal::SIGHUP);
    }
    if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
        exit::as_orphan();
    }
}

static SUPERVISOR: AtomicU32 = AtomicU32::new(0);

/// Makes a worker out of this process for each order, until the supervisor is gone.
///
/// This process has a single thread and holds no worker's channels: an appointment's are dropped
/// as soon as the worker has its copies, so that no worker keeps another's link open.
fn serve_forks(orders: IpcReceiver<Order>, replies: IpcSender<ForkReply>) -> i32 {
    title::set_comm("fork-server");
    roles::preload();
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    loop {
        let appointment = match orders.recv() {
            Ok(Order::Fork(appointment)) => appointment,
            Ok(_) => return exit::BOOT_FAILED,
            Err(_) => return 0,
        };
        let forked = match threads {
            1 => fork_sibling().map_err(|error| format!("fork failed: {error}")),
            _ => Err(format!(
                "preloading has started threads: there are {threads}"
            )),
        };
        let reply = match forked {
            Ok(0) => {
                drop((orders, replies));
                exit::with(be_forked(appointment));
            }
            other => other,
        };
        drop(appointment);
        if replies.send(ForkReply(reply)).is_err() {
            return 0;
        }
    }
}

/// Forks a child of the supervisor, rather than of this process: so the supervisor waits for it
/// and outlives no worker, and the fork server's end is nothing to the workers. 0 in the child.
fn fork_sibling() -> Result<u32, std::io::Error> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM this is fork(2) with another parent. This process has one thread,
    // which was counted, so no lock is held by anybody else in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    u32::try_from(pid).map_err(|_| std::io::Error::last_os_error())
}

/// The forked child's life. It runs in a thread of its own, because the first thread of a process
/// made by a bare clone does not know its own thread id.
fn be_forked(appointment: Appointment) -> i32 {
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    // The signal of a parent's death is a setting of the thread that asks for it.
    watch_supervisor(appointment.supervisor);
    title::set_comm(&appointment.name);
    if let Some((path, inode)) = &appointment.stderr {
        write_stderr_to(path, *inode);
    }
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    match thread.spawn(move || work(appointment)) {
        Ok(life) => life.join().unwrap_or(exit::PANICKED),
        Err(_) => exit::BOOT_FAILED,
    }
}

/// From now on this process's stderr is this pipe. Where that is not possible it stays the fork
/// server's; so it does where the supervisor has another file under that number by now.
fn write_stderr_to(path: &str, inode: u64) {
    let is_it = |place: &Metadata| place.file_type().is_fifo() && place.ino() == inode;
    if std::fs::metadata(path).is_ok_and(|place| is_it(&place))
        && let Ok(file) = File::options().write(true).open(path)
        && file.metadata().is_ok_and(|place| is_it(&place))
    {
        let _ = dup2_stderr(file);
    }
}

/// As much as the first thread of a process usually has.
const STACK_BYTES: usize = 8 * 1024 * 1024;
