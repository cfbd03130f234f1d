//! Supervised workers fed by a joinable, acknowledged queue.
//!
//! Put items on a [`JoinableQueue`], let a [`Supervisor`] run workers that take and acknowledge
//! them, and [`join`](JoinableQueue::join) it. Workers are processes, threads, async tasks, or the
//! caller itself. Whatever process dies, no accepted item is lost, `join` never hangs, and an item
//! that always fails ends as a dead letter that says why.
//!
//! - [`observe`]: one event type for all that can be seen of a run;
//! - [`serve`]: being a worker process;
//!
//! The parts inside are in `ARCHITECTURE.md`.
//!
//! # Example
//!
//! Items are of any type that serde can write and read: `cargo add serde --features derive`, and
//! `#[derive(Serialize, Deserialize)]`. A queue of strings takes literals.
//!
//! ```
//! use dishrack::{JoinableQueue, Supervisor};
//!
//! let rack = JoinableQueue::bounded(100);
//! let pool = Supervisor::builder()
//!     .threads(2)
//!     .name("dryer")
//!     .handler(&rack, |dish: String| {
//!         if dish == "cup-2" { Err("it has a crack") } else { Ok(()) }
//!     })?;
//! for n in 1..=4 {
//!     rack.put(&format!("cup-{n}"))?;
//! }
//! let joined = rack.join()?;
//! assert_eq!((joined.done, joined.dead), (3, 1));
//! let letters = rack.take_dead_letters()?;
//! assert_eq!(letters[0].history.len(), 3);
//! assert_eq!(letters[0].history[2].cause.to_string(), "it has a crack");
//! # Ok::<(), dishrack::Error>(())
//! ```

#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        reason = "some of it only some features need; a build with all of them is checked"
    )
)]

#[cfg(not(target_os = "linux"))]
compile_error!("dishrack needs Linux: pidfds, parent death signals and seqpacket sockets");

mod blob;
mod broker;
// It is for `bin` alone, which is another crate.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "control")]
mod control;
mod error;
mod fail;
mod handler;
#[cfg(feature = "cli")]
mod jobs;
#[cfg(feature = "cli")]
mod kitchen;
mod link;
pub mod observe;
mod payload;
mod protocol;
mod queue;
mod store;
mod supervision;
mod sys;
#[cfg(feature = "web")]
mod web;
pub(crate) mod worker;

pub use blob::{Blob, BlobMut, Parts};
pub use broker::Disagreement;
#[cfg(feature = "control")]
pub use control::{Control, Controlled};
pub use dishrack_core::ledger::{
    AdmissionRules, Backoff, Capacity, Cause, Copies, CopyEnd, CopySaid, Counts, DeadLetter, Exit,
    Failure, Hedge, ItemId, Options, Rate, Scene, WaitsFor,
};
pub use dishrack_core::pool::restart::{RestartCause, RestartCounts};
pub use dishrack_core::pool::spec::Restart;
pub use error::{Error, ItemError};
pub use observe::item::{ItemHolder, ItemInfo, ItemState};
pub use queue::{
    AnyQueue, Delivery, DoneMany, JoinableQueue, Joined, PutMany, PutOptions, RefusedItem,
    join_all, join_all_timeout,
};
#[cfg(feature = "redis")]
pub use store::redis::RedisOptions;
pub use store::stream::SharedPlace;
pub use supervision::{
    Builder, DeathCause, EndedWorker, ForkServer, ItemEnded, Jobserver, Map, PoolStatus, RunState,
    StartMethod, Submitter, Supervisor, WorkerDeath, WorkerInfo, WorkerState,
};
pub use sys::priority::IoPriority;
#[cfg(feature = "web")]
pub use web::{WEB_ADDRESS, Web, WebOptions};
pub use worker::{Roles, context, describe, serve, slot, take_context_file};
#[cfg(feature = "journal")]
pub use {
    queue::backed::salvage,
    store::journal::{Durability, Saved},
};
