//! Accepts clients, so many at a time: gives each a place, or one among the few that are refused.
//!
//! Who connects and says nothing has no place. As many such connections are kept as there are places, and the
//! oldest one gives way to one more, so that nobody keeps others out by silence. It knows neither who clients
//! are nor what they ask.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::{Resource, getrlimit};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::state_of;

/// The number that is served in any case.
const CLIENTS_MIN: usize = 4;

/// The time that a client has for its first byte in any case, though others want to come in.
const SILENT_TIME: Duration = Duration::from_millis(100);

/// The longest time that it has.
const SILENT_TIME_MAX: Duration = Duration::from_secs(10);

/// The number of further clients that are told so at a time.
const REFUSED_MAX: usize = 16;

/// The longest time in which one that is refused must send the head of its request.
pub(crate) const REFUSED_TIME: Duration = Duration::from_secs(1);

/// The pause after a client could not be accepted, for lack of files or memory.
const LACK_PAUSE: Duration = Duration::from_millis(100);

/// Returns how many clients are served at a time, of so many at most: they may take a quarter of the files that
/// can still be opened, because workers need files too.
pub(crate) fn clients_max(at_most: usize) -> usize {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count());
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let left = limit.map_or(usize::MAX, |limit| limit.saturating_sub(open));
    (left / 4).clamp(CLIENTS_MIN, at_most)
}

/// Where clients connect.
pub(crate) trait ClientListener {
    type Stream: HeardStream;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// A connection to a client.
pub(crate) trait HeardStream: AsFd + Send + Sync + 'static {
    /// Waits until this says that there is something to read.
    fn heard(
        &self,
        hear: impl FnMut() -> io::Result<()> + Send,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

impl ClientListener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl ClientListener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl HeardStream for UnixStream {
    async fn heard(&self, hear: impl FnMut() -> io::Result<()> + Send) -> io::Result<()> {
        self.async_io(Interest::READABLE, hear).await
    }
}

impl HeardStream for TcpStream {
    async fn heard(&self, hear: impl FnMut() -> io::Result<()> + Send) -> io::Result<()> {
        self.async_io(Interest::READABLE, hear).await
    }
}

/// A client that has said something.
#[derive(Debug)]
pub(crate) struct HeardClient<S> {
    pub(crate) stream: S,
    /// Its place; `None` if all are taken. It is free again when this is dropped.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// Its place among those that are refused, who are so many at a time.
    pub(crate) refusal: OwnedSemaphorePermit,
}

/// The places of the clients of a server.
#[derive(Debug, Clone)]
pub(crate) struct ClientPlaces {
    all: usize,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl ClientPlaces {
    pub(crate) fn new(all: usize) -> Self {
        ClientPlaces {
            all,
            places: Arc::new(Semaphore::new(all)),
            refusals: Arc::new(Semaphore::new(REFUSED_MAX)),
        }
    }

    /// Accepts clients for as long as it is polled. `admit` gets each that has said something.
    pub(crate) async fn accept<L: ClientListener>(
        &self,
        listener: &L,
        admit: impl Fn(HeardClient<L::Stream>) + Clone + Send + 'static,
    ) {
        let mut silent = VecDeque::new();
        loop {
            // Others wait in the kernel until one of these is through.
            let Ok(refusal) = Arc::clone(&self.refusals).acquire_owned().await else {
                return;
            };
            let Ok(stream) = listener.next().await else {
                sleep(LACK_PAUSE).await;
                continue;
            };
            if has_spoken(&stream) {
                admit(self.spoken(stream, refusal));
            } else {
                drop(refusal);
                let client = self.clone().admit_when_heard(stream, admit.clone());
                give_way(&mut silent, self.all).await;
                silent.push_back((Instant::now(), tokio::spawn(client)));
            }
        }
    }

    /// Waits until no client has a place.
    pub(crate) async fn until_empty(&self) {
        let all = u32::try_from(self.all).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }

    fn spoken<S>(&self, stream: S, refusal: OwnedSemaphorePermit) -> HeardClient<S> {
        HeardClient {
            stream,
            place: Arc::clone(&self.places).try_acquire_owned().ok(),
            refusal,
        }
    }

    /// Admits a client once something has come from it.
    async fn admit_when_heard<S: HeardStream>(
        self,
        stream: S,
        admit: impl Fn(HeardClient<S>) + Send,
    ) {
        let is_heard = {
            let hear = || match has_spoken(&stream) {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
            timeout(SILENT_TIME_MAX, stream.heard(hear)).await
        };
        if !matches!(is_heard, Ok(Ok(()))) {
            return;
        }
        let Ok(refusal) = Arc::clone(&self.refusals).acquire_owned().await else {
            return;
        };
        admit(self.spoken(stream, refusal));
    }
}

/// Returns `true` if something has come already.
fn has_spoken(stream: &impl AsFd) -> bool {
    !state_of(stream, PollFlags::IN).is_empty()
}

/// A client that has said nothing yet, and since when.
type Silent = (Instant, task::JoinHandle<()>);

/// Makes room for one more silent client.
async fn give_way(silent: &mut VecDeque<Silent>, silent_max: usize) {
    let forget_heard = |silent: &mut VecDeque<Silent>| silent.retain(|one| !one.1.is_finished());
    forget_heard(silent);
    if silent.len() >= silent_max
        && let Some((since, _)) = silent.front()
    {
        sleep_until(*since + SILENT_TIME).await;
        forget_heard(silent);
    }
    while silent.len() >= silent_max
        && let Some((_, oldest)) = silent.pop_front()
    {
        oldest.abort();
    }
}
