//! Runs a handler on one item, for any kind of worker: decodes, runs, encodes, catches a panic. It
//! also knows what the thread holds meanwhile. It knows neither queues nor links: the source of a
//! delivery is told of its end as an [`Acknowledger`](held::Acknowledger).

pub(crate) mod attempt;
pub(crate) mod copies;
pub(crate) mod held;
pub(crate) mod lending;
pub(crate) mod stopwatch;
