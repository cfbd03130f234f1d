//! One thread for each worker process: meets it, appoints it, and reads what it sends to the end.
//!
//! It reads whatever the broker or the other workers do, so no worker is ever blocked for long by
//! us. What it cannot make sense of ends that worker, and so does a panic.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};

use super::notes::{Life, LifeOverseer, Note, NoteSender, Registration};
use super::reap;
use super::spawn::StartMessage;
use crate::broker::{Attachment, Broker};
use crate::handler::attempt::message_of;
use crate::link::process::{ProcessLink, Uplink};
use crate::protocol::frame::{self, Nudge, PROTOCOL, Up};
use crate::protocol::orders::{ForkReply, Hello, Order};
use crate::protocol::ring_pair::RingPair;
use crate::sys::descriptors::{DescriptorSocket, path_of};
use crate::sys::signals;
use crate::sys::stderr::Stderr;
use dishrack_core::ledger::Credit;

/// Enough for decoding; a thousand workers need a thousand of these threads.
const STACK_BYTES: usize = 256 * 1024;

/// All that it takes to receive one worker.
pub(super) struct Reception {
    pub(super) life: Life,
    pub(super) registration: Registration,
    pub(super) notes: NoteSender,
    pub(super) broker: Arc<Broker>,
    pub(super) worker: Arc<str>,
    /// `None` for workers that ask for items themselves.
    pub(super) credit: Option<Credit>,
    pub(super) downlink: IpcSender<Nudge>,
    pub(super) uplink: IpcReceiver<Nudge>,
    pub(super) ring_pair: Arc<RingPair>,
    pub(super) socket: Arc<DescriptorSocket>,
    pub(super) item_type: &'static str,
    /// How many deliveries the worker may get.
    pub(super) quota: u64,
    pub(super) stderr: Option<Arc<Stderr>>,
}

/// Starts the thread. A spawned worker is met first; a forked one gets its start message elsewhere.
pub(super) fn receive(
    reception: Reception,
    start_message: Option<StartMessage>,
) -> std::io::Result<()> {
    let name = format!("read {}", reception.worker);
    start_thread(name, move || {
        let (life, notes) = (reception.life, reception.notes.clone());
        let read = catch_unwind(AssertUnwindSafe(move || {
            if let Some(start_message) = start_message {
                let socket = &reception.socket;
                let sent = |socket: &_| start_message.endpoints.send(socket);
                meet(socket, Order::Work(start_message.assignment), sent)?;
            }
            reception.read()
        }));
        let why = match read {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(panic) => Some(message_of(&*panic)),
        };
        notes.post(Note::LinkClosed { life, why });
    })
}

fn start_thread(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(name)
        .stack_size(STACK_BYTES)
        .spawn(move || {
            signals::block_all();
            run();
        })
        .map(drop)
}

/// Waits until a process says where it awaits its order, equips it, and gives it that. The place has no
/// name by then: the file that came with the word is the only way to it.
fn meet(
    socket: &DescriptorSocket,
    order: Order,
    equip: impl FnOnce(&DescriptorSocket) -> io::Result<()>,
) -> Result<(), String> {
    let datagram = socket.wait_for::<Hello>();
    let datagram = datagram.map_err(|error| format!("did not come to the meeting: {error}"))?;
    let datagram = datagram.ok_or("did not come to the meeting")?;
    let Hello { protocol, refusal } = datagram.message;
    if protocol != PROTOCOL {
        return Err(format!("speaks protocol {protocol}, not {PROTOCOL}"));
    }
    if let Some(why) = refusal {
        return Err(format!("cannot be met: {why}"));
    }
    let place = datagram.files.first().ok_or("did not say where to meet")?;
    equip(socket).map_err(|error| format!("cannot be given its files: {error}"))?;
    let path = path_of(place);
    let lost = |error: &dyn Display| format!("did not wait for its order: {error}");
    let orders = IpcSender::connect(path).map_err(|error| lost(&error))?;
    orders.send(order).map_err(|error| lost(&error))
}

impl Reception {
    fn read(self) -> Result<(), String> {
        let Reception {
            life,
            registration,
            notes,
            broker,
            worker,
            credit,
            downlink,
            uplink,
            ring_pair,
            socket,
            item_type,
            quota,
            stderr,
        } = self;
        let mut written = Uplink::new(Arc::clone(&ring_pair), Arc::clone(&socket));
        if uplink.recv().is_err() {
            return Ok(());
        }
        let pid = pid_of_ready(&mut written, item_type)?;
        let attachment = Attachment {
            link: Box::new(ProcessLink::new(ring_pair, downlink, socket)),
            uplink: Some(written),
            worker,
            pid,
            stderr,
            overseer: Some(Box::new(LifeOverseer {
                life,
                notes: notes.clone(),
            })),
        };
        let Some(holder) =
            registration.take(|| broker.attach(attachment, credit.map(Credit::seen), quota))
        else {
            // Buried already, because its channel lingered.
            return Ok(());
        };
        notes.post(Note::Ready { life, pid });
        broker.drain(holder)?;
        // Where something of the workers is left to this process, it is looked for as they work.
        let adopts = reap::are_adopted();
        // An error of `recv` is the end: nobody writes any more.
        while let Ok(Nudge) = uplink.recv() {
            broker.drain(holder)?;
            if adopts {
                notes.wake();
            }
        }
        broker.drain(holder)
    }
}

fn pid_of_ready(written: &mut Uplink, item_type: &str) -> Result<u32, String> {
    let mut record = Vec::new();
    // Where nothing was written, the record is empty, and that is none.
    if written.next(&mut record) == Ok(true) {
        written.consume(record.len());
        written.release();
    }
    match frame::decode::<Up<'_>>(&record) {
        Ok(Up::Ready {
            protocol: PROTOCOL,
            pid,
            item_type: theirs,
        }) if theirs == item_type => Ok(pid),
        Ok(Up::Ready {
            protocol,
            item_type: theirs,
            ..
        }) => Err(format!(
            "works on {theirs} by protocol {protocol}, not on {item_type} by {PROTOCOL}"
        )),
        _ => Err("did not say first that it is ready".into()),
    }
}

/// Starts the thread that meets the fork server and reads its answers.
pub(super) fn receive_fork_server(
    server: u64,
    socket: Arc<DescriptorSocket>,
    notes: NoteSender,
) -> std::io::Result<()> {
    start_thread("read fork-server".into(), move || {
        // Whatever fails here ends the fork server, which is noticed by its process.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            read_fork_server(server, &socket, &notes)
        }));
        notes.post(Note::ForkServerClosed { server });
    })
}

fn read_fork_server(
    server: u64,
    socket: &DescriptorSocket,
    notes: &NoteSender,
) -> Result<(), String> {
    let channels = ipc::channel().and_then(|orders| Ok((orders, ipc::channel()?)));
    let ((sender, orders), (replies, answers)) = channels.map_err(|error| error.to_string())?;
    meet(socket, Order::ServeForks { orders, replies }, |_| Ok(()))?;
    let orders = sender;
    notes.post(Note::ForkServerReady { server, orders });
    while let Ok(ForkReply(reply)) = answers.recv() {
        notes.post(Note::Forked { server, reply });
    }
    Ok(())
}
