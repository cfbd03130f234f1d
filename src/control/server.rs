//! The thread that serves a socket: accepts clients, sees who they are, and answers them, so many at
//! a time. It sleeps while nobody asks. It does not know what is asked.

use std::fs;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, geteuid, getrlimit};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::connection::ClientStream;
use super::failure::RequestFailure;
use crate::sys::threads::CONTROL;

/// The number of clients that are served at a time, where there are files enough.
const CLIENTS_MAX: usize = 256;

/// The number that is served in any case.
const CLIENTS_MIN: usize = 4;

/// The number of further clients that are told so at a time.
const REFUSED_MAX: usize = 16;

/// The longest time in which a client must send the head of its next request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The same for a client that is only told that it is refused.
const REFUSED_TIME: Duration = Duration::from_secs(1);

/// The longest time that answers which are on their way have when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The pause after a client could not be accepted, for lack of files or memory.
const LACK_PAUSE: Duration = Duration::from_millis(100);

/// The greatest number of threads for requests that wait.
const THREADS_MAX: usize = 64;

/// A thread that serves, until it is dropped.
#[derive(Debug)]
pub(super) struct ControlServer {
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Starts to serve.
    pub(super) fn start(listener: StdListener, routes: Router) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(THREADS_MAX)
            .thread_keep_alive(Duration::from_secs(1))
            .thread_name(CONTROL)
            .thread_stack_size(512 * 1024)
            .build()?;
        let (ending, ends) = watch::channel(false);
        let listener = {
            let _guard = runtime.enter();
            UnixListener::from_std(listener)?
        };
        let serve = move || {
            runtime.block_on(serve(listener, routes, ends));
            // A request that still waits in a thread is left behind.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name(CONTROL.into())
            .spawn(serve)?;
        Ok(ControlServer {
            ending,
            thread: Some(thread),
        })
    }

    /// Accepts nobody any more, and waits for the answers that are on their way.
    pub(super) fn end(&mut self) {
        self.ending.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there was a bug, and was reported.
            let _ = thread.join();
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(listener: UnixListener, routes: Router, mut ends: watch::Receiver<bool>) {
    let clients_max = clients_max();
    let places = Arc::new(Semaphore::new(clients_max));
    let refusals = Arc::new(Semaphore::new(REFUSED_MAX));
    let mut has_ended = ends.clone();
    let accept = async {
        loop {
            // Others wait in the kernel until one of these is through.
            let Ok(refusal) = Arc::clone(&refusals).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let place = Arc::clone(&places).try_acquire_owned().ok();
                    admit(stream, (place, refusal), &routes, ends.clone());
                }
                Err(_) => sleep(LACK_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = has_ended.wait_for(|ended| *ended) => {}
    }
    drop(listener);
    let all = u32::try_from(clients_max).unwrap_or(u32::MAX);
    let _ = timeout(LAST_WORDS, places.acquire_many(all)).await;
    // Seen, so that nobody is told of it again.
    ends.mark_unchanged();
}

/// Returns how many clients are served at a time: they may take a quarter of the files that can still
/// be opened, because workers need files too.
pub(super) fn clients_max() -> usize {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count());
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let left = limit.map_or(usize::MAX, |limit| limit.saturating_sub(open));
    (left / 4).clamp(CLIENTS_MIN, CLIENTS_MAX)
}

/// Serves a client, or tells it why it is not served.
fn admit(
    stream: UnixStream,
    (place, refusal): (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
    routes: &Router,
    ends: watch::Receiver<bool>,
) {
    let refused = match stream.peer_cred() {
        Ok(peer) if !is_allowed(peer.uid()) => Some(other_user(peer.uid())),
        Err(error) => Some(RequestFailure::bad("unknown_user", error.to_string())),
        Ok(_) if place.is_none() => Some(RequestFailure::busy("too many clients are connected")),
        Ok(_) => None,
    };
    match refused {
        None => {
            drop(refusal);
            tokio::spawn(serve_client(stream, routes.clone(), HEAD_TIME, ends, place));
        }
        Some(failure) => {
            let routes = refusing(failure);
            let place = Some(refusal);
            tokio::spawn(serve_client(stream, routes, REFUSED_TIME, ends, place));
        }
    }
}

fn is_allowed(uid: u32) -> bool {
    uid == geteuid().as_raw() || uid == 0
}

fn other_user(uid: u32) -> RequestFailure {
    let message = format!(
        "this run is of user {}, and you are user {uid}: only that user and root may ask it",
        geteuid().as_raw()
    );
    RequestFailure::new(StatusCode::FORBIDDEN, "other_user", message)
}

/// Makes the routes of a client that gets this answer to whatever it asks.
fn refusing(failure: RequestFailure) -> Router {
    let failure = Arc::new(failure);
    Router::new().fallback(move || {
        let failure = RequestFailure {
            status: failure.status,
            code: failure.code,
            message: failure.message.clone(),
        };
        let close = [(hyper::header::CONNECTION, "close")];
        async move { (close, failure) }
    })
}

/// Serves one connection to its end.
async fn serve_client(
    stream: UnixStream,
    routes: Router,
    head_time: Duration,
    mut ends: watch::Receiver<bool>,
    _place: Option<OwnedSemaphorePermit>,
) {
    let stream = ClientStream::new(stream);
    let routes = routes.layer(axum::Extension(stream.peer()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What goes wrong on a connection is its client's loss.
        _ = connection.as_mut() => return,
        _ = ends.wait_for(|ended| *ended) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
