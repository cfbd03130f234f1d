//! The thread that serves the page over TCP: so many clients at a time, each with so much time. It does
//! not know what is asked.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::control::{LACK_PAUSE, serve_connection};
use crate::sys::signals;

/// The number of connections that are served at a time. A browser opens up to six.
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
            runtime.block_on(serve(listener, routes, ends));
            runtime.shutdown_background();
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
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let has_ended = ends.clone();
    let accept = async {
        loop {
            // Others wait in the kernel until one of these has gone.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (routes, ends) = (routes.clone(), has_ended.clone());
                    tokio::spawn(async move {
                        serve_connection(stream, routes, HEAD_TIME, ends).await;
                        drop(place);
                    });
                }
                Err(_) => sleep(LACK_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = ends.wait_for(|ended| *ended) => {}
    }
    drop(listener);
    let all = u32::try_from(CLIENTS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(LAST_WORDS, places.acquire_many(all)).await;
}
