//! The page as a browser without scripts uses it: what it shows, what its forms do, and whom it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dishrack::{Options, Web, WebOptions};

use crate::controlled::Run;
use crate::deadline::DEADLINE;

crate::trials! {
    the_overview_shows_how_the_run_stands,
    workers_items_and_dead_letters_have_pages,
    the_timeline_has_a_bar_for_each_attempt_that_leads_to_its_item,
    a_form_does_what_its_button_says,
    what_throws_something_away_asks_first,
    dead_letters_are_tried_again_and_dropped_one_the_chosen_or_all,
    a_page_that_is_open_is_kept_true,
    what_an_item_says_is_never_markup,
    a_form_without_its_token_is_refused,
    a_form_of_another_server_is_refused,
    a_name_that_is_not_ours_is_refused,
    who_may_only_look_changes_nothing,
    without_the_token_nothing_is_seen,
    an_address_that_others_can_reach_needs_a_token,
    a_path_leads_to_pages_alone,
    health_needs_no_token_and_tells_nothing,
    numbers_come_in_both_forms,
    each_number_is_in_the_document_and_the_dashboard_asks_for_no_other,
    who_says_nothing_keeps_nobody_out,
    more_clients_than_there_is_room_for_are_told_so,
    the_end_of_the_run_is_told,
    an_open_page_does_not_delay_the_end,
    the_document_has_every_address,
    several_queues_have_one_page,
    what_is_done_to_one_of_several_queues_is_done_to_no_other,
    the_numbers_of_several_queues_have_their_names,
    a_queue_that_is_gone_leaves_the_others,
    one_login_is_for_all_queues,
    two_queues_of_one_name_are_refused,
}

/// The number of clients that are served at a time.
const CLIENTS_MAX: usize = 1024;

/// An answer.
#[derive(Debug)]
struct Shown {
    status: u16,
    head: BTreeMap<String, String>,
    body: String,
}

/// A browser without scripts: it keeps its cookie.
struct Browser {
    address: SocketAddr,
    cookie: Option<String>,
}

/// Sends a request as it is, and reads the answer to its end.
fn send(address: SocketAddr, request: &str) -> Shown {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let head = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    });
    Shown {
        status: status.parse().unwrap(),
        head: head.collect(),
        body: body.to_owned(),
    }
}

impl Browser {
    fn at(page: &Web) -> Self {
        Browser {
            address: page.address(),
            cookie: None,
        }
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Shown {
        let cookie = self.cookie.as_ref();
        let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let (host, length) = (self.address, body.len());
        let shown = send(
            self.address,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: text/html\r\n\
                 {cookie}{headers}Content-Length: {length}\r\n\r\n{body}"
            ),
        );
        if let Some(set) = shown.head.get("set-cookie") {
            let (pair, rules) = set.split_once("; ").unwrap();
            assert!(
                rules.contains("HttpOnly") && rules.contains("SameSite=Strict"),
                "{set}"
            );
            self.cookie = Some(pair.to_owned());
        }
        shown
    }

    fn get(&mut self, path: &str) -> Shown {
        self.ask("GET", path, "", "")
    }

    /// Loads a page, which must be there.
    fn load(&mut self, path: &str) -> String {
        let shown = self.get(path);
        assert_eq!(shown.status, 200, "{path}: {shown:?}");
        shown.body
    }

    /// Returns the token of the forms of a page.
    fn token(&mut self) -> String {
        let page = self.load("/");
        let (_, after) = page.split_once("name=\"token\" value=\"").unwrap();
        after.split_once('"').unwrap().0.to_owned()
    }

    fn post(&mut self, path: &str, fields: &str) -> Shown {
        let token = self.token();
        self.ask("POST", path, "", &format!("token={token}&back=/&{fields}"))
    }

    /// Presses a button that acts at once, and returns what is said of that.
    fn press(&mut self, path: &str, fields: &str) -> String {
        let answer = self.post(path, fields);
        assert_eq!(
            (answer.status, &*answer.head["location"]),
            (303, "/"),
            "{answer:?}"
        );
        let page = self.load("/");
        let (_, said) = page.split_once("role=\"status\">").unwrap();
        said.split_once("</p>").unwrap().0.to_owned()
    }
}

fn page_of(run: &Run, options: impl FnOnce(WebOptions) -> WebOptions) -> Web {
    options(Web::of(&run.socket)).serve("127.0.0.1:0").unwrap()
}

fn plain(run: &Run) -> (Web, Browser) {
    let page = page_of(run, |options| options);
    let browser = Browser::at(&page);
    (page, browser)
}

fn the_overview_shows_how_the_run_stands() {
    let run = Run::new();
    run.put("1\n2\n3");
    assert_eq!(run.next_begun(), 1);
    let (_page, mut browser) = plain(&run);
    let shown = browser.get("/");
    assert_eq!(shown.status, 200);
    let policy = &shown.head["content-security-policy"];
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(shown.head["x-content-type-options"], "nosniff");
    assert_eq!(shown.head["cache-control"], "no-store");
    for words in [
        "<strong>run</strong>",
        "Waiting</a></dt><dd>2</dd>",
        "1 of 1",
    ] {
        assert!(shown.body.contains(words), "{words}: {}", shown.body);
    }
    // Its files are its own.
    for file in ["/assets/page.css", "/assets/page.js", "/assets/icon.svg"] {
        assert!(shown.body.contains(file));
        assert_eq!(browser.get(file).status, 200);
    }
}

fn workers_items_and_dead_letters_have_pages() {
    let run = Run::new();
    run.put("10\n20\n30");
    assert_eq!(run.next_begun(), 10);
    run.ends.send(Err("it is ten".into())).unwrap();
    assert_eq!(run.next_begun(), 20);
    let (_page, mut browser) = plain(&run);
    let workers = browser.load("/workers");
    assert!(
        workers.contains("busy") && workers.contains("\"items/2\""),
        "{workers}"
    );
    let waiting = browser.load("/items?state=waiting");
    assert!(
        waiting.contains("\"items/3\"") && !waiting.contains("\"items/1\""),
        "{waiting}"
    );
    let dead = browser.load("/dead");
    assert!(
        dead.contains("it is ten") && dead.contains("1 dead letter"),
        "{dead}"
    );
    let item = browser.load("/items/1");
    assert!(
        item.contains("it is ten") && item.contains("Failed attempts"),
        "{item}"
    );
    let whole = browser.load("/items/1/json");
    assert!(whole.contains("\"state\": \"dead\""), "{whole}");
    assert_eq!(browser.get("/items/99").status, 404);
    // Its items are no commands, so there is no output.
    assert_eq!(browser.get("/items/1/output").status, 404);
}

fn the_timeline_has_a_bar_for_each_attempt_that_leads_to_its_item() {
    let run = Run::new();
    run.put("10\n20\n30");
    assert_eq!(run.next_begun(), 10);
    run.let_go(1);
    assert_eq!(run.next_begun(), 20);
    run.ends.send(Err("it is <twenty>".into())).unwrap();
    assert_eq!(run.next_begun(), 30);
    let (_page, mut browser) = plain(&run);
    let page = browser.load("/timeline");
    for words in [
        "<a href=\"items/1\" tabindex=\"-1\"><rect class=\"bar done",
        "<a href=\"items/2\" tabindex=\"-1\"><rect class=\"bar failed",
        "<a href=\"items/3\" tabindex=\"-1\"><rect class=\"bar begun",
        "item 2: attempt 1 has failed: it is &lt;twenty&gt;",
        "<td class=\"number\"><a href=\"items/2\">item 2</a></td><td class=\"name\">worker-1</td>",
        "seconds=15\"",
        "seconds=300\"",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // It stands still, at a time of which nothing is kept.
    let page = browser.load("/timeline?seconds=60&until=1000");
    assert!(
        !page.contains("<rect") && page.contains("nothing is kept"),
        "{page}"
    );
    assert!(page.contains("until=31000\""), "{page}");
    assert_eq!(browser.get("/timeline?seconds=61").status, 404);
}

fn a_form_does_what_its_button_says() {
    let run = Run::new();
    let (_page, mut browser) = plain(&run);
    assert_eq!(browser.press("/act/pause", ""), "The run is paused.");
    assert!(run.queue.is_paused().unwrap());
    assert!(browser.load("/").contains(">Resume<"));
    assert_eq!(browser.press("/act/resume", ""), "The run goes on.");
    assert!(!run.queue.is_paused().unwrap());
    assert_eq!(
        browser.press("/act/scale", "count=3"),
        "There are 3 workers now."
    );
    assert_eq!(run.pool.workers().len(), 3);
    let said = browser.press("/act/scale", "count=many");
    assert!(said.contains("no number of workers"), "{said}");
    let said = browser.press("/act/reload", "sure=yes");
    assert_eq!(said, "All workers are replaced.");
    // It is said once.
    assert!(!browser.load("/").contains("All workers are replaced."));
}

fn what_throws_something_away_asks_first() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    let (_page, mut browser) = plain(&run);
    let asked = browser.post("/act/cancel", "what=2");
    assert_eq!(asked.status, 200);
    assert!(asked.body.contains("Cancel item 2?"), "{}", asked.body);
    assert_eq!(run.queue.counts().unwrap().dead, 0);
    let said = browser.press("/act/cancel", "what=2&sure=yes");
    assert_eq!(said, "Item 2 is cancelled.");
    assert_eq!(run.queue.counts().unwrap().dead, 1);
    let said = browser.press("/act/cancel", "what=2&sure=yes");
    assert!(said.contains("0 items are cancelled"), "{said}");
    let asked = browser.post("/act/stop", "");
    assert!(asked.body.contains("Stop the run"), "{}", asked.body);
    run.let_go(1);
    assert_eq!(
        browser.press("/act/stop", "sure=yes"),
        "The run is stopped."
    );
    assert!(run.queue.is_closed());
}

fn dead_letters_are_tried_again_and_dropped_one_the_chosen_or_all() {
    let run = Run::new();
    run.put("1\n2\n3\n4\n5\n6\n7");
    for number in 1..=7 {
        assert_eq!(run.next_begun(), number);
        let why = if number % 2 == 0 { "even" } else { "odd & <b>" };
        run.ends.send(Err(why.into())).unwrap();
    }
    run.queue.join_timeout(DEADLINE).unwrap();
    let (_page, mut browser) = plain(&run);
    let page = browser.load("/dead");
    assert!(
        page.contains("odd &amp; &lt;b&gt;") && page.contains("4 dead letters"),
        "{page}"
    );
    assert_eq!(
        browser.press("/act/drop", "what=1&sure=yes"),
        "Item 1 is dropped."
    );
    assert_eq!(
        browser.press("/act/retry", "what=2&what=3"),
        "2 items are tried again."
    );
    assert_eq!(run.next_begun(), 2);
    run.let_go(1);
    assert_eq!(run.next_begun(), 3);
    run.let_go(1);
    run.queue.join_timeout(DEADLINE).unwrap();
    // Two even ones and two odd ones are left.
    let page = browser.load("/dead");
    let (_, print) = page.split_once("value=\"like:5:").unwrap();
    let like = format!("what=like%3A5%3A{}", print.split_once('"').unwrap().0);
    let asked = browser.post("/act/drop-all", &like);
    assert!(
        asked.body.contains("failed as item 5 did"),
        "{}",
        asked.body
    );
    let said = browser.press("/act/drop-all", &format!("{like}&sure=yes"));
    assert_eq!(said, "2 items are dropped.");
    let said = browser.press("/act/retry-all", "what=text%3Aeven&sure=yes");
    assert_eq!(said, "2 items are tried again.");
    run.let_go(2);
    let joined = run.queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (4, 3));
    assert!(browser.load("/dead").contains("There is none."));
    assert_eq!(browser.press("/act/retry", ""), "Nothing was chosen.");
}

/// Opens the events that keep the overview true.
fn open_live(page: &Web, browser: &mut Browser) -> TcpStream {
    browser.load("/");
    let mut stream = TcpStream::connect(page.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (host, cookie) = (page.address(), browser.cookie.as_ref().unwrap());
    let head = format!("GET /live?page=%2F HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn an_open_page_does_not_delay_the_end() {
    let run = Run::new();
    let (page, mut browser) = plain(&run);
    let stream = open_live(&page, &mut browser);
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.find(|line| line.as_ref().unwrap().starts_with("data:"));
    assert!(first.is_some());
    let began = Instant::now();
    drop(page);
    // An answer that goes on is waited for for a second.
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(lines.last().map(Result::unwrap).as_deref(), Some(""));
}

fn a_page_that_is_open_is_kept_true() {
    let run = Run::new();
    let (page, mut browser) = plain(&run);
    let stream = open_live(&page, &mut browser);
    let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
    let mut until = |words: &str| {
        let found = lines.find(|line| line.starts_with("data:") && line.contains(words));
        found.unwrap_or_else(|| panic!("no {words}"))
    };
    assert!(until("Accepted</a></dt><dd>0</dd>").contains("\"state\""));
    run.put("1\n2");
    until("Accepted</a></dt><dd>2</dd>");
    // What has not changed is not sent.
    assert!(!until("for ").contains("\"failures\""));
}

fn what_an_item_says_is_never_markup() {
    let run = Run::new();
    let hostile = "</pre><script>alert(1)</script>\u{1b}[31m\u{202e}'\"&";
    run.put("1");
    assert_eq!(run.next_begun(), 1);
    run.ends.send(Err(hostile.into())).unwrap();
    run.queue.join_timeout(DEADLINE).unwrap();
    let (_page, mut browser) = plain(&run);
    for path in [
        "/",
        "/items",
        "/items/1",
        "/dead",
        "/dead?text=%3Cscript%3E",
    ] {
        let page = browser.load(path);
        assert!(
            !page.contains("<script>alert") && !page.contains('\u{1b}'),
            "{path}: {page}"
        );
        assert!(page.contains("&lt;script&gt;"), "{path}: {page}");
    }
    // The text that is looked for comes back in its field.
    let page = browser.load("/items?text=%22%3E%3Cscript%3Ealert(2)%3C%2Fscript%3E");
    assert!(!page.contains("<script>alert"), "{page}");
}

fn a_form_without_its_token_is_refused() {
    let run = Run::new();
    let (_page, mut browser) = plain(&run);
    browser.load("/");
    for body in ["", "token=", "token=0000", "back=/"] {
        assert_eq!(
            browser.ask("POST", "/act/pause", "", body).status,
            403,
            "{body}"
        );
    }
    // Another visitor's token is none either.
    let other = Browser {
        cookie: None,
        ..browser
    }
    .token();
    let mut third = Browser {
        address: browser.address,
        cookie: None,
    };
    third.load("/");
    assert_eq!(
        third
            .ask("POST", "/act/pause", "", &format!("token={other}"))
            .status,
        403
    );
    assert!(!run.queue.is_paused().unwrap());
    assert_eq!(third.get("/act/pause").status, 405);
}

fn a_form_of_another_server_is_refused() {
    let run = Run::new();
    let (page, mut browser) = plain(&run);
    let body = format!("token={}", browser.token());
    let other = format!("Origin: http://127.0.0.1:{}\r\n", page.address().port() ^ 1);
    for headers in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        &other,
    ] {
        assert_eq!(
            browser.ask("POST", "/act/pause", headers, &body).status,
            403,
            "{headers}"
        );
    }
    assert!(!run.queue.is_paused().unwrap());
    let own = format!("Origin: http://{}\r\n", page.address());
    assert_eq!(browser.ask("POST", "/act/pause", &own, &body).status, 303);
}

fn a_name_that_is_not_ours_is_refused() {
    let run = Run::new();
    let page = page_of(&run, |options| options.host("jobs.example.org"));
    let ask = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        send(page.address(), &request).status
    };
    assert_eq!(ask("evil.example"), 421);
    assert_eq!(ask(&format!("evil.example:{}", page.address().port())), 421);
    assert_eq!(ask("jobs.example.org"), 200);
    assert_eq!(ask("localhost:1"), 200);
    let request = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(send(page.address(), request).status, 421);
}

fn who_may_only_look_changes_nothing() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    let page = page_of(&run, WebOptions::read_only);
    let mut browser = Browser::at(&page);
    for path in ["/", "/timeline", "/workers", "/items", "/items/2", "/dead"] {
        let page = browser.load(path);
        assert!(
            page.contains("read-only") && !page.contains("formaction"),
            "{path}: {page}"
        );
    }
    let refused = browser.post("/act/cancel", "what=2&sure=yes");
    assert_eq!(refused.status, 403);
    assert_eq!(run.queue.counts().unwrap().dead, 0);
}

fn without_the_token_nothing_is_seen() {
    let run = Run::new();
    let page = page_of(&run, |options| {
        options
            .token("the whole key 123")
            .reading_token("a half key 12345")
    });
    let mut browser = Browser::at(&page);
    let refused = browser.get("/items?state=dead");
    assert_eq!(
        refused.head["location"],
        "/login?to=%2Fitems%3Fstate%3Ddead"
    );
    for path in ["/metrics", "/live?page=/", "/items/1/json"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            page.address()
        );
        assert_eq!(send(page.address(), &request).status, 401, "{path}");
    }
    assert_eq!(browser.ask("POST", "/act/pause", "", "").status, 401);
    let form = browser.load("/login?to=%2Fitems%3Fstate%3Ddead");
    assert!(
        form.contains("type=\"password\"") && !form.contains("<nav"),
        "{form}"
    );
    let wrong = browser.ask("POST", "/login", "", "token=no&to=/");
    assert!(
        wrong.status == 403 && wrong.body.contains("not the token"),
        "{wrong:?}"
    );
    // No other server is led to.
    let away = browser.ask(
        "POST",
        "/login",
        "",
        "token=the+whole+key+123&to=//evil.example/",
    );
    assert_eq!(away.head["location"], "/");
    assert_eq!(browser.press("/act/pause", ""), "The run is paused.");
    let out = browser.post("/logout", "");
    assert_eq!(out.status, 303);
    assert_eq!(browser.get("/").status, 303);
    // Programs say it in a header.
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut program = Browser::at(&page);
    assert_eq!(
        program
            .ask("GET", "/", &bearer("a half key 12345"), "")
            .status,
        200
    );
    let answer = program.ask("POST", "/act/resume", &bearer("a half key 12345"), "");
    assert_eq!(answer.status, 403);
    let answer = program.ask("POST", "/act/resume", &bearer("the whole key 123"), "");
    assert_eq!((answer.status, &*answer.body), (200, "The run goes on.\n"));
    assert!(!run.queue.is_paused().unwrap());
}

fn an_address_that_others_can_reach_needs_a_token() {
    let run = Run::new();
    let refused = Web::of(&run.socket).serve("0.0.0.0:0").unwrap_err();
    assert!(
        refused.is_setup() && refused.to_string().contains("needs a token"),
        "{refused}"
    );
    let page = Web::of(&run.socket)
        .token("the whole key 123")
        .serve("0.0.0.0:0");
    let taken = Web::of(&run.socket).serve(page.as_ref().unwrap().address());
    assert!(taken.is_err());
}

fn a_path_leads_to_pages_alone() {
    let run = Run::new();
    let (_page, mut browser) = plain(&run);
    for path in [
        "/../etc/passwd",
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/none",
        "/items/..",
        "/items/1/../2",
        "//evil.example/",
        "/v1/status",
        "/act/format",
    ] {
        let shown = browser.get(path);
        assert!([400, 404, 405].contains(&shown.status), "{path}: {shown:?}");
        assert!(!shown.body.contains("root:"), "{path}");
    }
}

fn health_needs_no_token_and_tells_nothing() {
    let run = Run::new();
    let page = page_of(&run, |options| options.token("the whole key 123"));
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
        let shown = send(page.address(), &request);
        (shown.status, shown.body)
    };
    assert_eq!(ask("/health"), (200, "ok\n".into()));
    assert_eq!(ask("/health/live"), (200, "ok\n".into()));
    assert_eq!(ask("/health/ready"), (200, "ready\n".into()));
    run.pool.stop();
    assert_eq!(ask("/health/ready"), (503, "not ready\n".into()));
    assert_eq!(ask("/health"), (200, "ok\n".into()));
}

fn numbers_come_in_both_forms() {
    let run = Run::new();
    run.put("1\n2\n3");
    for result in [Ok(()), Err("no".into())] {
        run.next_begun();
        run.ends.send(result).unwrap();
    }
    assert_eq!(run.next_begun(), 3);
    let (_page, mut browser) = plain(&run);
    let plain = browser.get("/metrics");
    assert!(plain.head["content-type"].starts_with("text/plain; version=0.0.4"));
    for line in [
        "# TYPE dishrack_items_done_total counter",
        "dishrack_items_done_total 1",
        "dishrack_items_dead_total 1",
        "dishrack_items{state=\"leased\"} 1",
        "dishrack_workers{state=\"busy\"} 1",
        "dishrack_worker_restarts_total{cause=\"signal\"} 0",
        // The third one has not ended, so it counts later.
        "dishrack_item_wait_seconds_count 2",
        "dishrack_item_duration_seconds_count{outcome=\"done\"} 1",
        "dishrack_item_duration_seconds_count{outcome=\"failed\"} 1",
    ] {
        assert!(
            plain.body.lines().any(|one| one == line),
            "{line}: {}",
            plain.body
        );
    }
    assert!(!plain.body.contains("# EOF"));
    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let open = browser.ask("GET", "/metrics", accept, "");
    // Of two such headers the first one counts, which is the browser's.
    assert!(open.head["content-type"].starts_with("text/plain"));
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\n{accept}Connection: close\r\n\r\n",
        browser.address
    );
    let open = send(browser.address, &request);
    assert!(open.head["content-type"].starts_with("application/openmetrics-text"));
    assert!(
        open.body.contains("# TYPE dishrack_items_done counter\n"),
        "{}",
        open.body
    );
    assert!(open.body.ends_with("# EOF\n"));
}

/// Returns the names of metrics in a text, without the endings that the samples of one metric have.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
    let names = words.filter(|word| word.starts_with("dishrack_"));
    let without = |name: &str| {
        let endings = ["_bucket", "_count", "_sum"];
        let plain = endings.iter().find_map(|ending| name.strip_suffix(ending));
        plain.unwrap_or(name).to_owned()
    };
    names.map(without).collect()
}

fn each_number_is_in_the_document_and_the_dashboard_asks_for_no_other() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    let (_page, mut browser) = plain(&run);
    let served = metrics_in(&browser.get("/metrics").body);
    let read = |file: &str| {
        let path = format!("{}/docs/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let rows = read("metrics.md");
    let rows: String = rows
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(metrics_in(&rows), served);
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: String = queries
        .map(|query| query["expr"].as_str().unwrap())
        .collect();
    assert_eq!(metrics_in(&queries).difference(&served).next(), None);
    assert!(metrics_in(&queries).len() > 8, "{queries}");
}

fn who_says_nothing_keeps_nobody_out() {
    let run = Run::new();
    let (page, mut browser) = plain(&run);
    let connect = |_| TcpStream::connect(page.address()).unwrap();
    // Many more than there are places, one after the other as they are accepted.
    let silent: Vec<TcpStream> = (0..CLIENTS_MAX + 100).map(connect).collect();
    for _ in 0..10 {
        browser.load("/workers");
    }
    // The last of them is heard when it speaks.
    let mut last = silent.last().unwrap();
    let request = format!(
        "GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        page.address()
    );
    last.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn more_clients_than_there_is_room_for_are_told_so() {
    let run = Run::new();
    let (page, mut browser) = plain(&run);
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", page.address());
    // Each of them has its place once it is answered, and keeps it for its next request.
    let mut clients = Vec::new();
    for _ in 0..CLIENTS_MAX {
        let mut client = TcpStream::connect(page.address()).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.read_exact(&mut [0]).unwrap();
        clients.push(client);
    }
    let refused = browser.get("/");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("too many clients"), "{refused:?}");
    drop(clients);
    let began = Instant::now();
    while browser.get("/").status != 200 {
        assert!(began.elapsed() < DEADLINE, "there is room again");
    }
}

fn the_end_of_the_run_is_told() {
    let mut run = Run::with(Options::default());
    let (_page, mut browser) = plain(&run);
    browser.load("/");
    run.control = None;
    let shown = browser.get("/workers");
    assert_eq!(shown.status, 502);
    assert!(shown.body.contains("nobody serves it"), "{}", shown.body);
}

fn the_document_has_every_address() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let read = |file: &str| std::fs::read_to_string(format!("{folder}{file}")).unwrap();
    let (code, text) = (read("src/web/routes.rs"), read("docs/web.md"));
    let routes = code.split(".route(\"").skip(1);
    let routes: Vec<&str> = routes.map(|one| one.split('"').next().unwrap()).collect();
    assert!(routes.len() >= 12, "{routes:?}");
    for route in routes {
        let route = route
            .replace("{number}", "N")
            .replace("{act}", "ACT")
            .replace("{name}", "FILE");
        assert!(text.contains(&format!("`{route}`")), "{route}");
    }
}

/// Two queues, the second one with a name that a path cannot have as it is, and their page.
fn two_queues(options: impl FnOnce(WebOptions) -> WebOptions) -> (Run, Run, Web, Browser) {
    let mails = Run::named("mails", Options::default().max_attempts(1));
    let images = Run::named("images & co", Options::default().max_attempts(1));
    images.put("1\n2\n3");
    assert_eq!(images.next_begun(), 1);
    let both = options(Web::of(&mails.socket).and(&images.socket));
    let page = both.serve("127.0.0.1:0").unwrap();
    let browser = Browser::at(&page);
    (mails, images, page, browser)
}

const IMAGES: &str = "/q/images%20%26%20co";

fn several_queues_have_one_page() {
    let (_mails, images, page, mut browser) = two_queues(|options| options);
    let list = browser.load("/");
    for words in [
        "<a href=\"/q/mails/\">mails</a>",
        "<a href=\"/q/images%20%26%20co/\">images &amp; co</a>",
        "<td class=\"number\">2</td><td class=\"number\">1</td>",
    ] {
        assert!(list.contains(words), "{words}: {list}");
    }
    // Each has all the pages of a run, as its own addresses.
    for path in [
        "",
        "/",
        "/timeline",
        "/workers",
        "/items",
        "/items/1",
        "/dead",
    ] {
        let page = browser.load(&format!("{IMAGES}{path}"));
        for words in [
            "<base href=\"/q/images%20%26%20co/\">",
            "<a href=\"workers\"",
            "<a href=\"/\">All queues</a>",
            "supervisor – images &amp; co",
        ] {
            assert!(page.contains(words), "{path}: {words}: {page}");
        }
    }
    let workers = browser.load(&format!("{IMAGES}/workers"));
    assert!(workers.contains("busy") && workers.contains("\"items/1\""));
    assert!(
        browser
            .load("/q/mails/items")
            .contains("There is none here.")
    );
    for path in [
        "/workers",
        "/q/",
        "/q/others/",
        "/q/mails/none",
        "/items/1/json",
    ] {
        assert_eq!(browser.get(path).status, 404, "{path}");
    }
    let stream = open_live(&page, &mut browser);
    let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
    images.let_go(1);
    assert_eq!(images.next_begun(), 2);
    let counts = "<td class=\\\"number\\\">1</td><td class=\\\"number\\\">1</td>\
                  <td class=\\\"number\\\">1</td>";
    assert!(lines.any(|line| line.contains(counts)));
}

fn what_is_done_to_one_of_several_queues_is_done_to_no_other() {
    let (mails, images, _page, mut browser) = two_queues(|options| options);
    let token = browser.token();
    let mut post = |path: &str, fields: &str| {
        let body = format!("token={token}&back=%2Fworkers&{fields}");
        browser.ask("POST", path, "", &body)
    };
    let answer = post(&format!("{IMAGES}/act/pause"), "");
    assert_eq!(answer.head["location"], format!("{IMAGES}/workers"));
    assert!(images.queue.is_paused().unwrap() && !mails.queue.is_paused().unwrap());
    let asked = post("/q/mails/act/stop", "");
    assert!(
        asked.body.contains("action=\"/q/mails/act/stop\"")
            && asked.body.contains("href=\"/q/mails/workers\""),
        "{}",
        asked.body
    );
    post("/q/mails/act/stop", "sure=yes");
    assert!(mails.queue.is_closed() && !images.queue.is_closed());
    assert_eq!(post("/act/stop", "sure=yes").status, 404);
}

fn the_numbers_of_several_queues_have_their_names() {
    let (_mails, _images, _page, mut browser) = two_queues(|options| options);
    let numbers = browser.get("/metrics").body;
    for line in [
        "dishrack_items_accepted_total{queue=\"mails\"} 0",
        "dishrack_items_accepted_total{queue=\"images & co\"} 3",
        "dishrack_items{queue=\"images & co\",state=\"waiting\"} 2",
        "dishrack_workers{queue=\"mails\",state=\"idle\"} 1",
    ] {
        assert!(numbers.lines().any(|one| one == line), "{line}: {numbers}");
    }
    // Each is declared once, though both have it.
    let declared = "# TYPE dishrack_items_accepted_total counter";
    assert_eq!(numbers.matches(declared).count(), 1);
    let own = browser.get("/q/mails/metrics").body;
    assert!(own.contains("dishrack_items_accepted_total 0\n"), "{own}");
}

fn a_queue_that_is_gone_leaves_the_others() {
    let (mails, mut images, _page, mut browser) = two_queues(|options| options);
    mails.put("7");
    assert_eq!(mails.next_begun(), 7);
    assert_eq!(browser.get("/health/ready").status, 200);
    images.control = None;
    assert_eq!(browser.get("/health/ready").status, 503);
    // What was shown a moment ago may be shown once more.
    let began = Instant::now();
    let list = loop {
        let list = browser.load("/");
        if list.contains("nobody serves it") {
            break list;
        }
        assert!(began.elapsed() < DEADLINE, "{list}");
    };
    assert!(list.contains("<a href=\"/q/mails/\">"), "{list}");
    assert_eq!(browser.get(&format!("{IMAGES}/workers")).status, 502);
    assert!(browser.load("/q/mails/workers").contains("busy"));
    let numbers = browser.get("/metrics").body;
    assert!(numbers.contains("mails") && !numbers.contains("images"));
}

fn one_login_is_for_all_queues() {
    let token = "0123456789abcdef";
    let (_mails, _images, _page, mut browser) = two_queues(|options| options.token(token));
    let shown = browser.get("/q/mails/items");
    assert_eq!(shown.head["location"], "/login?to=%2Fq%2Fmails%2Fitems");
    assert_eq!(browser.get("/").status, 303);
    let mut log_in = |to: &str| {
        let body = format!("token={token}&to={to}");
        browser.ask("POST", "/login", "", &body).head["location"].clone()
    };
    assert_eq!(log_in("%2Fq%2Fmails%2Fitems"), "/q/mails/items");
    for to in [
        "%2F%2Fevil.example",
        "%2Fq%2Fothers%2F",
        "%2Fq%2Fmails%2F..%2F..",
    ] {
        assert_eq!(log_in(to), "/", "{to}");
    }
    browser.load(&format!("{IMAGES}/"));
}

fn two_queues_of_one_name_are_refused() {
    let (one, other) = (Run::new(), Run::new());
    let both = Web::of(&one.socket).and(&other.socket);
    let refused = both.serve("127.0.0.1:0").unwrap_err();
    assert!(refused.is_setup(), "{refused}");
    assert!(
        refused.to_string().contains("the name run already"),
        "{refused}"
    );
}
