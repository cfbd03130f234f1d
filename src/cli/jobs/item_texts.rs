//! The texts that are made of each item besides its command: its key, its priority, its times; and the
//! properties that an item must have for them.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::cli::args::LimitArgs;
use crate::cli::input::{InputLine, ItemSource};
use crate::jobs::template::{Places, Template};
use crate::jobs::{priority_of, time_of};

/// The texts, as far as they were asked for.
#[derive(Debug, Clone)]
pub(super) struct ItemTexts {
    /// The text of which an item's key is made, and how many of one key may run.
    pub(super) key: Option<(Template, u32)>,
    /// The text that is an item's priority.
    pub(super) priority: Option<Template>,
    /// The texts that are the times before which, and until which, an item is begun.
    pub(super) times: [Option<Template>; 2],
    /// The text of which an item's unique key is made, and for how long it has that.
    pub(super) unique: Option<(Template, Option<Duration>)>,
}

impl ItemTexts {
    /// Reads them.
    ///
    /// # Errors
    /// One does not follow from the item; in words.
    pub(super) fn read(limits: &LimitArgs, places: &Places) -> Result<Self, String> {
        Ok(ItemTexts {
            key: key_of(limits, places)?,
            priority: priority_text(limits, places)?,
            times: times_of(limits, places)?,
            unique: unique_key(limits, places)?,
        })
    }

    /// Returns `true` if items may pass by others that were put before.
    pub(super) fn let_pass_by(&self) -> bool {
        let has_times = self.times.iter().any(Option::is_some);
        self.key.is_some() || self.priority.is_some() || has_times
    }

    /// Returns them, each with the name of its option.
    fn all(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        let [not_before, deadline] = &self.times;
        let all = [
            ("--key", self.key.as_ref().map(|(key, _)| key)),
            ("--unique", self.unique.as_ref().map(|(key, _)| key)),
            ("--priority", self.priority.as_ref()),
            ("--not-before", not_before.as_ref()),
            ("--deadline", deadline.as_ref()),
        ];
        all.into_iter()
            .filter_map(|(option, template)| Some((option, template?)))
    }
}

/// Reads the text of which keys are made.
fn key_of(limits: &LimitArgs, places: &Places) -> Result<Option<(Template, u32)>, String> {
    let Some(text) = &limits.key else {
        return Ok(None);
    };
    let template = Template::parse_places(std::slice::from_ref(text), places);
    let why = match (template.has_place(), template.is_of_item()) {
        (true, true) => return Ok(Some((template, limits.per_key.unwrap_or(1)))),
        (false, _) => {
            "all items would have the same key: a place such as {} or {//} makes it \
                       theirs; for fewer at a time use --workers"
        }
        (true, false) => "{#}, {%} and {slot:NAME} make no key: it must follow from the item",
    };
    Err(format!("--key {}: {why}", text.display()))
}

/// Reads the text that is an item's priority.
fn priority_text(limits: &LimitArgs, places: &Places) -> Result<Option<Template>, String> {
    limits
        .priority
        .as_ref()
        .map(|text| of_item("priority", text, places))
        .transpose()
}

/// Reads the texts that are an item's times.
fn times_of(limits: &LimitArgs, places: &Places) -> Result<[Option<Template>; 2], String> {
    let read = |option, text: &Option<OsString>| {
        let text = text.as_ref();
        text.map(|text| of_item(option, text, places)).transpose()
    };
    let not_before = read("not-before", &limits.not_before)?;
    Ok([not_before, read("deadline", &limits.deadline)?])
}

/// Reads the text of which unique keys are made.
fn unique_key(
    limits: &LimitArgs,
    places: &Places,
) -> Result<Option<(Template, Option<Duration>)>, String> {
    let Some(text) = &limits.unique else {
        return Ok(None);
    };
    let template = of_item("unique", text, places)?;
    Ok(Some((template, limits.unique_for)))
}

/// Reads a text that must follow from the item.
fn of_item(option: &str, text: &OsStr, places: &Places) -> Result<Template, String> {
    let template = Template::parse_places(&[text.to_owned()], places);
    match template.has_place() && template.is_of_item() {
        true => Ok(template),
        false => Err(format!(
            "--{option} {}: it must follow from the item, by a place such as {{}} or, with --json, \
             {{name}}",
            text.display()
        )),
    }
}

/// The properties that each item must have.
#[derive(Debug)]
pub(super) struct ItemCheck {
    /// The places that need members, where items are JSON.
    members: Option<Template>,
    priority: Option<Template>,
    times: [Option<Template>; 2],
    /// The texts that need arguments, where those may be several.
    of_arguments: Vec<(&'static str, Template)>,
}

impl ItemCheck {
    pub(super) fn new(
        template: &Template,
        texts: &ItemTexts,
        is_json: bool,
        are_lots: bool,
    ) -> Self {
        let all = texts.all().map(|(_, text)| text);
        let members = is_json.then(|| all.fold(template.clone(), |all, one| all.and(one)));
        // The last lot may have fewer.
        let of_arguments = texts.all().filter(|_| !are_lots);
        ItemCheck {
            members,
            priority: texts.priority.clone(),
            times: texts.times.clone(),
            of_arguments: of_arguments
                .filter(|(_, text)| text.has_nth())
                .map(|(option, text)| (option, text.clone()))
                .collect(),
        }
    }

    /// Returns `true` if an item may lack one of them.
    pub(super) fn is_of_each_item(&self) -> bool {
        let mut times = self.times.iter();
        let is_any_time = times.any(Option::is_some);
        self.members.is_some()
            || self.priority.is_some()
            || is_any_time
            || !self.of_arguments.is_empty()
    }

    /// Checks the item of a line.
    pub(super) fn line(&self, line: &InputLine, source: &ItemSource) -> Result<(), String> {
        let checked = self.text(&line.bytes);
        checked.map_err(|why| format!("{}: {why}", source.place(line.number)))
    }

    /// Checks the text of an item.
    pub(super) fn text(&self, text: &[u8]) -> Result<(), String> {
        if let Some(members) = &self.members {
            check_item(members, text)?;
        }
        for (option, template) in &self.of_arguments {
            if let Some(place) = template.lacking(text).map_err(|why| why.to_string())? {
                return Err(format!("it has no argument for {place} ({option})"));
            }
        }
        if let Some(template) = &self.priority {
            priority_of(text, template)?;
        }
        let mut times = self.times.iter().flatten();
        times.try_for_each(|template| time_of(text, template).map(drop))
    }
}

/// Checks that the text of an item is JSON, and has the members that are to be filled in.
fn check_item(template: &Template, text: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        // The message must not name the line within the item, which is always 1.
        Err(error) => {
            Err(format!("it is no JSON: {error}").replace(" at line 1 column ", ", byte "))
        }
        Ok(_) => template.check(text).map_err(|why| why.to_string()),
    }
}
