//! The output of an item: its beginning on the page, all of it as plain text, and what comes while it
//! runs. It is never markup.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use maud::{Markup, html};
use serde_json::Value;

use super::answer::{SharedSite, event, events};
use super::site::Site;
use super::words::{text, visible};
use crate::control::client::NoAnswer;

/// The bytes of an output that a page shows.
const SHOWN_MAX: usize = 64 * 1024;

/// The unsent pieces of an output that is sent whole.
const PIECES_MAX: usize = 4;

/// The beginning of an output.
#[derive(Debug)]
pub(super) struct OutputHead {
    text: Vec<u8>,
    is_all: bool,
}

/// The pieces of an output, as the control API tells them: a JSON object in each line.
struct Pieces {
    body: Body,
    read: Vec<u8>,
    looked: usize,
}

impl Pieces {
    async fn of(site: &Site, number: u64, follow: bool) -> Result<Self, NoAnswer> {
        let target = format!("/v1/items/{number}/output?follow={follow}");
        Ok(Pieces {
            body: site.run.pieces(&target).await?,
            read: Vec::new(),
            looked: 0,
        })
    }

    /// Returns the next line; `None` at the end, or where the connection is lost.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let end = self.read[self.looked..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let end = self.looked + end;
                let line = serde_json::from_slice(&self.read[..end]).ok();
                self.read.drain(..=end);
                self.looked = 0;
                return line;
            }
            self.looked = self.read.len();
            let frame = self.body.frame().await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.read.extend_from_slice(&bytes);
            }
        }
    }
}

/// Returns the bytes of a piece; none of a line that says something else.
fn bytes_of(piece: &Value) -> Vec<u8> {
    if let Some(text) = piece["text"].as_str() {
        return text.as_bytes().to_vec();
    }
    let coded = text(&piece["base64"]);
    BASE64_STANDARD.decode(coded).unwrap_or_default()
}

/// Reads what there is of an output now, up to what a page shows.
pub(super) async fn beginning(site: &Site, number: u64) -> Result<OutputHead, NoAnswer> {
    let mut pieces = Pieces::of(site, number, false).await?;
    let mut text = Vec::new();
    while let Some(piece) = pieces.next().await {
        text.extend(bytes_of(&piece));
        if text.len() > SHOWN_MAX {
            text.truncate(SHOWN_MAX);
            let is_all = false;
            return Ok(OutputHead { text, is_all });
        }
    }
    let is_all = true;
    Ok(OutputHead { text, is_all })
}

/// Shows it.
pub(super) fn markup(number: u64, output: Result<OutputHead, NoAnswer>) -> Markup {
    let whole = format!("items/{number}/output");
    html! {
        h2 { "Output" }
        @match output {
            Err(why) => { p { (why) } },
            Ok(OutputHead { text, is_all }) => {
                @if text.is_empty() {
                    p { "Nothing was written." }
                } @else {
                    pre.output tabindex="0" role="region" aria-label="output" {
                        (visible(&String::from_utf8_lossy(&text)))
                    }
                    @if is_all {
                        p { a href=(whole) { "As plain text" } }
                    } @else {
                        p { "This is the beginning: " a href=(whole) { "all of it" } }
                    }
                }
            },
        }
    }
}

/// Shows what an item that runs has written, which the page's script follows. The markup does not change
/// as long as it runs, so that the script has it to itself.
pub(super) fn followed(number: u64) -> Markup {
    html! {
        h2 { "Output" }
        p { "It runs: " a href=(format!("items/{number}/output")) { "what it has written so far, as plain text" } }
        pre.output tabindex="0" role="log" aria-label="output" aria-live="off"
            data-follow=(format!("items/{number}/follow")) {}
    }
}

/// Answers with all of an output, as plain text.
pub(super) async fn whole(State(site): SharedSite, Path(number): Path<u64>) -> Response {
    let pieces = match Pieces::of(&site, number, false).await {
        Ok(pieces) => pieces,
        Err(why) => return (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
    };
    let (sender, body) = Channel::<Bytes>::new(PIECES_MAX);
    tokio::spawn(send_whole(pieces, sender));
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn send_whole(mut pieces: Pieces, mut sender: Sender<Bytes>) {
    while let Some(piece) = pieces.next().await {
        let bytes = bytes_of(&piece);
        if !bytes.is_empty() && sender.send_data(bytes.into()).await.is_err() {
            return;
        }
    }
}

/// Sends what is written from now on, and that the item has ended.
pub(super) async fn follow(State(site): SharedSite, Path(number): Path<u64>) -> Response {
    let ends = site.door.ends.clone();
    events(ends, async move |sender| {
        follow_to_end(site, number, sender).await
    })
}

async fn follow_to_end(site: Arc<Site>, number: u64, mut sender: Sender<Bytes>) {
    let Ok(mut pieces) = Pieces::of(&site, number, true).await else {
        return;
    };
    while let Some(piece) = pieces.next().await {
        let written = String::from_utf8_lossy(&bytes_of(&piece)).into_owned();
        let next = match (written.is_empty(), piece.get("end")) {
            (_, Some(end)) => event("end", end),
            (true, None) => event("attempt", &piece),
            (false, None) => event("text", &visible(&written).into()),
        };
        if sender.send_data(next).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_piece_is_its_bytes() {
        assert_eq!(
            bytes_of(&json!({"stream": "stdout", "text": "a\n"})),
            b"a\n"
        );
        assert_eq!(
            bytes_of(&json!({"stream": "stderr", "base64": "/w=="})),
            [0xff]
        );
        assert!(bytes_of(&json!({"attempt": 1, "pid": 7})).is_empty());
    }

    #[test]
    fn letters_that_do_something_are_seen() {
        assert_eq!(visible("a\tb\n"), "a\tb\n");
        assert_eq!(
            visible("\u{1b}[2J\u{7f}\u{202e}"),
            "\u{241b}[2J\u{2421}\u{fffd}"
        );
    }
}
