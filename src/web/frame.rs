//! The frame of each page: its head, the links to the others, and the parts that stay true while
//! somebody looks.

use std::hash::{DefaultHasher, Hash, Hasher};

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::access::Visitor;
use super::words::printable;

/// A part of a page, which is sent again when it has changed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: &'static str,
    pub(super) markup: String,
    /// The markup as JSON, which is the same for all to whom it is sent.
    pub(super) sent: String,
    /// A print of it.
    pub(super) print: u64,
}

impl Part {
    fn new(id: &'static str, markup: Markup) -> Self {
        let markup = markup.into_string();
        let mut hasher = DefaultHasher::new();
        markup.hash(&mut hasher);
        Part {
            id,
            sent: Value::from(&*markup).to_string(),
            print: hasher.finish(),
            markup,
        }
    }
}

/// A page, without its frame.
#[derive(Debug)]
pub(super) struct WebPage {
    pub(super) title: String,
    /// The part that does not change while it is looked at: forms to fill in.
    pub(super) head: Markup,
    pub(super) parts: Vec<Part>,
}

impl WebPage {
    pub(super) fn new(title: impl Into<String>) -> Self {
        WebPage {
            title: title.into(),
            head: html! {},
            parts: Vec::new(),
        }
    }

    pub(super) fn head(mut self, head: Markup) -> Self {
        self.head = head;
        self
    }

    pub(super) fn part(mut self, id: &'static str, markup: Markup) -> Self {
        self.parts.push(Part::new(id, markup));
        self
    }
}

/// The links to the pages of a queue, within its addresses.
const LINKS: [(&str, &str); 5] = [
    ("./", "Overview"),
    ("timeline", "Timeline"),
    ("workers", "Workers"),
    ("items", "Items"),
    ("dead", "Dead letters"),
];

/// The form to which all buttons belong, with the token that shows that it is one of ours.
pub(super) const FORM: &str = "act";

/// The surroundings of a page. Without a base it has no links, and without a visitor nothing to press.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The address of the first page of its queue.
    pub(super) base: Option<&'a str>,
    /// The name of its queue, if there are others.
    pub(super) queue: Option<&'a str>,
    pub(super) visitor: Option<&'a Visitor>,
    /// The address of the page, within those of its queue.
    pub(super) path: &'a str,
    pub(super) has_login: bool,
    /// The result of the last action.
    pub(super) said: Option<&'a str>,
}

impl Frame<'_> {
    /// Puts it around a page.
    pub(super) fn of(&self, page: &WebPage) -> Markup {
        let body = html! {
            (page.head)
            @for part in &page.parts {
                section id=(part.id) data-live="" { (PreEscaped(&part.markup)) }
            }
        };
        self.around(&page.title, body)
    }

    /// Puts it around something that is asked, or told.
    pub(super) fn around(&self, title: &str, body: Markup) -> Markup {
        let main = format!("./{}#main", self.path.trim_start_matches('/'));
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(base) = self.base { base href=(base); }
                    title { (title) @if let Some(name) = self.queue { " – " (printable(name)) } " – supervisor" }
                    link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/assets/page.css";
                    script src="/assets/page.js" defer {}
                }
                body {
                    a.skip href=(if self.base.is_some() { &main } else { "#main" }) { "Skip to the content" }
                    (self.header())
                    main id="main" tabindex="-1" {
                        h1 { (title) }
                        p id="said" role="status" { @if let Some(said) = self.said { (said) } }
                        p id="lost" role="alert" hidden { "There is no answer any more; it is tried again." }
                        (body)
                    }
                    @if let Some(visitor) = self.visitor {
                        form id=(FORM) method="post" {
                            @if let Some(token) = &visitor.form_token {
                                input type="hidden" name="token" value=(token);
                            }
                            input type="hidden" name="back" value=(self.path);
                        }
                    }
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header {
                span.brand { "supervisor" @if let Some(name) = self.queue { " – " (printable(name)) } }
                @if let Some(visitor) = self.visitor {
                    @if self.base.is_some() { (self.links()) }
                    div.tools {
                        button type="button" id="live-switch" hidden aria-pressed="true" { "Live" }
                        @if !visitor.may_change() { span.badge { "read-only" } }
                        @if self.has_login { (button("Log out", "/logout")) }
                    }
                }
            }
        }
    }

    fn links(&self) -> Markup {
        let plain = self
            .path
            .split_once('?')
            .map_or(self.path, |(plain, _)| plain);
        let plain = plain.trim_start_matches('/');
        let is_here = |link: &str| match link {
            "./" => plain.is_empty(),
            _ => plain.starts_with(link),
        };
        html! {
            nav aria-label="Pages" {
                @if self.queue.is_some() { a href="/" { "All queues" } }
                @for (link, name) in LINKS {
                    a href=(link) aria-current=[is_here(link).then_some("page")] { (name) }
                }
            }
        }
    }
}

/// A button that actions at once, or asks first where the path says so.
pub(super) fn button(words: &str, path: &str) -> Markup {
    html! { button type="submit" form=(FORM) formaction=(path) { (words) } }
}

/// The same, about one of several things: `about` tells it from the others.
pub(super) fn button_for(words: &str, path: &str, what: &str, about: &str) -> Markup {
    html! {
        button type="submit" form=(FORM) formaction=(path) name="what" value=(what)
            aria-label={ (words) " (" (about) ")" } {
            (words)
        }
    }
}

/// The form by which something is looked for: a text, and what `more` asks.
pub(super) fn search_form(path: &str, text: &str, more: Markup) -> Markup {
    html! {
        form.search method="get" action=(path) role="search" {
            (more)
            label for="text" { "Text" }
            input id="text" name="text" type="search" value=(text);
            button type="submit" { "Show" }
        }
    }
}

/// A table that can be scrolled where the screen is narrow.
pub(super) fn table(label: &str, columns: &[&str], rows: Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table {
                caption { (label) }
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}
