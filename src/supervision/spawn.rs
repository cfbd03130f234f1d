//! Starting a process that will meet us at a socket: the running executable, executed again.
//!
//! What the new process is to be is told at the meeting (see `orders`). It knows nothing of
//! restarts.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::getppid;

use super::limits;
use super::orders::{Appointment, BOOT_VARIABLE, Hello, JOURNAL_VARIABLE, mark_of};
use crate::link::frame::Nudge;
use crate::link::lane::Lane;
use crate::worker::title;

/// Where a started process will say hello.
pub(super) type MeetingPlace = IpcOneShotServer<Hello>;

/// A process that was started, and where it will come to.
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) place: MeetingPlace,
    pub(super) socket: String,
}

/// Executes the running executable again. The calling thread must live as long as the supervisor:
/// the kernel takes its end for the parent's. `journal`: whose items the process works for, if that is
/// to be known when this one is gone.
pub(super) fn start(
    name: &str,
    stderr: Option<OwnedFd>,
    journal: Option<u128>,
) -> io::Result<Started> {
    let (place, socket) = limits::open_meeting_place().map_err(|error| {
        let folder = std::env::temp_dir();
        io::Error::other(format!("no socket in {}: {error}", folder.display()))
    })?;
    let supervisor = std::process::id();
    let mut command = Command::new("/proc/self/exe");
    command
        // Room for the title; it is all spaces until the process has a name.
        .arg0(format!("{name:<width$}", width = title::ROOM_BYTES))
        .env(BOOT_VARIABLE, format!("{supervisor} {socket}"))
        .stdin(Stdio::null())
        .stderr(stderr.map_or_else(Stdio::inherit, Stdio::from))
        .process_group(0);
    match journal {
        Some(identity) => command.env(JOURNAL_VARIABLE, mark_of(identity)),
        // It may be another run's, which has started this one.
        None => command.env_remove(JOURNAL_VARIABLE),
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            // The calling thread blocks all signals, and a mask outlives exec.
            SigSet::empty().thread_set_mask()?;
            keep_only_stdio();
            // Plain SIGKILL until the worker has a handler that takes its own children along.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
                // Nobody is left to be told of an error.
                libc::_exit(0);
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Started {
        pid: child.id(),
        place,
        socket,
    })
}

/// Has exec close every file but the first three. ipc-channel copies descriptors of shared memory
/// without the flag that would do this, and what belongs to one worker must not reach another.
pub(super) fn keep_only_stdio() {
    let (first, last, flags) = (3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // Kernels before 5.11 do not know the flag; there, a few descriptors too many are inherited.
    // SAFETY: a system call that only sets flags of this process's own descriptors.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Ends the wait at a meeting place to which nobody will come any more, by coming there.
pub(super) fn release(place: &str) {
    let flags = SockFlag::SOCK_CLOEXEC;
    // Where the place is gone, nobody waits there.
    let _ = UnixAddr::new(place).and_then(|address| {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(fd.as_raw_fd(), &address)
    });
}

/// Our ends of a worker's channels.
pub(super) struct Ends {
    pub(super) downlink: IpcSender<Nudge>,
    pub(super) uplink: IpcReceiver<Nudge>,
    pub(super) lane: Arc<Lane>,
}

/// What all workers of one supervisor have in common.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) role: &'static str,
    pub(super) item_type: &'static str,
    pub(super) announces_starts: bool,
    /// What all workers are given, serialized.
    pub(super) context: Option<Arc<[u8]>>,
}

/// What is one worker's own.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) memory_max: Option<u64>,
    pub(super) stderr: Option<(String, u64)>,
}

/// In shared memory, whatever its size: a message must fit into one packet. `None` where the system
/// has none left: ipc-channel panics there.
fn shared(bytes: &[u8]) -> Option<IpcSharedMemory> {
    // It does not map nothing.
    let bytes = if bytes.is_empty() { &[0] } else { bytes };
    catch_unwind(|| IpcSharedMemory::from_bytes(bytes)).ok()
}

/// Makes a worker's channels and lane: our ends, and the appointment to send to it.
pub(super) fn appoint(
    name: &str,
    position: &Position,
    terms: Terms,
) -> io::Result<(Ends, Appointment)> {
    let (down_sender, down_receiver) = ipc::channel()?;
    let (up_sender, up_receiver) = ipc::channel()?;
    let refused =
        || io::Error::other("no shared memory: raise the limit on open files or on memory");
    let lane = Lane::new().ok_or_else(refused)?;
    let theirs = lane.to_send().ok_or_else(refused)?;
    let context = match position.context.as_deref() {
        Some(bytes) => Some(shared(bytes).ok_or_else(refused)?),
        None => None,
    };
    let appointment = Appointment {
        name: name.to_owned(),
        role: position.role.to_owned(),
        item_type: position.item_type.to_owned(),
        supervisor: std::process::id(),
        announces_starts: position.announces_starts,
        context,
        memory_max: terms.memory_max,
        stderr: terms.stderr,
        downlink: down_receiver,
        uplink: up_sender,
        lane: theirs,
    };
    let ends = Ends {
        downlink: down_sender,
        uplink: up_receiver,
        lane,
    };
    Ok((ends, appointment))
}
