//! A handler's life in a worker process: item after item, from its arrival to its acknowledgement.
//! The session brings the items and takes the outcomes.

use std::any::type_name;
use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::current;
use super::session::{Received, Session};
use crate::fail;
use crate::handler::attempt::{Wanted, attempt};
use crate::handler::lending::lending;
use crate::handler::stopwatch::StopWatch;

pub(super) fn run_handler<T, R, E, F>(session: &Arc<Session>, handler: &F)
where
    F: Fn(T) -> Result<R, E>,
    T: DeserializeOwned + 'static,
    R: Serialize,
    E: Display + 'static,
{
    current::set(Arc::clone(session), type_name::<T>());
    let mut arrival = Received::none();
    let mut watch = StopWatch::default();
    while session.begin_next(&mut arrival, &mut watch) {
        current::begin(arrival.id, arrival.attempt, (arrival.copy, arrival.slot));
        fail::point("worker: started");
        let wanted = match arrival.is_awaited {
            true => Wanted::Elsewhere,
            false => Wanted::Not,
        };
        let lender = session.lender_of(&arrival);
        let outcome = lending(lender.as_ref(), || attempt(handler, arrival.body(), wanted));
        fail::point("worker: finished");
        if let Some(lender) = lender {
            lender.settle(&*session.uplink);
        }
        session.end(&arrival, &mut watch, outcome);
        fail::point("worker: acknowledged");
        arrival.let_go();
    }
}
