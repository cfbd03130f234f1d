//! Starting a process: the running executable, executed again, with a socket between us.
//!
//! What the new process is to be lies in that socket (see `orders`). It knows nothing of restarts.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid, setpgid, setsid};

use super::jobserver;
use super::limits;
use crate::error::Kind;
use crate::fail;
use crate::protocol::address::QueueAddress;
use crate::protocol::endpoints::Endpoints;
use crate::protocol::frame::Nudge;
use crate::protocol::orders::{Assignment, BOOT_VARIABLE, JOURNAL_VARIABLE, Order, mark_of};
use crate::protocol::ring_pair::RingPair;
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::priority::Priorities;
use crate::sys::program::{Handover, Image, Program};
use crate::sys::{memory, title};

/// The way in which worker processes are made.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, StartMethod, Supervisor};
///
/// fn dry(dish: String) -> Result<usize, String> {
///     Ok(dish.len())
/// }
///
/// dishrack::serve(|roles| roles.handler(dry));
/// let rack = JoinableQueue::unbounded();
/// let builder = Supervisor::builder().processes(2).start_method(StartMethod::Fork);
/// let pool = builder.handler(&rack, dry)?;
/// assert_eq!(pool.map(["cup".to_owned()]).next().unwrap().unwrap(), 3);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartMethod {
    /// Each is a fresh process: the running executable, executed again.
    #[default]
    Spawn,
    /// Each is forked from a fork server, a process with a single thread that was itself spawned.
    /// It is faster, and the code before `dishrack::serve` runs only once. The supervisor has one of
    /// its own, unless it is given one ([`ForkServer`](super::ForkServer)).
    Fork,
}

/// The way in which worker processes are started and kept, apart from what they work on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Launch {
    /// The program that is executed, if it is not this one again.
    pub(super) image: Option<Arc<Image>>,
    /// True if workers write to the supervisor's stderr themselves.
    pub(super) inherits_stderr: bool,
    /// True if their stderr is not shown.
    pub(super) hides_stderr: bool,
    /// True if a keeper ends the processes that workers start.
    pub(super) has_keeper: bool,
    /// True if this process has no children but those of this supervisor.
    pub(super) owns_process: bool,
    /// The priorities of workers and of what they start.
    pub(super) priorities: Priorities,
    /// The mark of the journal whose items the processes work for, by which a later run knows them.
    pub(super) journal: Option<u128>,
}

/// The group or session that a new process leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// A process group, in the supervisor's session.
    Group,
    /// A session: it has no terminal, so whoever asks for one is told so at once. In a session with
    /// one it would be in the background, where it is stopped for that.
    Session,
}

/// Executes the running executable again, or the one that was chosen, which inherits this socket, and returns its pid. The
/// calling thread must live as long as the supervisor: the kernel takes its end for the parent's.
pub(super) fn start(
    by: &mut Handover,
    socket: DescriptorSocket,
    name: &str,
    leads: Leads,
    stderr: Option<OwnedFd>,
    launch: &Launch,
) -> io::Result<u32> {
    let supervisor = std::process::id();
    // Room for the title; it is all spaces until the process has a name.
    let title = format!("{name:<width$}", width = title::ROOM_BYTES);
    let mut program = Program::of(launch.image.as_deref(), title);
    program.file(socket, by, (BOOT_VARIABLE, &format!("{supervisor} ")));
    if let Some(stderr) = stderr {
        program.stderr(stderr);
    }
    jobserver::conceal_from(&mut program);
    match launch.journal {
        Some(identity) => program.env(JOURNAL_VARIABLE, mark_of(identity)),
        // It may be another run's, which has started this one.
        None => program.env_remove(JOURNAL_VARIABLE),
    };
    let files = limits::files_of_workers();
    let priorities = launch.priorities;
    let is_to_kill = fail::is_planted("killed in the middle of a start");
    // SAFETY: only system calls are made.
    unsafe {
        program.start(by, || {
            if is_to_kill {
                kill(Pid::parent(), Signal::SIGKILL)?;
            }
            // First of all, and plain SIGKILL until the worker has a handler that takes its own
            // children along: it serves also where this process is stopped.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
                // Nobody is left to be told of an error.
                libc::_exit(0);
            }
            match leads {
                Leads::Group => setpgid(Pid::from_raw(0), Pid::from_raw(0))?,
                Leads::Session => drop(setsid()?),
            }
            if let Some((soft, hard)) = files {
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            }
            priorities.set()?;
            Ok(())
        })
    }
}

/// Our ends of a worker's channels.
pub(super) struct ChannelEnds {
    pub(super) downlink: IpcSender<Nudge>,
    pub(super) uplink: IpcReceiver<Nudge>,
    pub(super) ring_pair: Arc<RingPair>,
}

/// The properties that all workers of one supervisor share.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) role: &'static str,
    pub(super) item_type: &'static str,
    /// The queue that they work for.
    pub(super) queue: QueueAddress,
    /// True if its items outlive this process.
    pub(super) keeps_items: bool,
    pub(super) announces_starts: bool,
    /// The context that all workers are given, serialized, in memory that nobody can write to.
    pub(super) context: Option<Arc<OwnedFd>>,
    /// The files that all workers are given.
    pub(super) files: Vec<Arc<OwnedFd>>,
}

/// Puts the context that all workers of a pool are given into memory for them to read.
pub(super) fn share_context(bytes: Option<&[u8]>) -> Result<Option<Arc<OwnedFd>>, Kind> {
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    // Nothing cannot be mapped, and what is longer than it must be decodes as well.
    let (mapping, file) = memory::make_for_readers(bytes.len().max(1))
        .map_err(Kind::io("sharing the workers' context"))?;
    // SAFETY: the mapping is as long, and nobody else has it yet.
    unsafe {
        mapping
            .start()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
    };
    Ok(Some(Arc::new(file)))
}

/// The message that makes a new process a worker.
#[derive(Debug)]
pub(super) struct StartMessage {
    pub(super) assignment: Assignment,
    pub(super) endpoints: Endpoints,
}

impl StartMessage {
    /// Sends it by a socket whose other end a new process will inherit.
    pub(super) fn send(self, by: &DescriptorSocket) -> io::Result<()> {
        Order::Work(self.assignment).send(by)?;
        self.endpoints.send(by)
    }
}

/// Makes a worker's channels and ring pair: our ends, and what is to be sent to it.
pub(super) fn assign(
    (name, slot): (&str, usize),
    number: u64,
    position: &Position,
    memory_max: Option<u64>,
) -> io::Result<(ChannelEnds, StartMessage)> {
    let (down_sender, down_receiver) = ipc::channel()?;
    let (up_sender, up_receiver) = ipc::channel()?;
    let (ring_pair, theirs) = RingPair::new().map_err(|error| {
        let advice = memory::advice(&error);
        io::Error::other(format!("no shared memory ({error}): {advice}"))
    })?;
    let assignment = Assignment {
        number,
        name: name.to_owned(),
        slot: slot as u64,
        role: position.role.to_owned(),
        item_type: position.item_type.to_owned(),
        queue: position.queue,
        keeps_items: position.keeps_items,
        supervisor: std::process::id(),
        announces_starts: position.announces_starts,
        memory_max,
        downlink: down_receiver,
        uplink: up_sender,
    };
    let endpoints = Endpoints {
        number,
        ring_pair: theirs,
        context: position.context.clone(),
        files: position.files.clone(),
        socket: None,
        stderr: None,
    };
    let ends = ChannelEnds {
        downlink: down_sender,
        uplink: up_receiver,
        ring_pair,
    };
    let start_message = StartMessage {
        assignment,
        endpoints,
    };
    Ok((ends, start_message))
}
