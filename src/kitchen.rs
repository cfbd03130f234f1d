//! The chapter's kitchen: dishes, a washer that puts them on a rack, and dryers that take them off.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::worker::{self, Roles};

/// One dish on its way from the washer to a dryer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dish {
    /// Its name.
    pub(crate) name: String,
    /// The time that drying takes.
    pub(crate) dry: Duration,
    /// Extra bytes that make the dish heavy.
    pub(crate) padding: ByteBuf,
}

/// Serves the kitchen's dryers.
pub(crate) fn serve(roles: &mut Roles) {
    roles.handler(dry);
}

/// Dries a dish, by waiting.
pub(crate) fn dry(dish: Dish) -> Result<(), Infallible> {
    worker::describe(format_args!("drying {}", dish.name));
    if !dish.dry.is_zero() {
        std::thread::sleep(dish.dry);
    }
    Ok(())
}

/// Dries a dish in an async task.
pub(crate) async fn dry_async(dish: Dish) -> Result<(), Infallible> {
    if !dish.dry.is_zero() {
        tokio::time::sleep(dish.dry).await;
    }
    Ok(())
}
