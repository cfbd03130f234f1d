//! Renders pages, each at most so often: many that look at the same thing cost the run as much as one.

use std::sync::Arc;

use super::access::Visitor;
use super::frame::WebPage;
use super::place::WebPlace;
use super::site::Site;
use super::{dead, items, overview, timeline, workers};
use crate::control::client::NoAnswer;

/// Renders a page, or returns what somebody else was shown just now.
pub(super) async fn page(
    site: &Site,
    place: &WebPlace,
    visitor: &Visitor,
) -> Result<Arc<WebPage>, NoAnswer> {
    let shared = site.shared((place.clone(), visitor.role));
    // Those who want the same wait for the first of them.
    let mut shared = shared.lock().await;
    match shared.page() {
        Some(page) => Ok(page),
        None => Ok(shared.keep(render(site, place, visitor).await?)),
    }
}

async fn render(site: &Site, place: &WebPlace, visitor: &Visitor) -> Result<WebPage, NoAnswer> {
    match place {
        WebPlace::Overview => overview::page(site, visitor).await,
        WebPlace::Timeline(view) => timeline::page(site, view).await,
        WebPlace::Workers(search) => workers::page(site, search, visitor).await,
        WebPlace::Items(search) => items::list(site, search).await,
        WebPlace::Item(number) => items::single(site, *number, visitor).await,
        WebPlace::Dead(search) => dead::page(site, search, visitor).await,
    }
}
