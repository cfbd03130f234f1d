//! The thread that serves the page over TCP, each client with so much time. It does not know what is asked.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::StatusCode;
use hyper::header::CONNECTION;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::control::clients::{ClientPlaces, HeardClient, REFUSED_TIME, clients_max};
use crate::control::serve_connection;
use crate::sys::{signals, threads};

/// The number of connections that are served at a time, where there are files enough. A browser opens up to six.
const CLIENTS_MAX: usize = 1024;

/// The longest time in which a client must send the head of its next request.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// The longest time that answers have which are on their way when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A thread that serves, until it is dropped.
#[derive(Debug)]
pub(super) struct WebServer {
    address: SocketAddr,
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    pub(super) fn start(
        listener: StdListener,
        address: SocketAddr,
        routes: Router,
        ending: watch::Sender<bool>,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let ends = ending.subscribe();
        let thread = std::thread::Builder::new().name("web".into());
        let thread = thread.spawn(move || {
            signals::block_all();
            threads::watch(|| {
                runtime.block_on(serve(listener, routes, ends));
                runtime.shutdown_background();
            });
        })?;
        Ok(WebServer {
            address,
            ending,
            thread: Some(thread),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there was a bug, and was reported.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, routes: Router, mut ends: watch::Receiver<bool>) {
    let places = ClientPlaces::new(clients_max(CLIENTS_MAX));
    let admit = {
        let ends = ends.clone();
        move |spoken| admit(spoken, &routes, ends.clone())
    };
    tokio::select! {
        () = places.accept(&listener, admit) => {}
        _ = ends.wait_for(|ended| *ended) => {}
    }
    drop(listener);
    let _ = timeout(LAST_WORDS, places.until_empty()).await;
}

/// Serves a client, or tells it that there is no place for it.
fn admit(
    HeardClient {
        stream,
        place,
        refusal,
    }: HeardClient<TcpStream>,
    routes: &Router,
    ends: watch::Receiver<bool>,
) {
    let (routes, head_time, place) = match place {
        Some(place) => (routes.clone(), HEAD_TIME, place),
        None => (refusing(), REFUSED_TIME, refusal),
    };
    tokio::spawn(async move {
        serve_connection(stream, routes, head_time, ends).await;
        drop(place);
    });
}

/// Makes the routes of a client for which there is no place.
fn refusing() -> Router {
    Router::new().fallback(|| async {
        let why = "too many clients are connected: try again later\n";
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(CONNECTION, "close")],
            why,
        )
    })
}
