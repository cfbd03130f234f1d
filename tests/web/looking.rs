//! Every page, looked at.

use serde_json::Value;

use crate::browser::{Browser, axe};
use crate::shown::ShownRun;
use crate::tell;

crate::trials! {
    every_page_is_seen_well_at_two_sizes_light_and_dark,
}

/// The sizes in pixels: a small telephone, and a usual screen.
const SIZES: [(u32, u32); 2] = [(360, 740), (1280, 900)];

/// The pages, with words that are seen there.
const PAGES: [(&str, &str, &str); 7] = [
    ("overview", "/", "Failures by cause"),
    ("timeline", "/timeline", "under way"),
    ("workers", "/workers", "worker-1"),
    ("items", "/items", "Last cause"),
    ("dead", "/dead", "exited with code 3"),
    ("failed", "/items/1", "it ␛[31mcracked"),
    ("running", "/items/3", "tick"),
];

fn every_page_is_seen_well_at_two_sizes_light_and_dark() {
    let run = ShownRun::of(&["fail-1", "fail-2", "long-1", "long-2", "waits"]);
    run.until("both have failed", |status| status["counts"]["dead"] == 2);
    run.until("two run", |status| status["counts"]["leased"] == 2);
    let (browser, axe) = (Browser::open(), axe());
    for is_dark in [false, true] {
        for size in SIZES {
            browser.look_like(size, is_dark);
            for (name, path, words) in PAGES {
                browser.go(&run.page(path));
                browser.wait_for(words);
                let place = format!(
                    "{name}-{}-{}",
                    size.0,
                    if is_dark { "dark" } else { "light" }
                );
                browser.shoot(&place);
                check(&browser, &place, axe.as_deref());
            }
        }
    }
}

/// Checks that nothing is wrong with what is shown.
fn check(browser: &Browser, place: &str, axe: Option<&str>) {
    let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
    assert!(
        wide.as_i64().unwrap() <= 0,
        "{place}: {wide} pixels wider than the screen"
    );
    // No text of an item was run.
    let title = browser.run("return document.title");
    assert!(
        title.as_str().unwrap().ends_with("supervisor"),
        "{place}: {title}"
    );
    let said = browser.console();
    assert!(said.is_empty(), "{place}: {said:?}");
    let Some(axe) = axe else {
        tell("no axe-core is here, so nothing is said of how accessible the page is");
        return;
    };
    browser.run(axe);
    let found = browser.run_to_end(
        "const done = arguments[arguments.length - 1];
         axe.run({resultTypes: ['violations']}).then((found) => done(found.violations.map((one) => ({
             id: one.id, impact: one.impact, nodes: one.nodes.map((node) => node.html + ' ' + node.failureSummary)
         }))))",
    );
    let found = found.as_array().unwrap();
    let is_serious = |one: &&Value| one["impact"] == "serious" || one["impact"] == "critical";
    let serious: Vec<&Value> = found.iter().filter(is_serious).collect();
    assert!(serious.is_empty(), "{place}: {serious:#?}");
}
