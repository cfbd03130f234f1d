//! Clients that attach: a connection that goes on in frames, by which a queue is used from another
//! program. They have places of their own, so that who only asks is answered whatever they do.

use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use parking_lot::{Condvar, Mutex};

use super::connection::{ClientStream, Peer};
use super::failure::RequestFailure;
use crate::broker::clients::{self as broker_clients, Caller, ClientPuts, ServedQueue};
use crate::link::stream::Outgoing;
use crate::protocol::frame::PROTOCOL;

/// The longest time that clients have to go when the socket ends.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// Those that are attached.
#[derive(Debug)]
pub(super) struct AttachedClients {
    state: Mutex<AttachedState>,
    left: Condvar,
    /// The greatest number of them.
    places: usize,
}

#[derive(Debug, Default)]
struct AttachedState {
    count: usize,
    connections: Vec<Weak<Outgoing>>,
    is_ending: bool,
}

impl AttachedClients {
    pub(super) fn new(places: usize) -> Self {
        AttachedClients {
            state: Mutex::default(),
            left: Condvar::new(),
            places,
        }
    }

    /// Takes a place for one, until it is dropped.
    ///
    /// # Errors
    /// There is none, or the socket ends.
    fn admit(self: &Arc<Self>) -> Result<ClientPlace, RequestFailure> {
        let mut state = self.state.lock();
        if state.is_ending {
            let message = "the run comes to its end";
            return Err(RequestFailure::conflict("closed", message));
        }
        if state.count >= self.places {
            let places = self.places;
            let message = format!("{places} clients are attached, as many as may be");
            return Err(RequestFailure::busy(&message));
        }
        state.count += 1;
        Ok(ClientPlace(Arc::clone(self)))
    }

    fn note(&self, connection: &Arc<Outgoing>) {
        let mut state = self.state.lock();
        if state.is_ending {
            return connection.end();
        }
        state.connections.retain(|one| one.strong_count() > 0);
        state.connections.push(Arc::downgrade(connection));
    }

    /// Ends all connections, and waits until what their clients held has gone back.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.is_ending = true;
        let connections = std::mem::take(&mut state.connections);
        let connections = connections.iter().filter_map(Weak::upgrade);
        connections.for_each(|one| one.end());
        let has_some = |state: &mut AttachedState| state.count > 0;
        self.left.wait_while_for(&mut state, has_some, LEAVE_TIME);
    }
}

/// The place of one client.
#[derive(Debug)]
struct ClientPlace(Arc<AttachedClients>);

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.state.lock().count -= 1;
        self.0.left.notify_all();
    }
}

/// Returns the word for frames as this build writes them.
fn frames() -> String {
    format!("dishrack-frames/{PROTOCOL}")
}

/// Lets a connection go on in frames, by which this queue is used.
pub(super) fn go_on_in_frames(
    clients: &Arc<AttachedClients>,
    served: Option<ServedQueue>,
    puts: ClientPuts,
    peer: Peer,
    mut request: Request,
) -> Response {
    let wanted = request.headers().get(UPGRADE);
    let wanted = wanted.map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned());
    if wanted.as_deref() != Some(&*frames()) {
        return other_version(wanted.as_deref());
    }
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let Some(upgrade) = upgrade else {
        return other_version(None);
    };
    let place = match clients.admit() {
        Ok(place) => place,
        Err(failure) => return failure.into_response(),
    };
    let clients = Arc::clone(clients);
    tokio::spawn(async move {
        // Otherwise its client has gone.
        if let Ok(upgraded) = upgrade.await {
            serve(&clients, served, puts, &peer, upgraded, place);
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.extend(HeaderValue::try_from(frames()).map(|frames| (UPGRADE, frames)));
    response
}

fn other_version(wanted: Option<&str>) -> Response {
    let (code, message) = match wanted {
        None => (
            "upgrade_required",
            format!(
                "who attaches goes on in frames: ask with Upgrade: {}",
                frames()
            ),
        ),
        Some(wanted) => (
            "other_version",
            format!(
                "this run speaks {}, and {wanted} was asked for: both programs must be built \
                 with the same version of dishrack",
                frames()
            ),
        ),
    };
    let failure = RequestFailure::new(StatusCode::UPGRADE_REQUIRED, code, message);
    let mut response = failure.into_response();
    let frames = HeaderValue::try_from(frames()).map(|frames| (UPGRADE, frames));
    response.headers_mut().extend(frames);
    response
}

/// Has a thread of its own read what comes from now on. What goes wrong is the client's loss.
fn serve(
    clients: &AttachedClients,
    served: Option<ServedQueue>,
    puts: ClientPuts,
    peer: &Peer,
    upgraded: Upgraded,
    place: ClientPlace,
) {
    let Ok(parts) = upgraded.downcast::<TokioIo<ClientStream>>() else {
        return;
    };
    let Ok(socket) = peer.as_fd().try_clone_to_owned() else {
        return;
    };
    // From here on nobody else reads.
    drop(parts.io);
    let pid = peer.pid().unwrap_or_default();
    let caller = Caller {
        socket,
        received: parts.read_buf.to_vec(),
        served,
        worker: format!("client {pid}").into(),
        pid,
        puts: Some(puts),
    };
    if let Ok(connection) = broker_clients::serve(caller, move || drop(place)) {
        clients.note(&connection);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{Capacity, Control, Controlled, JoinableQueue, Options};

    #[test]
    fn what_a_client_puts_is_told_when_it_is_accepted() {
        let options = Options::default().capacity(Capacity::Bounded(2));
        let queue = JoinableQueue::<String>::with(options);
        let told = Arc::new(AtomicU64::new(0));
        let sum = Arc::clone(&told);
        let controlled = Controlled::of_queue(&queue).on_put(move |count| {
            sum.fetch_add(count, Ordering::Relaxed);
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        let _control = Control::serve_at(&path, controlled).unwrap();
        let client = JoinableQueue::<String>::attach(&path).unwrap();
        client.put("a").unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 1);
        client.put("b").unwrap();
        assert!(client.try_put("c").unwrap_err().is_full());
        assert_eq!(told.load(Ordering::Relaxed), 2);
        client.get().unwrap().task_done().unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }
}
