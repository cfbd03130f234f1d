//! A queue that no socket serves: it hears what is ordered of all supervisors of its stream all the same.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hear_orders;
use super::target::{ControlTarget, Controlled};

/// Takes what others order of all supervisors of a stream, if the queue is one, as long as it is there.
pub(crate) fn hear_orders_of<T, R>(name: &str, controlled: &Arc<Controlled<T, R>>)
where
    T: Serialize + DeserializeOwned + 'static,
    R: 'static,
{
    let target: Arc<dyn ControlTarget> = Arc::clone(controlled) as _;
    hear_orders(name, &target);
}
