//! Every page, looked at.

use serde_json::Value;

use crate::browser::{Browser, axe};
use crate::several::ShownQueues;
use crate::shown::ShownRun;
use crate::streamed::ShownStream;
use crate::tell;

crate::trials! {
    every_page_is_seen_well_at_two_sizes_light_and_dark,
    the_pages_of_several_queues_are_seen_well,
}

/// Those that need a Redis.
pub(crate) fn trials_of_streams() -> Vec<libtest_mimic::Trial> {
    let seen = || {
        the_pages_of_a_stream_are_seen_well();
        Ok(())
    };
    let name = "web::looking::the_pages_of_a_stream_are_seen_well";
    vec![libtest_mimic::Trial::test(name, seen)]
}

/// The sizes in pixels: a small telephone, and a usual screen.
const SIZES: [(u32, u32); 2] = [(360, 740), (1280, 900)];

/// The name of a page, its address, and words that are seen there.
type ShownPage = (&'static str, &'static str, &'static str);

const PAGES: [ShownPage; 7] = [
    ("overview", "/", "Failures by cause"),
    ("timeline", "/timeline", "under way"),
    ("workers", "/workers", "worker-1"),
    ("items", "/items", "Last cause"),
    ("dead", "/dead", "exited with code 3"),
    ("failed", "/items/1", "it ␛[31mcracked"),
    ("running", "/items/3", "tick"),
];

const PAGES_OF_STREAMS: [ShownPage; 7] = [
    ("stream-overview", "/", "Supervisors"),
    ("stream-timeline", "/timeline", "under way"),
    ("stream-workers", "/workers", "worker-1"),
    ("stream-items", "/items", "Last cause"),
    ("stream-dead", "/dead", "exited with code 3"),
    ("stream-failed", "/items/1", "it ␛[31mcracked"),
    ("stream-running", "/items/3", "tick"),
];

const PAGES_OF_SEVERAL: [ShownPage; 4] = [
    ("queues", "/", "images & sounds"),
    ("queue-overview", "/q/mails/", "Failures by cause"),
    ("queue-workers", "/q/mails/workers", "worker-1"),
    ("queue-dead", "/q/mails/dead", "exited with code 3"),
];

fn every_page_is_seen_well_at_two_sizes_light_and_dark() {
    let run = ShownRun::of(&["fail-1", "fail-2", "long-1", "long-2", "waits"]);
    run.until("both have failed", |status| status["counts"]["dead"] == 2);
    run.until("two run", |status| status["counts"]["leased"] == 2);
    look_at_all(&PAGES, |path| run.page(path));
}

fn the_pages_of_several_queues_are_seen_well() {
    let queues = ShownQueues::of(&["fail-1", "long-1", "b"], &["c"]);
    queues.mails.until("one has failed", |status| {
        status["counts"]["dead"] == 1 && status["counts"]["done"] == 1
    });
    look_at_all(&PAGES_OF_SEVERAL, |path| queues.page(path));
}

fn the_pages_of_a_stream_are_seen_well() {
    let items = ["fail-1", "fail-2", "long-1", "long-2", "waits"];
    let stream = ShownStream::of(&items, 2);
    stream.await_leased_and_dead(2);
    look_at_all(&PAGES_OF_STREAMS, |path| stream.page(path));
}

/// Looks at each of these pages in each form, and leaves a picture of it.
fn look_at_all(pages: &[ShownPage], address: impl Fn(&str) -> String) {
    let (browser, axe) = (Browser::open(), axe());
    for is_dark in [false, true] {
        for size in SIZES {
            browser.look_like(size, is_dark);
            for (name, path, words) in pages {
                browser.go(&address(path));
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
