//! One thread for each worker process: meets it, appoints it, and reads what it sends to the end.
//!
//! It reads whatever the broker or the other workers do, so no worker is ever blocked for long by
//! us. What it cannot make sense of ends that worker, and so does a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ipc_channel::ipc::{IpcReceiver, IpcSender};

use super::notes::{Berth, Life, LifeOverseer, Note, NoteSender};
use super::orders::{Appointment, ForkReply, Order};
use super::signals;
use super::spawn::MeetingPlace;
use super::stderr::Stderr;
use crate::broker::{Broker, Seat};
use crate::ledger::Credit;
use crate::link::frame::{self, Nudge, PROTOCOL, Up};
use crate::link::lane::Lane;
use crate::link::process::{ProcessLink, Uplink};
use crate::worker::attempt::message_of;

/// Enough for decoding; a thousand workers need a thousand of these threads.
const STACK_BYTES: usize = 256 * 1024;

/// All that it takes to receive one worker.
pub(super) struct Reception {
    pub(super) life: Life,
    pub(super) berth: Berth,
    pub(super) notes: NoteSender,
    pub(super) broker: Arc<Broker>,
    pub(super) worker: Arc<str>,
    /// `None` for workers that ask for items themselves.
    pub(super) credit: Option<Credit>,
    pub(super) downlink: IpcSender<Nudge>,
    pub(super) uplink: IpcReceiver<Nudge>,
    pub(super) lane: Arc<Lane>,
    pub(super) item_type: &'static str,
    /// How many deliveries the worker may get.
    pub(super) quota: u64,
    pub(super) stderr: Option<Arc<Stderr>>,
}

/// Starts the thread. A spawned worker is met first; a forked one has its appointment already.
pub(super) fn receive(
    reception: Reception,
    meeting: Option<(MeetingPlace, Appointment)>,
) -> std::io::Result<()> {
    let name = format!("read {}", reception.worker);
    start_thread(name, move || {
        let (life, notes) = (reception.life, reception.notes.clone());
        let read = catch_unwind(AssertUnwindSafe(move || {
            if let Some((place, appointment)) = meeting {
                meet(place, Order::Work(appointment))?;
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

/// Waits for a process to come, and gives it its order.
fn meet(place: MeetingPlace, order: Order) -> Result<IpcSender<Order>, String> {
    let (_, hello) = place
        .accept()
        .map_err(|error| format!("did not come to the meeting: {error}"))?;
    if hello.protocol != PROTOCOL {
        let theirs = hello.protocol;
        return Err(format!("speaks protocol {theirs}, not {PROTOCOL}"));
    }
    hello
        .orders
        .send(order)
        .map_err(|error| format!("did not wait for its order: {error}"))?;
    Ok(hello.orders)
}

impl Reception {
    fn read(self) -> Result<(), String> {
        let Reception {
            life,
            berth,
            notes,
            broker,
            worker,
            credit,
            downlink,
            uplink,
            lane,
            item_type,
            quota,
            stderr,
        } = self;
        let mut written = Uplink::new(Arc::clone(&lane));
        if uplink.recv().is_err() {
            return Ok(());
        }
        let pid = pid_of_ready(&mut written, item_type)?;
        let seat = Seat {
            link: Box::new(ProcessLink::new(lane, downlink)),
            uplink: Some(written),
            worker,
            pid,
            stderr,
            overseer: Some(Box::new(LifeOverseer {
                life,
                notes: notes.clone(),
            })),
        };
        let Some(holder) = berth.take(|| broker.attach(seat, credit.map(Credit::seen), quota))
        else {
            // Buried already, because its channel lingered.
            return Ok(());
        };
        notes.post(Note::Ready { life, pid });
        broker.drain(holder)?;
        // An error of `recv` is the end: nobody writes any more.
        while let Ok(nudge) = uplink.recv() {
            broker.nudged(holder, nudge)?;
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
    place: MeetingPlace,
    notes: NoteSender,
) -> std::io::Result<()> {
    start_thread("read fork-server".into(), move || {
        // Whatever fails here ends the fork server, which is noticed by its process.
        let _ = catch_unwind(AssertUnwindSafe(|| read_fork_server(server, place, &notes)));
        notes.post(Note::ForkServerClosed { server });
    })
}

fn read_fork_server(server: u64, place: MeetingPlace, notes: &NoteSender) -> Result<(), String> {
    let channel = ipc_channel::ipc::channel::<ForkReply>();
    let (replies, answers) = channel.map_err(|error| error.to_string())?;
    let orders = meet(place, Order::ServeForks { replies })?;
    notes.post(Note::ForkServerReady { server, orders });
    while let Ok(ForkReply(reply)) = answers.recv() {
        notes.post(Note::Forked { server, reply });
    }
    Ok(())
}
