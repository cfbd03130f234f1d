//! A queue of a program that is not this one's parent: reached by that program's control socket.

use std::any::type_name;
use std::path::{Path, absolute};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::remote::{RemoteQueue, Route, note_route};
use super::side::Side;
use super::{JoinableQueue, upgrade};
use crate::error::{Error, Kind};
use crate::protocol::stream::Hello;

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Attaches to the queue of another program, which serves it on the control socket of this path
    /// ([`Control`](crate::Control)). Here it can be put on, got from, joined and closed; it is steered
    /// and given workers there.
    ///
    /// An item that is got here stays this program's until it is acknowledged, or the connection ends:
    /// then it goes back at once, and that counts as an attempt. The connection ends with the last
    /// handle and delivery, with this process, whatever ends it, and with that one's control socket.
    /// What was put or acknowledged before is not touched. Both must be built with the same version of
    /// this crate's protocol, and the items' type must have the same name in both.
    ///
    /// # Errors
    /// `is_setup`: nobody serves the socket, it is another user's, its queue has items of another type,
    /// or it is of another version; and `is_busy`, if too many are attached. Later calls say
    /// `is_supervisor_gone` when the connection has ended.
    ///
    /// # Example
    ///
    /// ```no_run
    /// let dishes = dishrack::JoinableQueue::<String>::attach("/run/user/1000/dishrack/sink.sock")?;
    /// while let Ok(dish) = dishes.get() {
    ///     println!("drying {}", *dish);
    ///     dish.task_done()?;
    /// }
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn attach(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let path = absolute(path).unwrap_or_else(|_| path.to_owned());
        let item_type = type_name::<T>();
        let queue = None;
        let connection = upgrade::open(&path, &Hello { queue, item_type });
        let connection = connection.map_err(|kind| match kind {
            Kind::Invalid { why, .. } => Kind::NotAttached {
                path: path.display().to_string(),
                is_busy: false,
                why,
            },
            kind => kind,
        })?;
        let route: Route = Arc::new(move |hello| upgrade::open(&path, hello));
        note_route(connection.address.home, Arc::clone(&route));
        let queue = RemoteQueue::opened(connection, item_type, route);
        Ok(JoinableQueue::of_side(Side::Remote(queue)))
    }
}
