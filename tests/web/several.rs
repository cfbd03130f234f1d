//! The page of several queues: the list of all, and each as it is alone.

use dishrack::Web;

use crate::browser::Browser;
use crate::shown::{ShownRun, TWO_LOOKS};

crate::trials! {
    a_queue_is_reached_from_the_list_and_steered_alone,
    a_queue_that_is_gone_leaves_the_others_as_they_are,
}

/// Two queues, which one page shows.
pub(crate) struct ShownQueues {
    pub(crate) mails: ShownRun,
    pub(crate) images: ShownRun,
    page: Web,
}

impl ShownQueues {
    /// Begins two runs with these items.
    pub(crate) fn of(mails: &[&str], images: &[&str]) -> Self {
        let mails = ShownRun::named("mails", mails);
        let images = ShownRun::named("images & sounds", images);
        let page = Web::of(mails.socket()).and(images.socket());
        ShownQueues {
            page: page.serve("127.0.0.1:0").unwrap(),
            mails,
            images,
        }
    }

    pub(crate) fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.page.address())
    }
}

/// Returns the cells of a queue's row in the list.
fn row(browser: &Browser, name: &str) -> String {
    let script = format!(
        "return [...document.querySelectorAll('tbody tr')]
            .map((row) => row.innerText).find((row) => row.startsWith('{name}')) ?? 'none'"
    );
    browser.run(&script).as_str().unwrap().to_owned()
}

fn a_queue_is_reached_from_the_list_and_steered_alone() {
    let queues = ShownQueues::of(&["long-1", "fail-1"], &["a"]);
    queues.mails.until("one has failed", |status| {
        status["counts"]["dead"] == 1 && status["counts"]["leased"] == 1
    });
    let browser = Browser::open();
    browser.go(&queues.page("/"));
    browser.wait_for("images & sounds");
    let mails = row(&browser, "mails");
    assert!(mails.starts_with("mails\trunning\t0\t1\t0\t1\t"), "{mails}");
    assert!(mails.ends_with("\t2"), "{mails}");
    // What changes is shown, and nobody loads the page again.
    browser.run("window.isTheSame = true");
    crate::http::ask(queues.images.socket(), "POST", "/v1/items", b"\"fail-2\"");
    queues
        .images
        .until("it has failed", |status| status["counts"]["dead"] == 1);
    let began = std::time::Instant::now();
    while !row(&browser, "images & sounds").starts_with("images & sounds\trunning\t0\t0\t1\t1") {
        assert!(
            began.elapsed() < crate::deadline::DEADLINE,
            "{}",
            browser.seen()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(browser.run("return window.isTheSame"), true);

    browser.press("a[href='/q/images%20%26%20sounds/']");
    browser.wait_for("Overview");
    browser.press("button[formaction='act/pause']");
    browser.wait_for("The run is paused.");
    assert_eq!(queues.images.get("/v1/status")["state"], "paused");
    assert_eq!(queues.mails.get("/v1/status")["state"], "running");
    browser.press("a[href='dead']");
    browser.wait_for("fail-2");
    browser.press("#chosen-2");
    browser.press("button[formaction='act/drop']");
    browser.wait_for("Drop item 2?");
    browser.press("button.sure");
    browser.wait_for("Item 2 is dropped.");
    let left = queues.mails.get("/v1/items?state=dead");
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    browser.press("nav a[href='/']");
    browser.wait_for("Queues");
    assert!(row(&browser, "images & sounds").starts_with("images & sounds\tpaused"));
    assert!(row(&browser, "mails").starts_with("mails\trunning"));
}

fn a_queue_that_is_gone_leaves_the_others_as_they_are() {
    let ShownQueues {
        mails,
        images,
        page,
    } = ShownQueues::of(&["long-1"], &["a"]);
    mails.until("one runs", |status| status["counts"]["leased"] == 1);
    let browser = Browser::open();
    let at = |path: &str| format!("http://{}{path}", page.address());
    browser.go(&at("/"));
    browser.wait_for("images & sounds");
    drop(images);
    browser.wait_for("nobody serves it");
    assert!(row(&browser, "mails").starts_with("mails\trunning\t0\t1"));
    browser.go(&at("/q/mails/items"));
    browser.wait_for("long-1");
    browser.run_to_end(TWO_LOOKS);
    assert!(browser.seen().contains("long-1"));
    browser.go(&at("/q/images%20%26%20sounds/"));
    browser.wait_for("No answer");
}
