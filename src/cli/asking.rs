//! Asks a run over its control socket, or a stream, for the subcommands: finds the one that is meant, and
//! turns what goes wrong into the command's own errors.

use std::io::Write;
use std::time::Instant;

use hyper::Method;
use serde_json::Value;

use super::address::Address;
use super::args::{AtArgs, Choice, Format, TargetArgs};
use super::exit_codes::{RunError, written};
use super::layout::{Anything, ITEM_TYPE};
use super::screen::{StandardStream, complain};
pub(super) use crate::control::answers::{number, text, values};
use crate::control::client::{Client, NoAnswer};
use crate::control::runs;
use crate::control::stream::StreamClient;
use crate::store::stream::Opening;
use crate::{Capacity, ItemId, ItemState, jobs};

/// The run or the stream that is asked.
#[derive(Debug)]
pub(super) enum Asked {
    Run(Box<Client>),
    Stream(Box<StreamClient>),
}

/// The items of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedItems {
    pub(super) state: Option<ItemState>,
    /// Only those with greater numbers.
    pub(super) after: u64,
    /// No more than so many.
    pub(super) limit: u64,
}

/// The number of items that are asked for at a time.
const PAGE: u64 = 1000;

impl Asked {
    /// Finds what is meant, for this subcommand.
    pub(super) fn of(target: &TargetArgs, subcommand: &str) -> Result<Self, RunError> {
        let choice = target.target(subcommand).map_err(RunError::Usage)?;
        let asked = Asked::chosen(&choice)?;
        asked.tell_of_absence();
        Ok(asked)
    }

    /// Finds what is meant, for a subcommand that may be about one supervisor of a stream.
    pub(super) fn of_one(target: &TargetArgs, subcommand: &str) -> Result<Self, RunError> {
        let (choice, one) = target.target_or_one(subcommand).map_err(RunError::Usage)?;
        let asked = match (Asked::chosen(&choice)?, one) {
            (Asked::Stream(client), Some(one)) => Asked::Stream(Box::new(client.about_one(&one)?)),
            (asked, _) => asked,
        };
        asked.tell_of_absence();
        Ok(asked)
    }

    /// Says on stderr when a stream cannot be reached for a while.
    fn tell_of_absence(&self) {
        if let Asked::Stream(client) = self {
            client.tell_of_absence(|words| complain(&words));
        }
    }

    /// Asks this run or stream.
    pub(super) fn chosen(choice: &Choice) -> Result<Self, RunError> {
        match choice {
            Choice::Run(at) => Ok(Asked::Run(Box::new(connect(at)?))),
            Choice::Stream(place) => Ok(Asked::Stream(Box::new(stream(place)?))),
        }
    }

    /// Tells of each of these items, by a line of a list.
    pub(super) fn each_item(
        &mut self,
        wanted: WantedItems,
        mut tell: impl FnMut(&Value) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        match self {
            Asked::Run(client) => each_of_run(client, wanted, &mut tell),
            Asked::Stream(client) => each_of_stream(client, wanted, &mut tell),
        }
    }

    /// Returns all that is known of an item.
    pub(super) fn item(&mut self, number: u64) -> Result<Value, RunError> {
        Ok(match self {
            Asked::Run(client) => {
                client.ask(Method::GET, &format!("/v1/items/{number}"), None, "")?
            }
            Asked::Stream(client) => client.item(ItemId(number))?,
        })
    }

    /// Waits for the end of an item, until then at most, and returns all that is known of it.
    pub(super) fn wait_item(
        &mut self,
        number: u64,
        end: Option<Instant>,
    ) -> Result<Value, RunError> {
        Ok(match self {
            Asked::Run(client) => {
                let left = left_of(end).map_or(String::new(), |left| format!("&timeout_ms={left}"));
                let target = format!("/v1/items/{number}?wait=true{left}");
                client.ask(Method::GET, &target, None, "")?
            }
            Asked::Stream(client) => client.wait_item(ItemId(number), end)?,
        })
    }
}

/// Opens a stream that is there, without becoming one of its supervisors.
pub(super) fn stream(place: &Address) -> Result<StreamClient, RunError> {
    let place = place.clone().opening(Opening::Existing);
    let stream = place.open(Box::new(Anything), Capacity::Unbounded)?;
    let status = stream.status().map_err(RunError::usage)?;
    let is_text = status.item_type == ITEM_TYPE;
    // Items of the command line are text; others have only a number.
    let name = move |number: ItemId, bytes: &[u8]| match is_text {
        true => jobs::name_of_text(bytes),
        false => format!("item-{number}"),
    };
    Ok(StreamClient::new(stream, name)?)
}

fn each_of_run(
    client: &mut Client,
    wanted: WantedItems,
    tell: &mut dyn FnMut(&Value) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let state = wanted
        .state
        .map_or(String::new(), |state| format!("&state={state}"));
    let (mut after, mut left) = (wanted.after, wanted.limit);
    while left > 0 {
        let limit = left.min(PAGE);
        let target = format!("/v1/items?limit={limit}&after={after}{state}");
        let answer = client.ask(Method::GET, &target, None, "")?;
        for item in values(&answer["items"]) {
            tell(item)?;
            left -= 1;
        }
        match answer["after"].as_u64() {
            Some(last) => after = last,
            None => break,
        }
    }
    Ok(())
}

fn each_of_stream(
    client: &StreamClient,
    wanted: WantedItems,
    tell: &mut dyn FnMut(&Value) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let mut place = client.list(wanted.state)?;
    let mut left = wanted.limit;
    while left > 0 && !place.is_over() {
        let page = client.next_page(&mut place, wanted.state, "")?;
        // What has no number yet is newer than all others.
        let is_after = |item: &&Value| item["number"].as_u64().is_none_or(|n| n > wanted.after);
        for item in page.iter().map(|(_, item)| item).filter(is_after) {
            if left == 0 {
                break;
            }
            tell(item)?;
            left -= 1;
        }
    }
    Ok(())
}

/// Returns the milliseconds that are left.
pub(super) fn left_of(end: Option<Instant>) -> Option<u128> {
    end.map(|end| end.saturating_duration_since(Instant::now()).as_millis())
}

/// Connects to the run that is meant.
pub(super) fn connect(at: &AtArgs) -> Result<Client, RunError> {
    let path = runs::find(at.at.as_deref()).map_err(RunError::Usage)?;
    Ok(Client::connect(&path)?)
}

impl From<NoAnswer> for RunError {
    fn from(unanswered: NoAnswer) -> Self {
        let why = unanswered.to_string();
        match unanswered {
            _ if unanswered.is("no_workers_left") => RunError::NoWorkersLeft(why),
            _ if unanswered.is("internal") => RunError::Internal(why),
            _ => RunError::Usage(why),
        }
    }
}

/// Prints an answer: as it is, or in these words.
pub(super) fn print(
    format: Format,
    answer: &Value,
    words: impl FnOnce(&Value) -> String,
) -> Result<(), RunError> {
    let text = match format {
        Format::Json => format!("{answer}\n"),
        Format::Text => words(answer),
    };
    written(StandardStream::Out.write_all(text.as_bytes()))
}

/// Returns a time of an answer, in microseconds, for people.
pub(super) fn time(value: &Value) -> String {
    let seconds = number(value) / 1_000_000;
    match seconds {
        0..100 => format!("{:.1} s", number(value) as f64 / 1e6),
        100..6000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
