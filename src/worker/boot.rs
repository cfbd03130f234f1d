//! From a re-executed program to a worker: take the supervisor's order and do it.
//!
//! A process is called when its environment names the pid of its own parent, so a program started
//! by a worker, which inherits the environment, does not take itself for one.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use ipc_channel::ipc::{IpcReceiver, IpcSender};
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Pid, dup2_stderr, getppid, setsid};

use super::orphan::Waker;
use super::session::Session;
use super::{current, orphan, roles, run};
use crate::fail;
use crate::protocol::endpoints::Endpoints;
use crate::protocol::orders::{Assignment, BOOT_VARIABLE, ForkReply, Order};
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::{exit, signals, stderr, title};

/// The supervisor's call, with the socket inherited from it, if it is there.
pub(super) struct Call {
    socket: Option<DescriptorSocket>,
}

/// Returns the call if this process was started to be a worker.
pub(super) fn call() -> Option<Call> {
    let value = std::env::var(BOOT_VARIABLE).ok()?;
    let (pid, number) = value.split_once(' ')?;
    let supervisor = Pid::from_raw(pid.parse().ok()?);
    if supervisor != getppid() {
        return None;
    }
    let number = number.parse::<RawFd>().ok();
    Some(Call {
        socket: number.and_then(|number| DescriptorSocket::inherited(number, supervisor.as_raw())),
    })
}

/// Takes the order and serves. The exit code.
pub(super) fn answer(call: Call) -> i32 {
    signals::inherited();
    // Commands must be waited for, even if SIGCHLD was ignored when the supervisor was started.
    signals::keep_exits();
    let Some(socket) = call.socket else {
        stderr::write_all(
            b"DISHRACK_BOOT is set as for a worker process, but its socket is not there: unset it to run \
              the program by itself, and close no files before dishrack::serve\n",
        );
        return exit::BOOT_FAILED;
    };
    title::claim("worker");
    // ipc-channel does not try again after an interrupted call.
    match signals::with_all_blocked(|| Order::receive(&socket)) {
        Ok(Order::Work(assignment)) => {
            let Ok(endpoints) = Endpoints::receive(&socket, assignment.number) else {
                return exit::BOOT_FAILED;
            };
            fail::set_role(&assignment.name);
            fail::point("worker: ordered");
            let waker = match orphan::watch(assignment.supervisor) {
                Ok(waker) => waker,
                Err(error) => return without_thread(&error),
            };
            fail::point("worker: guarded");
            roles::preload();
            show_name_of(&assignment);
            work(assignment, endpoints, socket, waker)
        }
        Ok(Order::ServeForks { orders, replies }) => serve_forks(socket, orders, replies),
        Err(error) => {
            stderr::write_all(format!("did not get its order: {error}\n").as_bytes());
            exit::BOOT_FAILED
        }
    }
}

fn show_name_of(assignment: &Assignment) {
    title::claim(&assignment.name);
    title::show_name();
}

/// Works until there is no more work. Returns the exit code.
fn work(
    assignment: Assignment,
    endpoints: Endpoints,
    socket: DescriptorSocket,
    waker: Waker,
) -> i32 {
    let Some(role) = roles::find(&assignment.role) else {
        return exit::BOOT_FAILED;
    };
    match Session::open(assignment, endpoints, socket, waker) {
        Some(session) => {
            current::enter(&session);
            if let Some(begin) = &role.begin {
                begin();
            }
            session.say_ready();
            run(&role, &session)
        }
        None => exit::BOOT_FAILED,
    }
}

/// Makes a worker out of this process for each order, until nobody is left to give one.
///
/// This process has a single thread and drops a worker's channels, socket and memory as soon as the
/// worker has its copies, so that no worker keeps another's link open.
fn serve_forks(
    socket: DescriptorSocket,
    orders: IpcReceiver<Assignment>,
    replies: IpcSender<ForkReply>,
) -> i32 {
    title::set_comm("fork-server");
    // This process is in the background of the supervisor's terminal, if there is one. Code that is
    // loaded here and uses the terminal must get an error instead of being stopped.
    for asked in TERMINAL_STOPS {
        signals::ignore(asked);
    }
    roles::preload();
    // For some instructions a forked child can be ended only by its group: where the kernel finds
    // it stopped and its group without a parent, it sends it SIGHUP and wakes it. So SIGHUP must
    // not be ignored, as it is under nohup.
    // SAFETY: no handler is installed.
    let _ = unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) };
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if replies.send(ForkReply::Serving).is_err() {
        return 0;
    }
    loop {
        let Ok(assignment) = orders.recv() else {
            return 0;
        };
        let Ok(endpoints) = Endpoints::receive(&socket, assignment.number) else {
            return exit::BOOT_FAILED;
        };
        let forked = match threads {
            1 => roles::fork_with(fork_sibling, |forked| matches!(forked, Ok(0)))
                .unwrap_or_else(|| Err(io::Error::other("what surrounds it has not forked")))
                .map_err(|error| format!("fork failed: {error}")),
            _ => Err(format!(
                "preloading has started threads: there are {threads}"
            )),
        };
        let reply = match forked {
            Ok(0) => {
                orphan::die_with(assignment.supervisor);
                for asked in TERMINAL_STOPS {
                    signals::stop_ignoring(asked);
                }
                drop((socket, orders, replies));
                exit::with(be_forked(assignment, endpoints));
            }
            other => other,
        };
        drop((assignment, endpoints));
        if replies.send(ForkReply::Forked(reply)).is_err() {
            return 0;
        }
    }
}

/// Forks a child of the supervisor rather than of this process: the supervisor can wait for it and
/// takes it along at its end, and the fork server's end does not matter. Returns 0 in the child.
fn fork_sibling() -> Result<u32, std::io::Error> {
    let mut flags = libc::CLONE_PARENT | libc::SIGCHLD;
    let place = place_of_thread_id();
    if !place.is_null() {
        flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    }
    let (flags, none) = (libc::c_long::from(flags), 0 as libc::c_long);
    // SAFETY: without CLONE_VM this is fork(2) with another parent. This process has one thread,
    // which was counted, so no other thread holds a lock in the copy. The place is fork's fourth
    // argument or its fifth, as the machine has it; the other one is not used.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, place, place) };
    u32::try_from(pid).map_err(|_| std::io::Error::last_os_error())
}

/// The question for the place that the kernel clears at a thread's end, which libc does not name.
const PR_GET_TID_ADDRESS: libc::c_int = 40;

/// Returns the place where the C library keeps the calling thread's id, which is wrong in a child of
/// a bare clone until the kernel writes it there. Null where it is not known: a kernel that does not
/// tell, or a C library that keeps something else at the place that the kernel clears.
fn place_of_thread_id() -> *const libc::pid_t {
    let mut place: *const libc::pid_t = ptr::null();
    // SAFETY: the kernel writes a pointer there, or nothing.
    let is_told = unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut place) } == 0;
    // SAFETY: it is this thread's own memory, which the kernel will write to at the thread's end.
    match is_told && !place.is_null() && unsafe { *place == libc::gettid() } {
        true => place,
        false => ptr::null(),
    }
}

/// Works as a forked child: in its first thread, or in one of its own where the first thread does not
/// know its thread id.
fn be_forked(assignment: Assignment, mut endpoints: Endpoints) -> i32 {
    fail::set_role(&assignment.name);
    fail::point("worker: forked");
    // Until now it has the fork server's, so that one would be taken for the other.
    show_name_of(&assignment);
    // Until now it is in the fork server's group, which the kernel ends if it is stopped.
    let _ = setsid();
    // The signal at a parent's death is a setting of the calling thread.
    let waker = orphan::watch(assignment.supervisor);
    fail::point("worker: forked, guarded");
    // If that fails, its stderr stays the fork server's.
    let _ = endpoints.stderr.take().map(dup2_stderr);
    let Some(socket) = endpoints.socket.take() else {
        return exit::BOOT_FAILED;
    };
    let waker = match waker {
        Ok(waker) => waker,
        Err(error) => return without_thread(&error),
    };
    if !place_of_thread_id().is_null() {
        return work(assignment, endpoints, socket, waker);
    }
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    match thread.spawn(move || work(assignment, endpoints, socket, waker)) {
        Ok(life) => life.join().unwrap_or(exit::PANICKED),
        Err(error) => without_thread(&error),
    }
}

fn without_thread(error: &io::Error) -> i32 {
    stderr::say_no_thread(error);
    exit::BOOT_FAILED
}

/// The signals that stop a background process that reads from its terminal, or changes it.
const TERMINAL_STOPS: [Signal; 2] = [Signal::SIGTTIN, Signal::SIGTTOU];

/// The usual stack size of the first thread of a process.
const STACK_BYTES: usize = 8 * 1024 * 1024;
