//! The decisions of `dishrack`: the part without a clock, without input and output, without threads
//! and processes.
//!
//! It has no standard library, so the compiler enforces this. Time is a parameter; what is to be
//! done comes out as values, in a fixed order; the same events in the same order give the same
//! decisions. The program and its simulators build on this crate alike.
//!
//! It is an inner part of `dishrack` and promises nothing to others: what users need is there.
//!
//! | module | decides |
//! | --- | --- |
//! | [`ledger`] | which holder gets which item, and whether it is done, tried again or given up |
//! | [`dispatcher`] | which waiting request is answered, and when |
//! | [`shared`] | the calls to a backend that owns the items, and the meaning of its answers |
//! | [`pool`] | a worker's life: restarts, stops, time limits |
//! | [`book`] | which rows of a journal change, and the meaning of rows |
//! | [`stream`] | which entries of a stream are held, and what is told of them |
//! | [`kept`] | which ends of items are kept for whoever asks later |
//! | [`timeline`] | which attempts are kept as bars of a time chart, and which are one bar |
//! | [`waits`] | how long items have waited until they were begun |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
// The name that the tests outside use: those of the book share a file with them.
#[cfg(test)]
extern crate self as dishrack_core;
#[cfg(test)]
extern crate std;

pub mod book;
pub mod dispatcher;
pub mod kept;
pub mod ledger;
pub mod pool;
mod request;
pub mod shared;
pub mod stream;
pub mod timeline;
pub mod waits;
