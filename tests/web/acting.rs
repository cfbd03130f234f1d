//! Every action, done by the mouse, and its effect, seen over the control API.

use crate::browser::Browser;
use crate::shown::{ShownRun, TWO_LOOKS};

crate::trials! {
    each_button_does_what_it_says,
    one_worker_is_ended_and_another_one_replaced,
    dead_letters_are_chosen_and_dealt_with,
    what_changes_is_shown_until_it_is_switched_off,
    what_is_shown_is_changed_in_its_place,
    the_time_chart_is_moved_and_zoomed_and_leads_to_items,
}

fn each_button_does_what_it_says() {
    let run = ShownRun::of(&["long-1", "long-2", "a", "b"]);
    run.until("two run", |status| status["counts"]["leased"] == 2);
    let browser = Browser::open();
    browser.go(&run.page("/"));
    browser.press("button[formaction='act/pause']");
    browser.wait_for("The run is paused.");
    assert_eq!(run.get("/v1/status")["state"], "paused");
    browser.press("button[formaction='act/resume']");
    browser.wait_for("The run goes on.");
    assert_eq!(run.get("/v1/status")["state"], "running");

    browser.go(&run.page("/workers"));
    browser.type_in("#workers", "3");
    browser.press("button[formaction='act/scale']");
    browser.wait_for("There are 3 workers now.");
    run.until("a third one works", |status| status["workers_wanted"] == 3);
    // It works off what waited.
    run.until("the others are done", |status| {
        status["counts"]["done"] == 2
    });

    browser.go(&run.page("/items/1"));
    browser.press("button[formaction='act/cancel']");
    browser.wait_for("Cancel item 1?");
    browser.press("a.button");
    browser.wait_for("Item 1");
    assert_eq!(run.get("/v1/items/1")["state"], "running");
    browser.press("button[formaction='act/cancel']");
    browser.press("button.sure");
    browser.wait_for("Item 1 is cancelled.");
    assert_eq!(run.get("/v1/items/1")["state"], "dead");

    browser.go(&run.page("/"));
    browser.press("button[formaction='act/stop-now']");
    browser.wait_for("What is begun is broken off.");
    browser.press("button.sure");
    // The run ends, and its page with it.
    let began = std::time::Instant::now();
    while std::net::TcpStream::connect(run.host()).is_ok() {
        assert!(began.elapsed() < crate::deadline::DEADLINE);
        std::thread::yield_now();
    }
}

fn one_worker_is_ended_and_another_one_replaced() {
    let run = ShownRun::of(&["long-1"]);
    let worker_in = |state: &str| -> Option<String> {
        let status = run.get("/v1/status");
        let mut workers = status["workers"].as_array().unwrap().iter();
        let found = workers.find(|one| one["state"] == state)?;
        Some(found["worker"].as_str().unwrap().to_owned())
    };
    run.until("one is idle", |_| {
        worker_in("busy").is_some() && worker_in("idle").is_some()
    });
    let busy = worker_in("busy").unwrap();
    let browser = Browser::open();
    browser.go(&run.page("/workers"));
    browser.press(&format!(
        "button[formaction='act/end-worker'][value='{busy}']"
    ));
    browser.wait_for(&format!("End {busy}?"));
    browser.press("button.sure");
    browser.wait_for(&format!("{busy} has ended, and is started again."));
    run.until("it is worked on again", |status| {
        status["counts"]["leased"] == 1 && status["counts"]["retries"] == 1
    });
    let item = run.get("/v1/items/1");
    assert_eq!(item["history"].as_array().unwrap().len(), 1, "{item}");

    run.until("one is idle", |_| worker_in("idle").is_some());
    let idle = worker_in("idle").unwrap();
    browser.press(&format!(
        "button[formaction='act/replace-worker'][value='{idle}']"
    ));
    browser.wait_for(&format!("Replace {idle}?"));
    browser.press("button.sure");
    browser.wait_for(&format!("{idle} is replaced."));
    let status = run.get("/v1/status");
    let workers = status["workers"].as_array().unwrap();
    assert!(workers.iter().all(|one| one["worker"] != *idle), "{status}");
}

fn dead_letters_are_chosen_and_dealt_with() {
    let run = ShownRun::of(&["fail-1", "fail-2", "fail-3", "fail-4", "long-1"]);
    run.until("four have failed", |status| status["counts"]["dead"] == 4);
    let browser = Browser::open();
    browser.go(&run.page("/dead"));
    browser.press("#chosen-1");
    browser.press("#chosen-3");
    // A look of the page at the run does not take the choice back.
    browser.run_to_end(TWO_LOOKS);
    browser.press("button[formaction='act/retry']");
    browser.wait_for("2 items are tried again.");
    run.until("they have failed again", |status| {
        status["counts"]["dead"] == 4 && status["counts"]["retries"] == 6
    });
    browser.go(&run.page("/dead?text=fail-2"));
    browser.wait_for("1 dead letter");
    browser.press("#chosen-2");
    browser.press("button[formaction='act/drop']");
    browser.wait_for("Drop item 2?");
    browser.press("button.sure");
    browser.wait_for("Item 2 is dropped.");
    let left = run.get("/v1/items?state=dead");
    assert_eq!(left["items"].as_array().unwrap().len(), 3);
    browser.go(&run.page("/dead"));
    browser.press("section.cause button[formaction='act/drop-all']");
    browser.press("button.sure");
    browser.wait_for("3 items are dropped.");
    browser.wait_for("There is none.");
    assert!(
        run.get("/v1/items?state=dead")["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

fn what_changes_is_shown_until_it_is_switched_off() {
    let run = ShownRun::of(&["long-1"]);
    run.until("it runs", |status| status["counts"]["leased"] == 1);
    let browser = Browser::open();
    browser.go(&run.page("/items?state=running"));
    browser.wait_for("long-1");
    // Nobody loads the page again.
    browser.run("window.isTheSame = true");
    run.get("/v1/status");
    crate::http::ask(run.socket(), "POST", "/v1/items/1/cancel", b"");
    browser.wait_for("There is none here.");
    assert_eq!(browser.run("return window.isTheSame"), true);

    browser.go(&run.page("/items"));
    browser.wait_for("long-1");
    browser.press("#live-switch");
    let pressed = "return document.getElementById('live-switch').getAttribute('aria-pressed')";
    assert_eq!(browser.run(pressed), "false");
    crate::http::ask(run.socket(), "POST", "/v1/items", b"\"later\"");
    run.until("it is done", |status| status["counts"]["done"] == 1);
    browser.run_to_end(TWO_LOOKS);
    assert!(!browser.seen().contains("later"));
    browser.press("#live-switch");
    browser.wait_for("later");
}

fn what_is_shown_is_changed_in_its_place() {
    let run = ShownRun::of(&["long-1"]);
    run.until("it runs", |status| status["counts"]["leased"] == 1);
    let browser = Browser::open();
    browser.go(&run.page("/workers?text=long-1"));
    browser.wait_for("1 with this text");
    // The row, and the button that has the focus, are the same ones when its time is another one.
    browser.run(
        "window.row = document.querySelector('tbody tr');
         window.time = row.innerText;
         row.querySelector('button').focus();",
    );
    let began = std::time::Instant::now();
    while browser.run("return document.querySelector('tbody tr').innerText === time") == true {
        assert!(began.elapsed() < crate::deadline::DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(browser.run("return row.isConnected"), true);
    assert_eq!(
        browser.run("return row.contains(document.activeElement)"),
        true
    );
    // What is gone leaves the page.
    crate::http::ask(run.socket(), "POST", "/v1/items/1/cancel", b"");
    browser.wait_for("There is none here.");
    assert_eq!(browser.run("return row.isConnected"), false);
}

fn the_time_chart_is_moved_and_zoomed_and_leads_to_items() {
    let run = ShownRun::of(&["fail-1", "a", "long-1"]);
    run.until("one runs", |status| {
        status["counts"]["leased"] == 1 && status["counts"]["dead"] == 1
    });
    let browser = Browser::open();
    browser.go(&run.page("/timeline"));
    browser.wait_for("under way");
    // Nobody loads the page again.
    browser.run("window.isTheSame = true");
    crate::http::ask(run.socket(), "POST", "/v1/items", b"\"later\"");
    browser.wait_for("item 4");
    for (pressed, address) in [
        ("#zoom-out", "seconds=300"),
        ("#zoom-in", "seconds=60"),
        ("#earlier", "until="),
        ("#earlier", "until="),
    ] {
        browser.press(pressed);
        let words = format!("return location.search.includes('{address}')");
        assert_eq!(browser.run(&words), true, "{pressed}");
    }
    // A minute ago there was nothing, and a key leads back to the present.
    browser.wait_for("nothing is kept");
    browser.type_key("#now", "0");
    browser.wait_for("item 4");
    assert_eq!(browser.run("return document.activeElement.tagName"), "A");
    browser.run("history.back()");
    browser.wait_for("nothing is kept");
    assert_eq!(browser.run("return window.isTheSame"), true);
    browser.go(&run.page("/timeline?seconds=5"));
    browser.press(".bar.begun");
    browser.wait_for("Item 3");
    browser.wait_for("tick");
}
