//! All that this crate asks of the kernel: signals, descriptors, locks, shared memory, the clock,
//! stderr, the process title and its end, what processes use, and how much room and which priorities
//! there are for them. It knows neither items nor workers.

pub(crate) mod blocking;
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod delegated;
pub(crate) mod descriptors;
#[cfg(feature = "cli")]
pub(crate) mod dispositions;
pub(crate) mod exit;
pub(crate) mod groups;
#[cfg(feature = "cli")]
pub(crate) mod inherited;
#[cfg(any(feature = "control", feature = "journal"))]
pub(crate) mod lock;
pub(crate) mod machine;
#[cfg(any(feature = "cli", feature = "journal"))]
pub(crate) mod marked;
pub(crate) mod memory;
pub(crate) mod poll;
pub(crate) mod priority;
pub(crate) mod program;
pub(crate) mod signals;
pub(crate) mod stat;
pub(crate) mod stderr;
pub(crate) mod stream;
pub(crate) mod threads;
pub(crate) mod title;
pub(crate) mod tokens;
pub(crate) mod usage;
