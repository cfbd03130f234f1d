//! Bare ipc-channel: worker processes of this program with one channel for items and one for
//! acknowledgements each, and without any recovery from a death. It is the ceiling for libraries on
//! top of it. The rows decide about the messages.

pub(crate) mod large;
pub(crate) mod round_trip;
pub(crate) mod throughput;

use std::env;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

/// The first argument of a worker process.
const WORKER: &str = "raw-worker";

/// The time for which a polling receiver polls before it sleeps.
const POLL: Duration = Duration::from_micros(20);

/// The ends that a worker makes for its producer: one for items, and one for acknowledgements, each
/// of which is the number of items in a message.
type Ends<T> = (IpcSender<T>, IpcReceiver<u32>);

/// The producer's side of a worker process.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    child: Child,
    items: IpcSender<T>,
    acks: IpcReceiver<u32>,
    /// Messages that are not acknowledged.
    outstanding: usize,
    /// Items that are acknowledged.
    done: usize,
}

impl<T: for<'de> Deserialize<'de> + Serialize> Worker<T> {
    /// Starts a worker for the work that [`serve`] has under this name.
    fn start(work: &str) -> Self {
        let (server, name) =
            IpcOneShotServer::<Ends<T>>::new().expect("the temporary folder is writable");
        let program = env::current_exe().expect("it is running");
        let child = Command::new(program)
            .args([WORKER, work, &name])
            .stdin(Stdio::null())
            .spawn()
            .expect("this program can be executed");
        let (_, (items, acks)) = server.accept().expect("the worker connects");
        Worker {
            child,
            items,
            acks,
            outstanding: 0,
            done: 0,
        }
    }

    fn send(&mut self, message: T) {
        self.items.send(message).expect("the worker lives");
        self.outstanding += 1;
    }

    fn take_ack(&mut self) {
        self.done += self.acks.recv().expect("the worker lives") as usize;
        self.outstanding -= 1;
    }

    /// Waits until everything is acknowledged, and returns the number of items.
    fn join(&mut self) -> usize {
        while self.outstanding > 0 {
            self.take_ack();
        }
        self.done
    }

    /// Ends the worker, which stops at the end of its channel.
    fn stop(mut self) {
        drop(self.items);
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "a worker ended with {status}");
    }
}

/// Does a worker's work, if this process was started as one.
pub(crate) fn serve() -> bool {
    let arguments: Vec<String> = env::args().collect();
    let [_, first, work, name] = arguments.as_slice() else {
        return false;
    };
    if first != WORKER {
        return false;
    }
    match work.as_str() {
        "batches" => throughput::serve(connect(name)),
        "sleeping" => round_trip::serve(connect(name), false),
        "polling" => round_trip::serve(connect(name), true),
        "inline" => large::serve_inline(connect(name)),
        "shared" => large::serve_shared(connect(name)),
        _ => panic!("raw workers know no work {work}"),
    }
    true
}

/// The worker's own ends: one for items, and one for acknowledgements.
type OwnEnds<T> = (IpcReceiver<T>, IpcSender<u32>);

fn connect<T: for<'de> Deserialize<'de> + Serialize>(name: &str) -> OwnEnds<T> {
    let (to_worker, items) = ipc::channel().expect("there are descriptors left");
    let (acks, to_producer) = ipc::channel().expect("there are descriptors left");
    let server: IpcSender<Ends<T>> = IpcSender::connect(name.into()).expect("the producer waits");
    server
        .send((to_worker, to_producer))
        .expect("the producer waits");
    (items, acks)
}

/// Returns the next message, or `None` at the end of the channel. `polls` is true to poll before
/// sleeping. Without the yield both sides may share a CPU and poll in each other's way for most
/// rounds: then a trip takes 54 us instead of 8 to 14.
fn receive<T: for<'de> Deserialize<'de> + Serialize>(
    from: &IpcReceiver<T>,
    polls: bool,
) -> Option<T> {
    if polls {
        let until = Instant::now() + POLL;
        while Instant::now() < until {
            match from.try_recv() {
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                other => return other.ok(),
            }
        }
    }
    from.recv().ok()
}
