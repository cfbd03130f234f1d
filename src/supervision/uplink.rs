//! One thread for each worker process: appoints it, and reads what it sends to the end.
//!
//! It reads whatever the broker or the other workers do, so no worker is ever blocked for long by
//! us. What it cannot make sense of ends that worker, and so does a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ipc_channel::ipc::{IpcReceiver, IpcSender};

use super::notes::{Life, LifeOverseer, Note, NoteSender, Registration};
use super::reap;
use crate::broker::clients::connect_worker;
use crate::broker::{Attachment, Broker};
use crate::link::process::{ProcessLink, UplinkReader};
use crate::protocol::frame::{self, Nudge, PROTOCOL, Up};
use crate::protocol::orders::ForkReply;
use crate::protocol::peer_error::PeerError;
use crate::protocol::ring_pair::RingPair;
use crate::sys::delegated::DelegatedGroup;
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::signals;
use crate::sys::stderr::Stderr;
use crate::sys::stream::peer_pid;
use crate::sys::threads::message_of;
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
    pub(super) credit: Credit,
    pub(super) downlink: IpcSender<Nudge>,
    pub(super) uplink: IpcReceiver<Nudge>,
    pub(super) ring_pair: Arc<RingPair>,
    pub(super) socket: Arc<DescriptorSocket>,
    pub(super) item_type: &'static str,
    /// The number of deliveries that the worker may get.
    pub(super) quota: u64,
    /// The bytes of memory that an item may have.
    pub(super) memory_limit: Option<u64>,
    pub(super) stderr: Option<Arc<Stderr>>,
}

/// Starts the thread.
pub(super) fn receive(reception: Reception) -> std::io::Result<()> {
    let name = format!("read {}", reception.worker);
    start_thread(name, move || {
        let (life, notes) = (reception.life, reception.notes.clone());
        let read = catch_unwind(AssertUnwindSafe(move || reception.read()));
        let why = match read {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why.to_string()),
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

impl Reception {
    fn read(self) -> Result<(), PeerError> {
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
            memory_limit,
            stderr,
        } = self;
        let mut written = UplinkReader::new(Arc::clone(&ring_pair), Arc::clone(&socket));
        let Some(pid) = await_ready(&uplink, &mut written, &worker, item_type)? else {
            return Ok(());
        };
        // Before it gets something: what it has started by then would stay outside.
        let group = memory_limit.and_then(|limit| DelegatedGroup::get()?.bound(pid, limit).ok());
        let attachment = Attachment {
            link: Box::new(ProcessLink::new(ring_pair, downlink, socket)),
            uplink: Some(written),
            local: None,
            worker,
            pid,
            stderr,
            overseer: Some(Box::new(LifeOverseer {
                life,
                notes: notes.clone(),
            })),
        };
        let Some(holder) =
            registration.take(|| broker.attach(attachment, Some(credit.seen()), quota))
        else {
            // Concluded already, because its channel lingered, or taken for never born.
            notes.post(Note::Ready { life, pid, group });
            return Ok(());
        };
        notes.post(Note::Ready { life, pid, group });
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

/// Waits until a worker says that it is ready. Before that it may connect to queues, for what it does
/// at its beginning, and say nothing else. Returns its pid; `None` if its channel has ended.
fn await_ready(
    uplink: &IpcReceiver<Nudge>,
    written: &mut UplinkReader,
    worker: &Arc<str>,
    item_type: &'static str,
) -> Result<Option<u32>, PeerError> {
    let mut record = Vec::new();
    let mut has_connected = false;
    while let Ok(Nudge) = uplink.recv() {
        loop {
            // A reader sleeps on the worker's channel, not on the doorbell.
            let _ = written.ring_pair.up_doorbell().want();
            match written.next(&mut record) {
                Ok(true) => {}
                // It was woken for what has been read already.
                Ok(false) if has_connected => break,
                Ok(false) | Err(_) => return Err(PeerError::NotReady),
            }
            let pid = match frame::decode::<Up<'_>>(&record) {
                Ok(Up::Connect { number, home, from }) => {
                    has_connected = true;
                    let socket = written.take_socket(number)?;
                    // It made the connection, so that the kernel knows its pid.
                    let own = || (Arc::clone(worker), peer_pid(&socket));
                    let from = from.map(|(worker, pid)| (Arc::from(worker), pid));
                    let from = from.unwrap_or_else(own);
                    connect_worker(socket, home, from);
                    None
                }
                said => Some(pid_of_ready(said, item_type)?),
            };
            written.consume(record.len());
            written.release();
            if pid.is_some() {
                return Ok(pid);
            }
        }
    }
    Ok(None)
}

fn pid_of_ready(
    said: Result<Up<'_>, postcard::Error>,
    item_type: &'static str,
) -> Result<u32, PeerError> {
    match said {
        Ok(Up::Ready {
            protocol: PROTOCOL,
            pid,
            item_type: theirs,
        }) if theirs == item_type => Ok(pid),
        Ok(Up::Ready {
            protocol,
            item_type: theirs,
            ..
        }) => Err(PeerError::OtherProtocol {
            works_on: theirs.into(),
            by: protocol,
            wanted: item_type,
            wanted_by: PROTOCOL,
        }),
        _ => Err(PeerError::NotReady),
    }
}

/// Starts the thread that reads what a fork server says; `None` is the end.
pub(super) fn receive_fork_server(
    answers: IpcReceiver<ForkReply>,
    hear: impl Fn(Option<ForkReply>) + Send + 'static,
) -> std::io::Result<()> {
    start_thread("read fork-server".into(), move || {
        // Whatever fails here ends the fork server, which is noticed by its process.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            while let Ok(reply) = answers.recv() {
                hear(Some(reply));
            }
        }));
        hear(None);
    })
}
