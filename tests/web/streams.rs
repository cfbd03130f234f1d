//! The page of a stream: every action, done by the mouse, and its effect, seen at the supervisors and on the
//! stream itself.

use serde_json::Value;

use crate::browser::Browser;
use crate::streamed::ShownStream;

crate::trials! {
    each_button_is_about_all_supervisors,
    one_worker_of_one_supervisor_is_ended_or_replaced,
    items_of_a_stream_are_found_followed_and_cancelled,
    dead_letters_of_a_stream_are_chosen_and_dealt_with,
}

/// Returns the process of the only worker of a supervisor, if it is ready.
fn worker(stream: &ShownStream, at: usize) -> Option<u64> {
    let status = stream.get(at, "/v1/status");
    let worker = &status["workers"][0];
    let is_ready = worker["state"] == "busy" || worker["state"] == "idle";
    worker["pid"].as_u64().filter(|_| is_ready)
}

fn each_button_is_about_all_supervisors() {
    let mut stream = ShownStream::of(&["long-1", "long-2", "a", "b"], 2);
    stream.await_leased_and_dead(0);
    let both = |stream: &ShownStream, is_so: &dyn Fn(&Value) -> bool| {
        (0..2).all(|at| is_so(&stream.get(at, "/v1/status")))
    };
    let browser = Browser::open();
    browser.go(&stream.page("/"));
    for at in 0..2 {
        browser.wait_for(&format!("-{}-", stream.pid(at)));
    }
    browser.press("button[formaction='act/pause']");
    browser.wait_for("paused: nothing more is begun.");
    assert_eq!(stream.status()["paused"], true);
    assert!(both(&stream, &|status| status["state"] == "paused"));
    browser.press("button[formaction='act/resume']");
    browser.wait_for("resumed.");
    assert_eq!(stream.status()["paused"], false);
    assert!(both(&stream, &|status| status["state"] == "running"));

    browser.go(&stream.page("/workers"));
    browser.type_in("#workers", "2");
    browser.press("button[formaction='act/scale']");
    browser.wait_for("4 workers.");
    browser.wait_for("4 workers, 4 wanted");
    assert!(both(&stream, &|status| status["workers_wanted"] == 2));
    // Those that have come work off what waited.
    stream.until("the others are done", |stream| stream.status()["done"] == 2);

    browser.go(&stream.page("/"));
    browser.press("button[formaction='act/stop-now']");
    browser.wait_for("Stop all supervisors of the stream at once?");
    browser.press("button.sure");
    browser.wait_for("stopped.");
    browser.wait_for("Nobody works on the stream.");
    assert_eq!([stream.end_of(0), stream.end_of(1)], [Some(143); 2]);
    assert_eq!(stream.status()["unfinished"], 2);
}

fn one_worker_of_one_supervisor_is_ended_or_replaced() {
    let stream = ShownStream::of(&["long-1", "long-2"], 2);
    stream.await_leased_and_dead(0);
    let pids = [worker(&stream, 0).unwrap(), worker(&stream, 1).unwrap()];
    let held = |at: usize| stream.get(at, "/v1/status")["workers"][0]["number"].clone();
    let ended = held(1);
    let browser = Browser::open();
    browser.go(&stream.page("/workers"));
    let other = format!("-{}-", stream.pid(1));
    browser.press(&format!(
        "button[formaction='act/end-worker'][value*='{other}']"
    ));
    browser.wait_for("End worker-1 of ");
    browser.wait_for("counts as a failed attempt");
    browser.press("button.sure");
    browser.wait_for("has ended, and is started again.");
    stream.until("another process is at it again", |stream| {
        worker(stream, 1).is_some_and(|pid| pid != pids[1])
    });
    assert_eq!(worker(&stream, 0), Some(pids[0]));
    stream.until("that was told", |stream| stream.status()["retries"] == 1);
    let item = stream.told(&format!("show {ended}")).unwrap();
    assert_eq!(item["history"].as_array().unwrap().len(), 1, "{item}");

    stream.await_leased_and_dead(0);
    // It goes on with what it has begun, which never ends, unless that is cancelled.
    let held = held(0);
    let browser_of_items = Browser::open();
    let own = format!("-{}-", stream.pid(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            browser.go(&stream.page("/workers"));
            browser.press(&format!(
                "button[formaction='act/replace-worker'][value*='{own}']"
            ));
            browser.wait_for("Replace worker-1 of ");
            browser.press("button.sure");
            browser.wait_for("is replaced.");
        });
        stream.until("a new one has come beside it", |stream| {
            let status = stream.get(0, "/v1/status");
            let workers = status["workers"].as_array().unwrap();
            workers
                .iter()
                .any(|one| one["pid"].as_u64() != Some(pids[0]))
        });
        browser_of_items.go(&stream.page(&format!("/items/{held}")));
        browser_of_items.press("button[formaction='act/cancel']");
        browser_of_items.press("button.sure");
        browser_of_items.wait_for(&format!("Item {held} is cancelled."));
    });
    stream.until("the old one is gone", |stream| {
        worker(stream, 0).is_some_and(|pid| pid != pids[0])
    });
}

fn items_of_a_stream_are_found_followed_and_cancelled() {
    let stream = ShownStream::of(&["long-1", "needle", "hay"], 1);
    stream.await_leased_and_dead(0);
    let browser = Browser::open();
    browser.go(&stream.page("/items"));
    browser.type_in("#text", "NEEDLE");
    browser.press("form.search button");
    browser.wait_for("needle");
    assert!(!browser.seen().contains("hay"));
    browser.press("td a");
    browser.wait_for("Item 2");
    browser.press("button[formaction='act/cancel']");
    browser.wait_for("Cancel item 2?");
    browser.press("button.sure");
    browser.wait_for("Item 2 is cancelled.");
    assert_eq!(stream.told("show 2").unwrap()["state"], "dead");

    // What it writes is with its run, on this machine.
    browser.go(&stream.page("/items/1"));
    browser.wait_for("tick\ntick");
    browser.press("button[formaction='act/cancel']");
    browser.press("button.sure");
    browser.wait_for("Item 1 is cancelled.");
    stream.until("the last one is done", |stream| {
        stream.status()["done"] == 1
    });
    assert_eq!(stream.told("show 1").unwrap()["state"], "dead");
    browser.go(&stream.page("/items?state=done"));
    browser.wait_for("does not keep items that are done");
}

fn dead_letters_of_a_stream_are_chosen_and_dealt_with() {
    let stream = ShownStream::of(&["fail-1", "fail-2", "fail-3", "fail-4", "long-1"], 1);
    stream.await_leased_and_dead(4);
    let browser = Browser::open();
    browser.go(&stream.page("/dead"));
    browser.wait_for("4 dead letters");
    browser.press("#chosen-1");
    browser.press("button[formaction='act/drop']");
    browser.wait_for("Drop item 1?");
    browser.press("a.button");
    browser.wait_for("4 dead letters");
    browser.press("#chosen-1");
    browser.press("button[formaction='act/drop']");
    browser.press("button.sure");
    browser.wait_for("Item 1 is dropped.");
    browser.wait_for("3 dead letters");
    let dropped = stream.told("show 1").unwrap();
    assert_eq!(dropped["state"], "dead");
    assert_eq!(dropped["history"], serde_json::json!([]));

    // Its worker is at a long one, so what is tried again waits.
    browser.press("#chosen-3");
    browser.press("button[formaction='act/retry']");
    browser.wait_for("Item 3 is tried again.");
    assert_eq!(stream.told("show 3").unwrap()["state"], "waiting");
    browser.go(&stream.page("/dead?text=fail-2"));
    browser.wait_for("1 dead letter");
    browser.press("button[formaction='act/drop-all']:not(section.cause *)");
    browser.wait_for("Drop all dead letters with “fail-2”?");
    browser.press("button.sure");
    browser.wait_for("Item 2 is dropped.");
    browser.go(&stream.page("/dead"));
    browser.press("section.cause button[formaction='act/retry-all']");
    browser.wait_for("Try all dead letters that failed as item 4 did again?");
    browser.press("button.sure");
    browser.wait_for("Item 4 is tried again.");
    browser.wait_for("There is none.");
    assert_eq!(stream.told("show 4").unwrap()["state"], "waiting");
    assert_eq!(stream.status()["unfinished"], 3);
}
