//! The control API: a local socket by which others see and steer a queue and its workers.
//!
//! It is HTTP/1.1 with JSON on a Unix socket, under `/v1/`, so that `curl --unix-socket` is a client.
//! The socket is of one user: its mode says so, and the kernel tells who connects. One thread serves
//! it, which sleeps while nobody asks. What it does, any caller of the library can do.

#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod answers;
mod api;
mod attach;
mod body;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod client;
pub(crate) mod clients;
mod connection;
mod events;
mod failure;
mod failures;
mod folder;
mod follow;
mod gate;
pub(crate) mod item;
mod keys;
mod metrics;
mod orders;
mod output;
mod puts;
mod requests;
#[cfg(feature = "cli")]
pub(crate) mod runs;
mod search;
mod server;
mod socket;
mod status;
mod steering;
#[cfg(feature = "cli")]
pub(crate) mod stream;
mod target;
mod timeline;
#[cfg(feature = "cli")]
pub(crate) mod unserved;
mod unusable;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::target::ControlTarget;
#[cfg(feature = "cli")]
pub(crate) use output::{AttemptEnding, EndBell, FoundEnd, ItemOutputs, OutputPlace, RunOfItem};
#[cfg(feature = "web")]
pub(crate) use server::serve_connection;
pub use target::Controlled;
pub(crate) use unusable::Unusable;

use self::api::Api;
use self::server::ControlServer;
use self::socket::Socket;
use crate::JoinableQueue;
use crate::broker::Broker;
use crate::broker::clients::OpenDoor;
use crate::error::{Error, Kind};

/// A socket that is there and not served yet: clients can connect, and wait.
#[derive(Debug)]
pub(crate) struct Reserved {
    socket: Socket,
    listener: UnixListener,
    door: Option<OpenDoor>,
}

impl Reserved {
    /// Says to a queue that it will be served here. So the times of what is begun until then are kept.
    pub(crate) fn announce<T>(&mut self, queue: &JoinableQueue<T>) {
        self.door = queue.broker().ok().map(Broker::open_door);
    }

    /// Makes the socket of the run of this name.
    pub(crate) fn named(name: &str) -> Result<Self, Unusable> {
        let (socket, listener) = Socket::of_name(name)?;
        Ok(Reserved {
            socket,
            listener,
            door: None,
        })
    }

    /// Makes a socket of this path.
    pub(crate) fn at(path: &Path) -> Result<Self, Unusable> {
        let (socket, listener) = Socket::of_path(path)?;
        Ok(Reserved {
            socket,
            listener,
            door: None,
        })
    }
}

/// A socket on which a queue and its workers can be seen and steered, until it is dropped.
///
/// `docs/api.md` has the requests. Whoever has the same user, or is root, may make them; nobody else.
///
/// # Example
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use std::sync::Arc;
/// use dishrack::{Control, Controlled, JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u32| Ok::<_, String>(n + 1))?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("numbers.sock");
/// let control = Control::serve_at(&path, Controlled::new(&queue, &Arc::new(pool)))?;
/// assert_eq!((control.name(), control.path()), ("numbers", &*path));
/// assert!(UnixStream::connect(&path).is_ok());
/// drop(control);
/// assert!(!path.exists());
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Control {
    server: ControlServer,
    api: Arc<Api>,
    _door: Option<OpenDoor>,
    // The path goes last: nobody else has it while somebody is answered.
    socket: Socket,
}

impl Control {
    /// Serves it on a socket of this name in the user's folder of sockets: `NAME.sock` in
    /// `$XDG_RUNTIME_DIR/dishrack`, or else in `dishrack-UID` in the temporary folder. A name has up
    /// to 64 letters, digits, and `.`, `_` or `-`.
    ///
    /// # Errors
    /// `is_setup`: the folder is another user's, the name is taken by a program that runs, or there
    /// can be no such socket.
    pub fn serve_as<T, R>(name: &str, controlled: Controlled<T, R>) -> Result<Self, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        R: 'static,
    {
        let reserved = Reserved::named(name).map_err(Kind::from)?;
        Control::serve_reserved(reserved, Arc::new(controlled))
    }

    /// Serves it on a socket of this path. What a program that is gone has left there is replaced.
    ///
    /// # Errors
    /// As [`serve_as`](Self::serve_as).
    pub fn serve_at<T, R>(
        path: impl AsRef<Path>,
        controlled: Controlled<T, R>,
    ) -> Result<Self, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        R: 'static,
    {
        let reserved = Reserved::at(path.as_ref()).map_err(Kind::from)?;
        Control::serve_reserved(reserved, Arc::new(controlled))
    }

    /// Serves it on a socket that was reserved.
    pub(crate) fn serve_reserved<T, R>(
        Reserved {
            socket,
            listener,
            door: announced,
        }: Reserved,
        controlled: Arc<Controlled<T, R>>,
    ) -> Result<Self, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        R: 'static,
    {
        let api = Arc::new(Api::new(socket.name(), controlled)?);
        let routes = requests::routes(Arc::clone(&api));
        let server = ControlServer::start(listener, routes);
        let server = server.map_err(Kind::io("starting the thread of the control socket"))?;
        let door = announced.or_else(|| api.target.open_door());
        hear_orders(socket.name(), &api.target);
        Ok(Control {
            server,
            api,
            _door: door,
            socket,
        })
    }

    /// Returns the socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.socket.path
    }

    /// Returns the name of the run.
    #[must_use]
    pub fn name(&self) -> &str {
        self.socket.name()
    }

    /// Takes nothing more from clients: no item, and no retry of one. It returns when what was taken
    /// before is on the queue. Call it before you look for the last time whether all is done; clients
    /// still see how it stands.
    pub fn refuse_changes(&self) {
        self.api.gate.shut();
    }
}

/// Takes what others order of all supervisors of a stream, if the queue is one, as long as the target is
/// there.
fn hear_orders(name: &str, target: &Arc<dyn ControlTarget>) {
    target.obey_by(orders::obey(name, target));
}

impl Drop for Control {
    fn drop(&mut self) {
        self.api.end();
        self.server.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of waits that are known at a door that opens after an item has ended.
    fn waits(is_announced: bool) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let mut reserved = Reserved::at(&folder.path().join("run.sock")).unwrap();
        let queue = JoinableQueue::<u32>::unbounded();
        if is_announced {
            reserved.announce(&queue);
        }
        queue.put(&1).unwrap();
        queue.get().unwrap().task_done().unwrap();
        let door = queue.broker().unwrap().open_door();
        drop(reserved);
        let waits = queue.broker().unwrap().waits(None).unwrap();
        drop(door);
        assert!(queue.broker().unwrap().waits(None).is_none());
        waits.begun.total()
    }

    #[test]
    fn what_is_begun_before_it_is_served_counts_if_that_was_announced() {
        assert_eq!([true, false].map(waits), [1, 0]);
    }
}
