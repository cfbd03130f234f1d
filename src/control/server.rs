//! The thread that serves a socket: sees who its clients are, and answers them. It sleeps while nobody asks. It
//! does not know what is asked.

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
use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use super::clients::{ClientPlaces, HeardClient, REFUSED_TIME, clients_max};
use super::connection::{ClientStream, WriteCount};
use super::failure::RequestFailure;
use crate::sys::threads::{self, CONTROL};

/// The number of clients that are served at a time, where there are files enough.
pub(super) const CLIENTS_MAX: usize = 256;

/// The longest time in which a client must send the head of its next request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The time within which some client must take something of the answers that are on their way when the
/// server ends, and the longest that they have then.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_WORDS_MAX: Duration = Duration::from_secs(10);

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
            .spawn(|| threads::watch(serve))?;
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
    let places = ClientPlaces::new(clients_max(CLIENTS_MAX));
    let writes = WriteCount::default();
    let admit = {
        let (writes, ends) = (writes.clone(), ends.clone());
        move |spoken| {
            let service = (routes.clone(), writes.clone());
            admit(spoken, service, ends.clone());
        }
    };
    tokio::select! {
        () = places.accept(&listener, admit) => {}
        _ = ends.wait_for(|ended| *ended) => {}
    }
    drop(listener);
    await_last_words(places.until_empty(), &writes).await;
}

/// Waits until all clients are served, as long as they read.
async fn await_last_words<R>(served: impl Future<Output = R>, writes: &WriteCount) {
    let mut served = std::pin::pin!(served);
    let until = Instant::now() + LAST_WORDS_MAX;
    loop {
        let before = writes.get();
        let is_over = timeout(LAST_WORDS, served.as_mut()).await.is_ok();
        if is_over || writes.get() == before || Instant::now() >= until {
            return;
        }
    }
}

/// Serves a client, or tells it why it is not served.
fn admit(
    HeardClient {
        stream,
        place,
        refusal,
    }: HeardClient<UnixStream>,
    (routes, writes): (Router, WriteCount),
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
            let stream = ClientStream::new(stream, writes);
            tokio::spawn(serve_client(stream, routes, HEAD_TIME, ends, place));
        }
        Some(failure) => {
            let routes = refusing(failure);
            let place = Some(refusal);
            let stream = ClientStream::new(stream, writes);
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

/// Serves one client to its end.
async fn serve_client(
    stream: ClientStream,
    routes: Router,
    head_time: Duration,
    ends: watch::Receiver<bool>,
    _place: Option<OwnedSemaphorePermit>,
) {
    let routes = routes.layer(axum::Extension(stream.peer()));
    serve_connection(stream, routes, head_time, ends).await;
}

/// Serves one connection to its end. `head_time`: the longest time for the head of a request. Once the
/// server ends, the answer that is under way is the last one.
pub(crate) async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    head_time: Duration,
    mut ends: watch::Receiver<bool>,
) {
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::sleep;

    use super::*;

    /// Serves a client that does this, until its connection is closed. Returns the time that it took.
    async fn serve_one<C: Future<Output = ()>>(
        head_time: Duration,
        answer: &'static str,
        client: impl FnOnce(UnixStream) -> C,
    ) -> Duration {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let routes = Router::new().route("/", get(move || async move { answer.repeat(1 << 20) }));
        let (_ending, ends) = watch::channel(false);
        let ours = ClientStream::new(ours, WriteCount::default());
        let began = Instant::now();
        tokio::join!(
            serve_client(ours, routes, head_time, ends, None),
            client(theirs)
        );
        began.elapsed()
    }

    // By the real clock: a paused one goes on whenever all tasks wait, also where a byte was sent that
    // the kernel has not told of yet, so the time began to count late.
    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_has_its_time() {
        const HEAD_TIME: Duration = Duration::from_millis(500);
        let time = serve_one(HEAD_TIME, "", async |mut client: UnixStream| {
            let head = b"GET / HTTP/1.1\r\nHost: run\r\n\r\n";
            for byte in head {
                sleep(HEAD_TIME / 10).await;
                if client.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            panic!("it was let in");
        });
        let time = time.await;
        assert!(time >= HEAD_TIME, "{time:?}");
    }

    /// Ends a server in the middle of an answer, of which its client takes a piece each half second.
    /// Returns how many of so many pieces came, and the time that the end took.
    async fn end_in_an_answer(pieces: usize, taken: usize) -> (usize, Duration) {
        const PIECE: usize = 256 * 1024;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = StdListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let answer = move || async move { "x".repeat(pieces * PIECE) };
        let routes = Router::new().route("/", get(answer));
        let (ending, ends) = watch::channel(false);
        let client = async {
            let mut client = UnixStream::connect(&path).await.unwrap();
            let head = b"GET / HTTP/1.1\r\nHost: run\r\n\r\n";
            client.write_all(head).await.unwrap();
            let mut piece = vec![0; PIECE];
            client.read_exact(&mut piece).await.unwrap();
            ending.send_replace(true);
            let mut came = 1;
            while came < taken && client.read_exact(&mut piece).await.is_ok() {
                came += 1;
                sleep(Duration::from_millis(500)).await;
            }
            (came, client)
        };
        let began = Instant::now();
        let server = async {
            serve(listener, routes, ends).await;
            began.elapsed()
        };
        let ((came, _client), time) = tokio::join!(client, server);
        (came, time)
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_is_told_all_though_the_server_ends() {
        let (came, time) = end_in_an_answer(9, 9).await;
        assert_eq!(came, 9, "{time:?}");
        assert!(time > LAST_WORDS && time < LAST_WORDS_MAX, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_has_a_second_when_the_server_ends_and_who_is_slow_has_ten() {
        let (_, time) = end_in_an_answer(9, 1).await;
        assert!(time <= 2 * LAST_WORDS, "{time:?}");
        let (came, time) = end_in_an_answer(100, 100).await;
        assert!(time >= LAST_WORDS_MAX, "{came} in {time:?}");
        assert!(time <= LAST_WORDS_MAX + 2 * LAST_WORDS, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_left_unread_has_thirty_seconds() {
        // A client that reads a little now and then is served on.
        let time = serve_one(HEAD_TIME, "0123456789", async |mut client: UnixStream| {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: run\r\n\r\n")
                .await
                .unwrap();
            let mut some = vec![0; 1 << 20];
            for _ in 0..5 {
                sleep(Duration::from_secs(25)).await;
                assert_ne!(client.read(&mut some).await.unwrap(), 0);
            }
            let idle = Instant::now();
            sleep(Duration::from_secs(35)).await;
            // What was sent before can still be read.
            while client.read(&mut some).await.is_ok_and(|count| count > 0) {}
            assert_eq!(idle.elapsed().as_secs(), 35);
        });
        let time = time.await;
        assert!((155..=165).contains(&time.as_secs()), "{time:?}");
    }
}
