//! Rules for options that need or exclude others. clap's groups say which options belong together;
//! this file says the reason, in one line each. It does not check single values.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Id};

use super::address::KINDS;
use super::args::groups::{COMMAND, HANDED, PLACE, URL};
use super::args::{serve, stream};
use super::kitchen;

/// An argument or a group, when it is out of place, and the reason, with `{shared}` for the option
/// by which the queue is shared, and `{url}` for all those that share it.
type Rule = (&'static str, fn(&Typed<'_>) -> bool, &'static str);

const NEEDS_URL: &str = "needs {url}";

const NEEDS_COMMAND: &str = "needs a COMMAND, after --";

const BY_NUMBER: &str = "it goes by the numbers of items, which are others' too with {shared}";

const BY_PLACE: &str = "it goes by the places of items, which --unique shifts: a --journal knows items by what they say";

const OTHER_LOTS: &str = "what goes with what follows from the workers and the room that there are, so another run would not know \
                          it again: use -n N";

const OF_EACH_COMMAND: &str =
    "without COMMAND each item is a command of its own, which has it from `supervisor add`";

const BY_TEXT: &str = "a --journal goes on by itself: use one of the two";

const ONE_HOLDER: &str = "with {shared} an item has one holder at a time, and so no copies";

const RUNS_ONCE: &str =
    "an item that has a slot, a key, a priority or a time runs once: copies are not for it";

const STREAM_ORDER: &str = "with {shared} items are handed out in the order of the stream";

// A group without a name of its own has the name of its struct.
const RULES: &[Rule] = &[
    ("JobArgs", |typed| !typed.has(COMMAND), NEEDS_COMMAND),
    ("ArgumentArgs", |typed| !typed.has(COMMAND), NEEDS_COMMAND),
    (
        kitchen::GROUP,
        |typed| typed.has(COMMAND),
        kitchen::NOT_FOR_A_COMMAND,
    ),
    (
        HANDED,
        |typed| typed.has("worker"),
        "a --worker gets its items as requests",
    ),
    (PLACE, |typed| typed.lacks_url(), NEEDS_URL),
    ("PromiseArgs", |typed| typed.lacks_url(), NEEDS_URL),
    (
        "journal",
        |typed| typed.is_shared(),
        "with {shared} the items are kept there: use one of the two",
    ),
    (
        "direct",
        |typed| typed.is_shared(),
        "with {shared} nobody knows who is idle elsewhere",
    ),
    (
        "delay",
        |typed| typed.is_shared(),
        "with {shared} nobody knows when others begin items",
    ),
    (
        "keep_order",
        |typed| typed.is_shared(),
        "with {shared} others do some of the items, so there is no order to be kept",
    ),
    ("resume", |typed| typed.is_shared(), BY_NUMBER),
    ("resume_failed", |typed| typed.is_shared(), BY_NUMBER),
    ("resume", |typed| typed.has("journal"), BY_TEXT),
    ("resume_failed", |typed| typed.has("journal"), BY_TEXT),
    ("resume", |typed| typed.has("unique"), BY_PLACE),
    ("resume_failed", |typed| typed.has("unique"), BY_PLACE),
    ("context", |typed| typed.is_gone_on_with(), OTHER_LOTS),
    ("many", |typed| typed.is_gone_on_with(), OTHER_LOTS),
    ("xargs", |typed| typed.is_gone_on_with(), OTHER_LOTS),
    ("copies", |typed| typed.is_shared(), ONE_HOLDER),
    ("hedge_after", |typed| typed.is_shared(), ONE_HOLDER),
    ("slot", |typed| !typed.runs_commands(), NEEDS_COMMAND),
    ("key", |typed| !typed.runs_commands(), NEEDS_COMMAND),
    ("priority", |typed| !typed.runs_commands(), NEEDS_COMMAND),
    ("not_before", |typed| !typed.runs_commands(), NEEDS_COMMAND),
    ("deadline", |typed| !typed.runs_commands(), NEEDS_COMMAND),
    ("unique", |typed| !typed.runs_commands(), NEEDS_COMMAND),
    (
        "unique",
        |typed| typed.is_shared(),
        "with {shared} nobody knows which items others put",
    ),
    (
        "priority",
        |typed| typed.serves_own_commands(),
        OF_EACH_COMMAND,
    ),
    (
        "not_before",
        |typed| typed.serves_own_commands(),
        OF_EACH_COMMAND,
    ),
    (
        "deadline",
        |typed| typed.serves_own_commands(),
        OF_EACH_COMMAND,
    ),
    ("not_before", |typed| typed.is_shared(), STREAM_ORDER),
    ("deadline", |typed| typed.is_shared(), STREAM_ORDER),
    (
        "key",
        |typed| typed.is_shared(),
        "with {shared} nobody knows which keys run elsewhere",
    ),
    ("priority", |typed| typed.is_shared(), STREAM_ORDER),
    ("copies", |typed| typed.runs_once(), RUNS_ONCE),
    ("hedge_after", |typed| typed.runs_once(), RUNS_ONCE),
    (
        "line_buffer",
        |typed| typed.has("copies") || typed.has("hedge_after"),
        "with copies it is not known before the end whose output counts",
    ),
    (
        "input",
        |typed| typed.has("items"),
        "the items follow ::: already",
    ),
    (
        kitchen::COUNT,
        |typed| typed.has("items"),
        "the items follow ::: already",
    ),
];

/// The arguments that were typed for a command or a subcommand.
struct Typed<'a> {
    command: &'a Command,
    matches: &'a ArgMatches,
    /// True if all items are those of a shared queue.
    is_work: bool,
    /// True if the queue stays.
    is_serve: bool,
    /// True if a command is added to one.
    is_add: bool,
}

impl Typed<'_> {
    /// Returns `true` if an argument, or one of a group, was typed.
    fn has(&self, id: &str) -> bool {
        matches!(self.matches.try_contains_id(id), Ok(true))
            && self.matches.value_source(id) == Some(ValueSource::CommandLine)
    }

    fn lacks_url(&self) -> bool {
        !self.has(URL) && stream::variable().is_none()
    }

    fn runs_commands(&self) -> bool {
        self.has(COMMAND) || self.is_serve || self.is_add
    }

    /// Returns `true` if another run knows what this one has done.
    fn is_gone_on_with(&self) -> bool {
        let by = ["journal", "resume", "resume_failed"];
        by.iter().any(|id| self.has(id))
    }

    fn serves_own_commands(&self) -> bool {
        self.is_serve && !self.has(COMMAND) && !self.has("worker")
    }

    /// Returns `true` if items have what each of them has once.
    fn runs_once(&self) -> bool {
        let once = ["slot", "key", "priority", "not_before", "deadline"];
        once.iter().any(|id| self.has(id))
    }

    fn is_shared(&self) -> bool {
        self.is_work || self.has(PLACE) || self.has("PromiseArgs")
    }

    /// Returns the option by which the queue is shared; if a variable has its address, that of its
    /// kind of server.
    fn sharing_option(&self) -> String {
        let by_variable = || stream::variable().map_or(KINDS[0], |(kind, _)| kind);
        let named = || format!("--{}", by_variable().option);
        self.option(URL).unwrap_or_else(named)
    }

    /// Returns the first typed option of the argument or group.
    fn option(&self, id: &str) -> Option<String> {
        if !self.has(id) {
            return None;
        }
        let of_group = self.matches.try_get_many::<Id>(id).ok().flatten();
        let id = of_group
            .and_then(|mut ids| ids.next())
            .map_or(id, Id::as_str);
        let arg = self
            .command
            .get_arguments()
            .find(|arg| arg.get_id() == id)?;
        arg.get_long().map(|long| format!("--{long}"))
    }
}

/// Checks whether the options go together.
///
/// # Errors
/// One option does not; the error gives the reason.
pub(super) fn check(command: &Command, matches: &ArgMatches) -> Result<(), String> {
    let mut typed = Typed {
        command,
        matches,
        is_work: false,
        is_serve: false,
        is_add: false,
    };
    if let Some((name, matches)) = matches.subcommand() {
        let Some(command) = command.find_subcommand(name) else {
            return Ok(());
        };
        typed = Typed {
            command,
            matches,
            is_work: name == "work",
            is_serve: name == "serve",
            is_add: name == "add",
        };
    }
    if typed.is_serve
        && let Some(id) = serve::wrong_option(|id| typed.has(id))
    {
        let option = typed.option(id).unwrap_or_else(|| format!("-{id}"));
        return Err(format!("{option}: it is not for a queue that stays"));
    }
    let broken = RULES.iter().find_map(|(id, is_out_of_place, why)| {
        let option = typed.option(id)?;
        is_out_of_place(&typed).then(|| {
            let why = why.replace("{shared}", &typed.sharing_option());
            let why = why.replace("{url}", &stream::needed());
            format!("{option}: {why}")
        })
    });
    broken.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::RULES;
    use crate::cli::command_line::CommandLine;

    #[test]
    fn each_rule_is_about_an_argument_or_a_group_that_there_is() {
        let whole = CommandLine::whole();
        let all = || std::iter::once(&whole).chain(whole.get_subcommands());
        for (id, ..) in RULES {
            let is_one = all().any(|command| {
                command.get_arguments().any(|arg| arg.get_id() == id)
                    || command.get_groups().any(|group| group.get_id() == id)
            });
            assert!(is_one, "{id}");
        }
    }
}
