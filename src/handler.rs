//! Running a handler on one item, whatever the worker is: decode, run, encode, catch its panic; and
//! what the thread that does so holds meanwhile. It knows neither queues nor links: whoever handed a
//! delivery out hears of its end as an [`Acknowledger`](held::Acknowledger).

pub(crate) mod attempt;
pub(crate) mod copies;
pub(crate) mod held;
pub(crate) mod loan;
