//! The changes that a visitor may make. Each change is one form; one that throws something away asks first. The answer
//! comes when the thing has happened, and says so.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, StatusCode};
use maud::{Markup, html};
use serde_json::json;

use super::access::Visitor;
use super::answer::{SharedSite, shown};
use super::frame::Frame;
use super::place::{ItemSearch, in_path, way_back};
use super::site::Site;
use super::words::{cause_of, printable, values};
use crate::ItemState;
use crate::control::client::NoAnswer;
use crate::observe::words::counted;

/// The greatest size of a form in bytes.
const FORM_BYTES_MAX: usize = 1024 * 1024;

/// The letters that are looked at in one request.
const PAGE: usize = 1000;

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VisitorAction {
    Pause,
    Resume,
    Scale,
    Reload,
    ReplaceWorker,
    EndWorker,
    Stop,
    StopNow,
    Cancel,
    Retry,
    RetryAll,
    Drop,
    DropAll,
}

impl VisitorAction {
    const ALL: [(&str, VisitorAction); 13] = [
        ("pause", VisitorAction::Pause),
        ("resume", VisitorAction::Resume),
        ("scale", VisitorAction::Scale),
        ("reload", VisitorAction::Reload),
        ("replace-worker", VisitorAction::ReplaceWorker),
        ("end-worker", VisitorAction::EndWorker),
        ("stop", VisitorAction::Stop),
        ("stop-now", VisitorAction::StopNow),
        ("cancel", VisitorAction::Cancel),
        ("retry", VisitorAction::Retry),
        ("retry-all", VisitorAction::RetryAll),
        ("drop", VisitorAction::Drop),
        ("drop-all", VisitorAction::DropAll),
    ];

    fn of(word: &str) -> Option<Self> {
        let found = VisitorAction::ALL
            .into_iter()
            .find(|(name, _)| *name == word);
        found.map(|(_, act)| act)
    }

    fn word(self) -> &'static str {
        let found = VisitorAction::ALL.into_iter().find(|(_, act)| *act == self);
        found.map_or("", |(word, _)| word)
    }

    /// Returns the question that comes first; `None` for what throws nothing away.
    fn question(self, what: &[String], is_stream: bool) -> Option<String> {
        let items = || match what {
            [one] => format!("item {one}"),
            all => counted(all.len() as u64, "item", "items"),
        };
        let all = match is_stream {
            true => "all supervisors of the stream",
            false => "the run",
        };
        Some(match self {
            VisitorAction::Pause
            | VisitorAction::Resume
            | VisitorAction::Scale
            | VisitorAction::Retry => return None,
            VisitorAction::Reload => "Replace all workers? Each finishes what it has begun.".into(),
            VisitorAction::ReplaceWorker => {
                format!(
                    "Replace {}? It finishes what it has begun.",
                    MeantWorker::of(what, is_stream)
                )
            }
            VisitorAction::EndWorker => format!(
                "End {}? What it is at is broken off, and counts as a failed attempt of its item. A new process \
                 takes its place.",
                MeantWorker::of(what, is_stream)
            ),
            VisitorAction::Stop => format!("Stop {all} when what is begun is finished?"),
            VisitorAction::StopNow => {
                format!("Stop {all} at once? What is begun is broken off.")
            }
            VisitorAction::Cancel => format!("Cancel {}? Nobody works on it any more.", items()),
            VisitorAction::Drop => format!("Drop {}? Nothing is left of it.", items()),
            VisitorAction::RetryAll => format!("Try {} again?", of_all(what)),
            VisitorAction::DropAll => format!("Drop {}? Nothing is left of them.", of_all(what)),
        })
    }
}

/// The worker that is meant: of the run, or of this supervisor of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MeantWorker<'a> {
    supervisor: Option<&'a str>,
    name: &'a str,
}

impl<'a> MeantWorker<'a> {
    /// Reads the value of a button.
    fn of(what: &'a [String], is_stream: bool) -> Self {
        let what = what.first().map_or("", String::as_str);
        // No machine has a slash in its name, with which that of a supervisor begins.
        match what.split_once('/').filter(|_| is_stream) {
            Some((supervisor, name)) => MeantWorker {
                supervisor: Some(supervisor),
                name,
            },
            None => MeantWorker {
                supervisor: None,
                name: what,
            },
        }
    }

    /// Returns the path of a request about it.
    fn path(self, verb: &str) -> String {
        let of = self
            .supervisor
            .map(|name| format!("/supervisors/{}", in_path(name)));
        let of = of.unwrap_or_default();
        format!("/v1{of}/workers/{}/{verb}", in_path(self.name))
    }
}

impl fmt::Display for MeantWorker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.name))?;
        match self.supervisor {
            Some(supervisor) => write!(f, " of {}", printable(supervisor)),
            None => Ok(()),
        }
    }
}

/// Says which letters are meant.
fn of_all(what: &[String]) -> String {
    match what.first().map(String::as_str).and_then(Chosen::of) {
        Some(Chosen::Like { number, .. }) => {
            format!("all dead letters that failed as item {number} did")
        }
        Some(Chosen::Text(text)) if !text.is_empty() => {
            format!("all dead letters with “{}”", printable(text))
        }
        _ => "all dead letters".into(),
    }
}

/// The letters of an act that is about many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen<'a> {
    /// Those with the last cause of this one, of which this is the print.
    Like {
        number: u64,
        print: u64,
    },
    Text(&'a str),
}

impl<'a> Chosen<'a> {
    /// Returns those that have failed as this one has.
    pub(super) fn like(number: u64, cause: &str) -> Self {
        let print = print_of(cause);
        Chosen::Like { number, print }
    }

    fn of(what: &'a str) -> Option<Self> {
        let (kind, value) = what.split_once(':')?;
        match kind {
            "like" => {
                let (number, print) = value.split_once(':')?;
                Some(Chosen::Like {
                    number: number.parse().ok()?,
                    print: u64::from_str_radix(print, 16).ok()?,
                })
            }
            "text" => Some(Chosen::Text(value)),
            _ => None,
        }
    }
}

/// Writes it as the value of a button, by which it is read again.
impl fmt::Display for Chosen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::Like { number, print } => write!(f, "like:{number}:{print:x}"),
            Chosen::Text(text) => write!(f, "text:{text}"),
        }
    }
}

/// Returns a print of a cause, which may have letters that no form brings back as they are.
fn print_of(cause: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    cause.hash(&mut hasher);
    hasher.finish()
}

/// The fields of a form, in their order.
pub(super) type FormFields = Vec<(String, String)>;

/// Reads a form.
pub(super) async fn fields(body: Body) -> Result<FormFields, Response> {
    let body = Limited::new(body, FORM_BYTES_MAX).collect().await;
    let Ok(body) = body else {
        let why = "the form is too long, or ended before its end\n";
        return Err((StatusCode::PAYLOAD_TOO_LARGE, why).into_response());
    };
    let body = body.to_bytes();
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}

/// Reads a form, which must be one of this visitor's pages.
pub(super) async fn own_fields(visitor: &Visitor, body: Body) -> Result<FormFields, Response> {
    let fields = fields(body).await?;
    let token = fields.iter().find(|(name, _)| name == "token");
    match visitor.has_form(token.map_or("", |(_, token)| token)) {
        true => Ok(fields),
        false => {
            let why =
                "this form is not one of yours, or older than this run: load the page again\n";
            Err((StatusCode::FORBIDDEN, why).into_response())
        }
    }
}

/// Carries out a change, or asks first.
pub(super) async fn act(
    State(site): SharedSite,
    Extension(visitor): Extension<Visitor>,
    Path(word): Path<String>,
    body: Body,
) -> Response {
    if !visitor.may_change() {
        let why = "this page may be looked at, and nothing be changed by it\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let Some(act) = VisitorAction::of(&word) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let fields = match own_fields(&visitor, body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let all = |wanted: &str| -> Vec<String> {
        let of_name = fields.iter().filter(|(name, _)| name == wanted);
        of_name.map(|(_, value)| value.clone()).collect()
    };
    let what = all("what");
    let back = all("back")
        .first()
        .map_or("/", |back| way_back(back))
        .to_owned();
    let is_sure = all("sure").iter().any(|sure| sure == "yes");
    let question = act.question(&what, site.run.is_stream());
    if let Some(question) = question.filter(|_| !is_sure) {
        let asked = confirmation(&site, act, &question, &what, &back, &visitor);
        let frame = Frame::default().around("Are you sure?", asked);
        return shown(StatusCode::OK, frame);
    }
    let count = all("count").first().and_then(|count| count.parse().ok());
    let done = carry_out(&site, act, &what, count).await;
    site.has_changed();
    let said = match done {
        Ok(said) => said,
        Err(why) => format!("Not done: {why}."),
    };
    match &visitor.form_token {
        Some(_) => {
            visitor.say(said);
            Redirect::to(&site.address(&back)).into_response()
        }
        None => format!("{said}\n").into_response(),
    }
}

fn confirmation(
    site: &Site,
    act: VisitorAction,
    question: &str,
    what: &[String],
    back: &str,
    visitor: &Visitor,
) -> Markup {
    html! {
        form method="post" action=(site.address(&format!("act/{}", act.word()))) {
            p { (question) }
            @for one in what { input type="hidden" name="what" value=(one); }
            @if let Some(token) = &visitor.form_token {
                input type="hidden" name="token" value=(token);
            }
            input type="hidden" name="back" value=(back);
            p.buttons {
                button.sure type="submit" name="sure" value="yes" autofocus { "Yes" }
                a.button href=(site.address(back)) { "No, go back" }
            }
        }
    }
}

/// Does it, and returns what to say then.
async fn carry_out(
    site: &Arc<Site>,
    act: VisitorAction,
    what: &[String],
    count: Option<u64>,
) -> Result<String, NoAnswer> {
    let order = async |method: Method, target: &str, body: Bytes, said: &str| {
        let answer = site.run.ask(method, target, body).await?;
        // Several supervisors may have done it, each in its way.
        let said_there = answer["said"].as_str().map(printable);
        Ok(said_there.unwrap_or_else(|| said.to_owned()))
    };
    let post =
        async |target: &str, said: &str| order(Method::POST, target, Bytes::new(), said).await;
    match act {
        VisitorAction::Pause => post("/v1/pause", "The run is paused.").await,
        VisitorAction::Resume => post("/v1/resume", "The run goes on.").await,
        VisitorAction::Reload => post("/v1/reload", "All workers are replaced.").await,
        VisitorAction::ReplaceWorker => {
            let worker = MeantWorker::of(what, site.run.is_stream());
            post(&worker.path("replace"), &format!("{worker} is replaced.")).await
        }
        VisitorAction::EndWorker => {
            let worker = MeantWorker::of(what, site.run.is_stream());
            let said = format!("{worker} has ended, and is started again.");
            post(&worker.path("end"), &said).await
        }
        VisitorAction::Stop => post("/v1/stop", "The run is stopped.").await,
        VisitorAction::StopNow => {
            let body = json!({"now": true}).to_string();
            order(Method::POST, "/v1/stop", body.into(), "The run is stopped.").await
        }
        VisitorAction::Scale => match count {
            None => Ok("Not done: that is no number of workers.".into()),
            Some(count) => {
                let (body, words) = (json!({"count": count}), counted(count, "worker", "workers"));
                let said = format!("There are {words} now.");
                order(Method::PUT, "/v1/workers", body.to_string().into(), &said).await
            }
        },
        VisitorAction::Cancel => each(site, what, "cancel", "cancelled").await,
        VisitorAction::Retry => each(site, what, "retry", "tried again").await,
        VisitorAction::Drop => each(site, what, "drop", "dropped").await,
        VisitorAction::RetryAll => {
            each(site, &matching(site, what).await?, "retry", "tried again").await
        }
        VisitorAction::DropAll => each(site, &matching(site, what).await?, "drop", "dropped").await,
    }
}

/// Does the same to each of these items. One that another has come first with is passed over.
async fn each(site: &Site, numbers: &[String], verb: &str, done: &str) -> Result<String, NoAnswer> {
    let numbers: Vec<u64> = numbers
        .iter()
        .filter_map(|number| number.parse().ok())
        .collect();
    let (mut count, mut refused) = (0_u64, None);
    for number in &numbers {
        let target = format!("/v1/items/{number}/{verb}");
        match site.run.ask(Method::POST, &target, Bytes::new()).await {
            Ok(_) => count += 1,
            Err(why @ NoAnswer::Refused { .. }) => refused = Some(why),
            Err(why) => return Err(why),
        }
    }
    let are = if count == 1 { "is" } else { "are" };
    let said = match &numbers[..] {
        [] => return Ok("Nothing was chosen.".into()),
        [number] if count == 1 => format!("Item {number} is {done}."),
        _ => format!("{} {are} {done}.", counted(count, "item", "items")),
    };
    Ok(match refused {
        None => said,
        Some(why) => format!("{said} The last one that is not: {why}."),
    })
}

/// Returns the numbers of the dead letters that are meant.
async fn matching(site: &Site, what: &[String]) -> Result<Vec<String>, NoAnswer> {
    let Some(chosen) = what.first().map(String::as_str).and_then(Chosen::of) else {
        return Ok(Vec::new());
    };
    let (text, wanted) = match chosen {
        Chosen::Text(text) => (text, None),
        Chosen::Like { print, .. } => ("", Some(print)),
    };
    let mut next = Some(ItemSearch {
        state: Some(ItemState::Dead),
        text: text.to_owned(),
        ..ItemSearch::default()
    });
    let mut numbers = Vec::new();
    while let Some(search) = next {
        let target = format!("{}&limit={PAGE}", search.address("/v1/items"));
        let found = site.run.get(&target).await?;
        let items = values(&found["items"]).iter();
        let meant =
            items.filter(|item| wanted.is_none_or(|print| print_of(cause_of(item)) == print));
        numbers.extend(meant.map(|item| item["number"].to_string()));
        next = search.next(&found["after"]);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_throws_something_away_asks_first() {
        let asks = |word| {
            let act = VisitorAction::of(word).unwrap();
            act.question(&["7".into()], false)
        };
        for word in [
            "stop",
            "stop-now",
            "cancel",
            "drop",
            "drop-all",
            "retry-all",
            "reload",
            "replace-worker",
            "end-worker",
        ] {
            assert!(asks(word).is_some(), "{word}");
        }
        for word in ["pause", "resume", "scale", "retry"] {
            assert_eq!(asks(word), None);
        }
        assert!(asks("cancel").unwrap().contains("item 7"));
        assert_eq!(VisitorAction::of("format-the-disk"), None);
    }

    #[test]
    fn a_worker_is_named_in_a_path_whatever_its_name() {
        let path = |what: &str, is_stream: bool| {
            let what = [what.to_owned()];
            let worker = MeantWorker::of(&what, is_stream);
            (worker.path("end"), worker.to_string())
        };
        let said = |path: &str, words: &str| (path.to_owned(), words.to_owned());
        assert_eq!(
            path("worker-3", false),
            said("/v1/workers/worker-3/end", "worker-3")
        );
        assert_eq!(
            path("a b/+?", false),
            said("/v1/workers/a%20b%2F%2B%3F/end", "a b/+?")
        );
        assert_eq!(
            path("host-7-ab/a b/1", true),
            said(
                "/v1/supervisors/host-7-ab/workers/a%20b%2F1/end",
                "a b/1 of host-7-ab"
            )
        );
        assert_eq!(path("odd", true).0, "/v1/workers/odd/end");
    }

    #[test]
    fn letters_are_meant_by_one_of_them_or_a_text() {
        let like = Chosen::like(7, "it\r\nfailed\0");
        for chosen in [like, Chosen::Text("a: b"), Chosen::Text("")] {
            assert_eq!(Chosen::of(&chosen.to_string()), Some(chosen));
        }
        assert_ne!(like, Chosen::like(7, "it\nfailed"));
        for word in ["7", "like:x", "like:7", "like:7:xyz"] {
            assert_eq!(Chosen::of(word), None, "{word}");
        }
    }
}
