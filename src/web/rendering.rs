//! Renders pages, each at most so often: many that look at the same thing cost the run as much as one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::Visitor;
use super::frame::WebPage;
use super::place::WebPlace;
use super::site::{Rendered, Site};
use super::{dead, items, overview, timeline, workers};
use crate::control::client::NoAnswer;

/// The time for which a page is shown to others as well, so that many that look at the same thing cost
/// the run as much as one.
const FRESH: Duration = Duration::from_millis(800);

/// Renders a page, or returns what somebody else was shown just now.
pub(super) async fn page(
    site: &Site,
    place: &WebPlace,
    visitor: &Visitor,
) -> Result<Arc<WebPage>, NoAnswer> {
    let shared = site.shared((place.clone(), visitor.role));
    // Those who want the same wait for the first of them.
    let mut shared = shared.lock().await;
    if let Some(rendered) = &*shared
        && rendered.at.elapsed() < FRESH
    {
        return Ok(Arc::clone(&rendered.page));
    }
    let page = Arc::new(render(site, place, visitor).await?);
    *shared = Some(Rendered {
        at: Instant::now(),
        page: Arc::clone(&page),
    });
    Ok(page)
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
