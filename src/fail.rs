//! Points at which tests kill or stop this process, compiled only for them (feature `failpoints`).
//!
//! A test names a role (`supervisor`, or a worker's name without its number), a point, a number n,
//! and a file. The process of that role that passes the point for the n-th time writes so to the
//! file and is killed; once the file exists no other process is. If n is 0, processes of that role
//! write all points that they pass to the file instead. So a test learns the points that a role
//! passes, and runs once for each until none is left. Each point has a name of its own, written
//! where it is passed, so that tests find all of them in the source and miss none. Another variable of the same form has the process stopped
//! instead; it then writes its pid. A third one has the thread panic there, and a fourth names a thread that panics as soon as it
//! has begun. Without the feature this does nothing.

#[cfg(not(feature = "failpoints"))]
mod off;
#[cfg(feature = "failpoints")]
mod on;

#[cfg(not(feature = "failpoints"))]
pub(crate) use off::{is_planted, point, set_role, thread_begins};
#[cfg(feature = "failpoints")]
pub(crate) use on::{is_planted, point, set_role, thread_begins};
