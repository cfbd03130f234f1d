//! PURE: a script for `/bin/sh` with places for the item, no text of which ever becomes the
//! script's.
//!
//! The script stays as it was written, but for its places: each becomes the expansion of a variable
//! that holds the value, with the quotes that it needs there. A shell never reads the result of an
//! expansion again, so nothing in a value can be a command, whatever the quotes around it. Places
//! where that does not hold (arithmetic, `eval`, the script of another shell) are refused before
//! anything runs, and so are all places in a script that shells read differently.
//!
//! The values come as arguments and are put into variables by a prefix on the script's first line,
//! so that line numbers in complaints stay right. Other ways were worse: environment variables
//! would be seen by all that the script starts, and count twice against exec's limit; `$1` and so
//! on would be hidden in functions, which have their own, and moved by `set` and `shift`. The
//! script finds no arguments of its own, and `/bin/sh` as its name, as usual.
//!
//! The module does not know what the script itself does with a value: it may give it to `eval` by
//! way of a variable, a function or a file.

mod commands;
mod evaluation;
mod feeds;
mod heredoc;
mod interpreters;
mod languages;
mod launchers;
mod lexer;
mod lists;
mod quotes;
mod readers;
mod refusal;
mod runners;
mod variables;
mod words;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde::{Deserialize, Serialize};

use self::lexer::{FoundPlaceholder, Quoting, Unit, Whole};
use self::refusal::ShellRefusal;
use super::arguments::ArgumentForm;
use super::template::{Piece, Placeholder, Template, UnfitItem, Values, texts};

/// The program that runs scripts.
const SHELL: &str = "/bin/sh";

/// The beginning of the names of variables for values, if the script does not contain it.
const PREFIX: &str = "_supervisor_";

/// The refusal where the item would be appended to something other than a command.
const NO_PLACE: &str = "--shell: there is no {} in the script, so the item would go to its end, where it is no \
                        argument of a command: write {} where you want it";

/// The refusal of a place for several arguments, which would be one word.
const SEVERAL: &str = "--shell: {} stands for several arguments, and in a script each has a place of its own: write \
                       {1} and {2}, or leave out --shell, and give them to sh -c '... \"$@\" ...' sh {}";

/// A script with places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    parts: Vec<ScriptPart>,
    /// The places, each once.
    places: Vec<Placeholder>,
    /// The way in which items are taken apart.
    form: ArgumentForm,
    /// The script as it is run, the same for all items.
    text: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ScriptPart {
    Text(Vec<u8>),
    /// A place, by its number among the different ones, and the form of its value there.
    Placeholder(usize, Quotes),
}

/// The form of a value in a line that people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Quotes {
    Bare,
    Double,
    Single,
    /// It cannot be shown there.
    Unshown,
}

impl Script {
    /// Reads the words of a command as a shell gets them, separated by spaces.
    ///
    /// # Errors
    /// A place where a value would be evaluated, or any place in an unreadable script; in words.
    pub(crate) fn read(template: &Template) -> Result<Self, String> {
        if let Some(place) = template.place_of_several() {
            let sign = place.sign();
            return Err(SEVERAL.replace("{}", &String::from_utf8_lossy(&sign)));
        }
        let pieces = joined(template);
        let whole = find_places(&pieces).map_err(|(place, refusal)| complaint(place, refusal))?;
        Ok(Script::of(&pieces, &whole.found, template.form()))
    }

    /// Reads the words as [`Script::read`] does. Without a place, the item is the last argument.
    ///
    /// # Errors
    /// As [`Script::read`]; and the end of the script is no command that could get an argument.
    pub(crate) fn read_with_item(template: &Template) -> Result<Self, String> {
        if template.has_place() {
            return Script::read(template);
        }
        let template = template.clone().with_item();
        if template.place_of_several().is_some() {
            return Script::read(&template);
        }
        let pieces = joined(&template);
        match find_places(&pieces) {
            Ok(whole) if whole.ends_with_argument => {
                Ok(Script::of(&pieces, &whole.found, template.form()))
            }
            Err((place, refusal)) if refusal.is_of_content() => Err(complaint(place, refusal)),
            _ => Err(NO_PLACE.to_owned()),
        }
    }

    fn of(pieces: &[Piece], found: &[FoundPlaceholder], form: &ArgumentForm) -> Self {
        let prefix = free_prefix(pieces);
        let (mut parts, mut places) = (Vec::new(), Vec::<Placeholder>::new());
        let mut script = Vec::new();
        let mut found = found.iter();
        for piece in pieces {
            match (piece, found.as_slice().first()) {
                (Piece::Placeholder(place), Some(one)) => {
                    found.next();
                    let known = places.iter().position(|known| known == place);
                    let number = known.unwrap_or_else(|| {
                        places.push(place.clone());
                        places.len() - 1
                    });
                    parts.push(ScriptPart::Placeholder(number, Quotes::of(one)));
                    script.extend(expansion(&prefix, number, one.stand).into_bytes());
                }
                (Piece::Text(text), _) => {
                    parts.push(ScriptPart::Text(text.clone()));
                    script.extend_from_slice(text);
                }
                // All places were found.
                (Piece::Placeholder(_), None) => {}
            }
        }
        let mut text = opening(&prefix, places.len()).into_bytes();
        text.append(&mut script);
        Script {
            parts,
            places,
            form: form.clone(),
            text,
        }
    }

    /// Returns what is run for one item.
    ///
    /// # Errors
    /// As [`Template::fill`].
    pub(crate) fn words(&self, values: Values<'_>) -> Result<Vec<OsString>, UnfitItem> {
        let texts = texts(&self.places, &self.form, values)?;
        let mut words = vec![
            OsString::from(SHELL),
            "-c".into(),
            OsString::from_vec(self.text.clone()),
        ];
        if !texts.is_empty() {
            // It becomes `$0`, which would be this without arguments.
            words.push(SHELL.into());
        }
        words.extend(texts.into_iter().map(OsString::from_vec));
        Ok(words)
    }

    /// Returns a line for people that does the same, with the values in it, where that is possible.
    ///
    /// # Errors
    /// As [`Template::fill`].
    pub(crate) fn filled(&self, values: Values<'_>) -> Result<Option<Vec<u8>>, UnfitItem> {
        let texts = texts(&self.places, &self.form, values)?;
        let mut line = Vec::new();
        for part in &self.parts {
            match part {
                ScriptPart::Text(text) => line.extend_from_slice(text),
                ScriptPart::Placeholder(_, Quotes::Unshown) => return Ok(None),
                ScriptPart::Placeholder(number, quotes) => quotes.show(&texts[*number], &mut line),
            }
        }
        Ok(Some(line))
    }
}

/// Returns the words of a command as a shell gets them, separated by spaces.
fn joined(template: &Template) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for word in template.words() {
        pieces.extend((!pieces.is_empty()).then(|| Piece::Text(b" ".to_vec())));
        pieces.extend(word.iter().cloned());
    }
    pieces
}

/// Returns the facts about each place, in their order; or the first place that must be refused.
fn find_places(pieces: &[Piece]) -> Result<Whole, (&Placeholder, ShellRefusal)> {
    let mut units = Vec::new();
    let mut places = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => units.extend(text.iter().map(|byte| Unit::Byte(*byte))),
            Piece::Placeholder(place) => {
                places.push(place);
                units.push(Unit::Placeholder {
                    is_number: place.is_number(),
                });
            }
        }
    }
    let Some(first) = places.first() else {
        return Ok(Whole::default());
    };
    let whole = lexer::read(&units).map_err(|refusal| (*first, refusal))?;
    let found = &whole.found;
    if found.len() != places.len() {
        let why =
            ShellRefusal::Unreadable("not all of it was read, which is a mistake of this program");
        return Err((first, why));
    }
    for (found, place) in found.iter().zip(places) {
        if let Some(refusal) = found.refusal {
            return Err((place, refusal));
        }
    }
    Ok(whole)
}

fn complaint(place: &Placeholder, refusal: ShellRefusal) -> String {
    let sign = place.sign();
    let sign = String::from_utf8_lossy(&sign);
    format!("--shell: {sign} {}", refusal.words())
}

/// Returns a beginning of names that the script does not contain.
fn free_prefix(pieces: &[Piece]) -> String {
    let mut prefix = PREFIX.to_owned();
    let has = |prefix: &str| {
        pieces.iter().any(|piece| match piece {
            Piece::Text(text) => text
                .windows(prefix.len())
                .any(|window| window == prefix.as_bytes()),
            Piece::Placeholder(_) => false,
        })
    };
    while has(&prefix) {
        prefix.push('_');
    }
    prefix
}

/// Returns the prefix that takes the values from the arguments. It unsets the variables first,
/// because one from the environment would stay there with its new value.
fn opening(prefix: &str, count: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let names = (1..=count).map(|number| format!(" {prefix}{number}"));
    let values = (1..=count).map(|number| format!(" {prefix}{number}=${{{number}}}"));
    let (names, values): (String, String) = (names.collect(), values.collect());
    format!("unset -v{names};{values}; shift {count}; ")
}

/// Returns the text that replaces a place in the script.
fn expansion(prefix: &str, number: usize, stand: Quoting) -> String {
    let expansion = format!("${{{prefix}{}}}", number + 1);
    match stand {
        Quoting::Bare => format!("\"{expansion}\""),
        Quoting::Single => format!("'\"{expansion}\"'"),
        Quoting::Double | Quoting::Kept => expansion,
    }
}

impl Quotes {
    fn of(found: &FoundPlaceholder) -> Self {
        match found.stand {
            _ if !found.is_fillable => Quotes::Unshown,
            Quoting::Bare => Quotes::Bare,
            Quoting::Double => Quotes::Double,
            Quoting::Single => Quotes::Single,
            Quoting::Kept => Quotes::Unshown,
        }
    }

    /// Adds a value as a text that a shell reads as that value.
    fn show(self, value: &[u8], line: &mut Vec<u8>) {
        match self {
            Quotes::Bare => {
                line.push(b'\'');
                push_single(value, line);
                line.push(b'\'');
            }
            Quotes::Single => push_single(value, line),
            // An interactive shell would take a ! for history, and any shell would take a letter
            // for a part of the variable's name before it.
            Quotes::Double if value.contains(&b'!') || line.last().is_some_and(is_part) => {
                line.extend_from_slice(b"\"'");
                push_single(value, line);
                line.extend_from_slice(b"'\"");
            }
            Quotes::Double => {
                for byte in value {
                    line.extend(b"\\$`\"".contains(byte).then_some(b'\\'));
                    line.push(*byte);
                }
            }
            Quotes::Unshown => {}
        }
    }
}

/// Returns `true` if a name could continue after it.
fn is_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// Adds a text between single quotes that are already there.
fn push_single(text: &[u8], line: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            other => line.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(script: &str) -> Result<Script, String> {
        Script::read(&Template::parse(&[script.into()], false))
    }

    fn values(item: &[u8]) -> Values<'_> {
        Values {
            item,
            number: 7,
            place: 2,
            slots: (&[], 0),
        }
    }

    fn text(script: &str) -> String {
        String::from_utf8(read(script).unwrap().text).unwrap()
    }

    /// Returns the script without the prefix.
    fn body(script: &str) -> String {
        let text = text(script);
        text.split_once("; shift 1; ").unwrap().1.to_owned()
    }

    #[test]
    fn a_place_becomes_an_expansion_with_the_quotes_that_it_needs() {
        let v = "${_supervisor_1}";
        for (script, expected) in [
            ("echo {}.txt", format!("echo \"{v}\".txt")),
            ("echo \"a {}\"", format!("echo \"a {v}\"")),
            ("echo 'a {}'", format!("echo 'a '\"{v}\"''")),
            ("echo \"$(ls '{}')\"", format!("echo \"$(ls ''\"{v}\"'')\"")),
            ("echo ${x:-{}}", format!("echo ${{x:-\"{v}\"}}")),
            ("echo \"${x:-{}}\"", format!("echo \"${{x:-{v}}}\"")),
            ("echo \"${x#{}}\"", format!("echo \"${{x#\"{v}\"}}\"")),
            ("cat <<E\n'{}'\nE\n", format!("cat <<E\n'{v}'\nE\n")),
            ("ls # '{}", format!("ls # '{v}")),
        ] {
            assert_eq!(body(script), expected);
        }
    }

    #[test]
    fn each_value_is_given_once() {
        let script = read("echo {} {.} \"{}\" {#}").unwrap();
        let words = script.words(values(b"a.b")).unwrap();
        assert_eq!(words[3..], ["/bin/sh", "a.b", "a", "7"]);
        let text = text("echo {} {.} \"{}\"");
        let expected = "unset -v _supervisor_1 _supervisor_2; _supervisor_1=${1} \
                        _supervisor_2=${2}; shift 2; echo \"${_supervisor_1}\" \
                        \"${_supervisor_2}\" \"${_supervisor_1}\"";
        assert_eq!(text, expected);
    }

    #[test]
    fn names_that_the_script_has_are_not_taken() {
        assert!(text("_supervisor_1=x; echo {}").contains("echo \"${_supervisor__1}\""));
    }

    #[test]
    fn words_of_a_command_are_joined_by_spaces() {
        let words = ["echo".into(), "\"a".into(), "{}\"".into()];
        let script = Script::read(&Template::parse(&words, false)).unwrap();
        let line = script.filled(values(b"x")).unwrap().unwrap();
        assert_eq!(line, b"echo \"a x\"");
    }

    #[test]
    fn a_shown_value_cannot_be_taken_for_anything_else() {
        let shown = |script: &str, item: &[u8]| {
            let line = read(script).unwrap().filled(values(item)).unwrap();
            line.map(|line| String::from_utf8(line).unwrap())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(shown("{}>x", b"2"), some("'2'>x"));
        assert_eq!(shown("echo '{}'", b"it's"), some(r"echo 'it'\''s'"));
        assert_eq!(
            shown("echo \"{}\"", b"$a`\"\\"),
            some(r#"echo "\$a\`\"\\""#)
        );
        assert_eq!(shown("echo \"{}\"", b"a!"), some("echo \"\"'a!'\"\""));
        assert_eq!(shown("echo \"$x{}\"", b"y"), some("echo \"$x\"'y'\"\""));
        // There are no quotes in these.
        assert_eq!(shown("cat <<E\n{}\nE\n", b"x"), None);
        assert_eq!(shown("ls # {}", b"x"), None);
        assert_eq!(shown("echo `ls {}`", b"x"), None);
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}{{}}{}", "$(".repeat(10_000), ")".repeat(10_000));
        assert!(read(&deep).unwrap_err().contains("nested too deeply"));
        let deep = format!("{}{{}}{}", "${x-".repeat(10_000), "}".repeat(10_000));
        assert!(read(&deep).unwrap_err().contains("nested too deeply"));
    }

    /// Makes scripts of typical parts.
    fn script() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "{}", "{#}", "\"", "'", "`", "$(", ")", "(", "${", "}", "$((", "))", "\\", "\n",
                " ", ";;", "<<E", "<<-'E'", "\nE\n", "case ", " in ", "esac", "#", "$", "$'", "[[",
                "x=",
            ])
            .prop_map(|text: &str| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Any script is refused, or run with nothing of the item in it.
        #[test]
        fn any_script_is_refused_or_kept_apart_from_values(script in script()) {
            let template = Template::parse(&[OsString::from_vec(script)], false);
            if let Ok(script) = Script::read(&template) {
                let one = script.words(values(b"item'one")).unwrap();
                let other = script.words(values(b"item\"other")).unwrap();
                prop_assert_eq!(&one[..3], &other[..3]);
                prop_assert!(script.filled(values(b"x")).is_ok());
            }
        }
    }
}
