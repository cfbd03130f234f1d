//! Items, errors and output that are large, broken or hostile: each is shown as text, cut, with a way to the whole.

use serde_json::Value;

use crate::browser::Browser;
use crate::http::ask;
use crate::shown::ShownRun;

crate::trials! {
    what_is_large_is_cut_and_all_of_it_can_be_had,
    what_is_broken_or_hostile_is_text,
}

/// The size of what is large, in bytes.
const LARGE: usize = 10_000_000;

/// The greatest number of letters that a page shows of anything.
const SHOWN_MAX: i64 = 80_000;

/// Returns the length of an address of the page's, in bytes.
fn length(browser: &Browser, path: &str) -> i64 {
    let script = format!(
        "const done = arguments[arguments.length - 1];
         fetch('{path}').then((one) => one.arrayBuffer()).then((one) => done(one.byteLength))"
    );
    browser.run_to_end(&script).as_i64().unwrap()
}

fn is_text_of_bounded_length(browser: &Browser, place: &str) {
    let letters = browser.run("return document.body.innerText.length");
    assert!(letters.as_i64().unwrap() < SHOWN_MAX, "{place}: {letters}");
    let found =
        browser.run("return document.querySelectorAll('main b, main i, main script').length");
    assert_eq!(found, 0, "{place}");
    let title = browser.run("return document.title");
    assert!(
        title.as_str().unwrap().ends_with("supervisor"),
        "{place}: {title}"
    );
    let controls = "return /[\\u0000-\\u0008\\u000b-\\u001f\\u202a-\\u202e\\u2066-\\u2069]/.test(document.body.textContent)";
    assert_eq!(browser.run(controls), false, "{place}");
    let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
    assert!(
        wide.as_i64().unwrap() <= 0,
        "{place}: {wide} pixels too wide"
    );
    assert_eq!(browser.console(), Vec::<String>::new(), "{place}");
}

fn what_is_large_is_cut_and_all_of_it_can_be_had() {
    let run = ShownRun::of(&["large-1"]);
    run.until("it has failed", |status| status["counts"]["dead"] == 1);
    let browser = Browser::open();
    browser.go(&run.page("/items/1"));
    browser.wait_for("xxx");
    browser.wait_for("exited with code 3");
    is_text_of_bounded_length(&browser, "/items/1");
    assert!(length(&browser, "/items/1/output") >= LARGE as i64);
    // The run keeps no more than one such thing. No process can be given as much by an argument.
    let name = format!("\"<i>\\u202e{}\"", "n".repeat(LARGE));
    let put = ask(run.socket(), "POST", "/v1/items", name.as_bytes());
    assert_eq!(put.status, 200);
    run.until("both have failed", |status| status["counts"]["dead"] == 2);
    for size in [(360, 740), (1280, 900)] {
        browser.look_like(size, false);
        for path in [
            "/",
            "/timeline",
            "/workers",
            "/items",
            "/dead",
            "/items/1",
            "/items/2",
        ] {
            browser.go(&run.page(path));
            is_text_of_bounded_length(&browser, path);
        }
    }
    browser.go(&run.page("/items/2"));
    browser.wait_for("nnn");
    browser.wait_for("This is the beginning");
    assert!(length(&browser, "/items/2/text") >= LARGE as i64);
    // A run keeps the beginning of a name, and says so.
    let item: Value = run.get("/v1/items/2");
    assert!(item["item"].as_str().unwrap().ends_with("nnn…"), "{item}");
}

fn what_is_broken_or_hostile_is_text() {
    let run = ShownRun::of(&["broken-1"]);
    run.until("it is the first item", |status| {
        status["counts"]["accepted"] == 1
    });
    let hostile = [
        r#""</pre><script>document.title = 1</script><b>x</b>\u001b[2J\u202e&amp;""#,
        r#"{"base64": "//48Yj5icm9rZW48L2I+"}"#,
    ];
    for item in hostile {
        let put = ask(run.socket(), "POST", "/v1/items", item.as_bytes());
        assert_eq!(put.status, 200, "{item}");
    }
    run.until("all have ended", |status| {
        status["counts"]["done"] == 2 && status["counts"]["dead"] == 1
    });
    let browser = Browser::open();
    for path in [
        "/",
        "/timeline",
        "/items",
        "/dead",
        "/items/1",
        "/items/2",
        "/items/3",
    ] {
        browser.go(&run.page(path));
        is_text_of_bounded_length(&browser, path);
    }
    browser.go(&run.page("/items/1"));
    for words in [
        "a\u{fffd}\u{fffd}b␛[2J␛]0;broken in␇<b>bold</b>",
        "exited with code 3",
    ] {
        browser.wait_for(words);
    }
    browser.go(&run.page("/items"));
    browser.wait_for("<script>document.title = 1</script>");
    browser.wait_for("<b>broken</b>");
}
