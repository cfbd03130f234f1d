//! The stream of events: each client that listens gets all of them, as server-sent events. One that
//! does not keep up is told so and let go, so that neither the run waits for it nor memory fills.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::target::ControlTarget;
use crate::error::Error;
use crate::observe::{Event, EventKind, Observer};

/// The number of unsent events that are kept for a client.
const EVENTS_MAX: usize = 10_000;

/// The unsent bytes that are kept for a client.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The last word to a client that was too slow.
const LAGGED: &[u8] = b"event: lagged\ndata: {\"event\":\"lagged\"}\n\n";

/// All that listen.
#[derive(Debug, Default)]
pub(super) struct EventListeners(Mutex<Vec<Weak<EventListener>>>);

impl EventListeners {
    /// Begins to listen.
    pub(super) fn listen(&self, target: &Arc<dyn ControlTarget>) -> Result<EventBody, Error> {
        let (sender, events) = channel(EVENTS_MAX);
        let listener = Arc::new(EventListener {
            target: Arc::clone(target),
            sender: Mutex::new(Some(sender)),
            unsent: AtomicUsize::new(0),
            is_late: Mutex::new(false),
        });
        let mut all = self.0.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&listener));
        drop(all);
        target.listen(Arc::clone(&listener) as _)?;
        Ok(EventBody {
            listener,
            events,
            is_over: false,
        })
    }

    /// Ends all streams, after what is on its way.
    pub(super) fn end(&self) {
        for listener in self.0.lock().drain(..) {
            if let Some(listener) = listener.upgrade() {
                listener.sender.lock().take();
            }
        }
    }
}

#[derive(Debug)]
struct EventListener {
    target: Arc<dyn ControlTarget>,
    /// `None` when nothing more is sent.
    sender: Mutex<Option<Sender<Event>>>,
    /// The weight of what is unsent.
    unsent: AtomicUsize,
    is_late: Mutex<bool>,
}

impl Observer for EventListener {
    fn observe(&self, event: Event) {
        let mut sender = self.sender.lock();
        let Some(open) = &*sender else {
            return;
        };
        // It is written down elsewhere, because the queue's lock is held here.
        let bytes = weight(&event);
        let unsent = self.unsent.fetch_add(bytes, Ordering::Relaxed);
        if unsent + bytes > BYTES_MAX || open.try_send(event).is_err() {
            *self.is_late.lock() = true;
            *sender = None;
        }
    }
}

/// Returns about the bytes of memory that an event takes: the names of items may be long.
fn weight(event: &Event) -> usize {
    let name = match &event.kind {
        EventKind::Producing { item, .. }
        | EventKind::Produced { item, .. }
        | EventKind::NotProduced { item, .. }
        | EventKind::ItemStarted { item, .. }
        | EventKind::CopyEnded { item, .. }
        | EventKind::ItemDone { item, .. }
        | EventKind::Retry { item, .. }
        | EventKind::Dead { item, .. }
        | EventKind::TimeLimit { item, .. }
        | EventKind::MemoryLimit { item, .. } => item.len(),
        EventKind::WorkerExited { holding, .. } => holding.as_ref().map_or(0, String::len),
        _ => 0,
    };
    size_of::<Event>() + name
}

/// The body of a response that goes on for as long as events come.
#[derive(Debug)]
pub(super) struct EventBody {
    listener: Arc<EventListener>,
    events: Receiver<Event>,
    is_over: bool,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let event = std::task::ready!(self.events.poll_recv(context));
        let bytes = match event {
            Some(event) => {
                let unsent = &self.listener.unsent;
                unsent.fetch_sub(weight(&event), Ordering::Relaxed);
                let object = self.listener.target.object(&event);
                let name = object["event"].as_str().unwrap_or_default();
                Bytes::from(format!("event: {name}\ndata: {object}\n\n"))
            }
            None => {
                self.is_over = true;
                match *self.listener.is_late.lock() {
                    true => Bytes::from_static(LAGGED),
                    false => return Poll::Ready(None),
                }
            }
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        let listener = Arc::clone(&self.listener) as Arc<dyn Observer>;
        self.listener.target.unlisten(&listener);
    }
}
