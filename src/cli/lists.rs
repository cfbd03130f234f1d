//! The lists of items on the command line, after `:::` and its kin: what is typed, and the files that
//! it names. What several lists make together is for `combinations`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::combinations::{ListJoining, Lists};
use super::input::{self, ItemSource};

/// A sign in front of items, or of files with items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ListSign {
    is_of_files: bool,
    is_linked: bool,
}

impl ListSign {
    fn of(word: &OsString) -> Option<Self> {
        let (is_of_files, is_linked) = match word.as_bytes() {
            b":::" => (false, false),
            b":::+" => (false, true),
            b"::::" => (true, false),
            b"::::+" => (true, true),
            _ => return None,
        };
        Some(ListSign {
            is_of_files,
            is_linked,
        })
    }
}

/// Returns the words of a COMMAND, without the lists behind it.
pub(super) fn command_of(words: &[OsString]) -> &[OsString] {
    let end = words.iter().position(|word| ListSign::of(word).is_some());
    &words[..end.unwrap_or(words.len())]
}

/// Returns `true` if lists follow the COMMAND.
pub(super) fn are_given(words: &[OsString]) -> bool {
    command_of(words).len() < words.len()
}

/// A list as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TypedList {
    items: TypedItems,
    is_linked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TypedItems {
    Words(Vec<Vec<u8>>),
    File(PathBuf),
}

/// Returns the lists that follow the COMMAND.
fn typed(words: &[OsString]) -> Result<Vec<TypedList>, String> {
    let mut rest = &words[command_of(words).len()..];
    let mut lists = Vec::new();
    while let Some((sign, after)) = rest.split_first() {
        let shown = sign.display();
        // The first word is a sign, and so is the one that ends each list.
        let Some(ListSign {
            is_of_files,
            is_linked,
        }) = ListSign::of(sign)
        else {
            break;
        };
        if is_linked && lists.is_empty() {
            return Err(format!(
                "{shown}: there is no list before it that it could go along with"
            ));
        }
        let items = command_of(after);
        if is_of_files && items.is_empty() {
            return Err(format!("{shown}: no file follows it"));
        }
        match is_of_files {
            true => lists.extend(items.iter().map(|file| TypedList {
                items: TypedItems::File(file.into()),
                is_linked,
            })),
            false => lists.push(TypedList {
                items: TypedItems::Words(
                    items.iter().map(|item| item.as_bytes().to_vec()).collect(),
                ),
                is_linked,
            }),
        }
        rest = &after[items.len()..];
    }
    Ok(lists)
}

/// Returns the source of the items that `files` and the lists behind the COMMAND make, if there are
/// any. Several lists are read at once.
///
/// # Errors
/// A list stands where it cannot, or a file cannot be read; in words.
pub(super) fn source(
    files: &[PathBuf],
    words: &[OsString],
    separator: u8,
    are_all_linked: bool,
) -> Result<Option<ItemSource>, String> {
    let files = files.iter().map(|file| TypedList {
        items: TypedItems::File(file.clone()),
        is_linked: false,
    });
    let mut lists: Vec<TypedList> = files.chain(typed(words)?).collect();
    if lists.len() > 1 {
        let lists = read(lists, separator, are_all_linked)?;
        return Ok(Some(ItemSource::Combined(lists)));
    }
    Ok(lists.pop().map(|list| match list.items {
        TypedItems::Words(items) => ItemSource::Given(items),
        TypedItems::File(file) => ItemSource::named(&file),
    }))
}

/// Reads the lists that were typed.
fn read(typed: Vec<TypedList>, separator: u8, are_all_linked: bool) -> Result<Lists, String> {
    let mut lists = Lists::default();
    for list in typed {
        let items = match list.items {
            TypedItems::Words(items) => items,
            TypedItems::File(file) => {
                if file.as_os_str() == "-" && lists.files.contains(&file) {
                    return Err("-: stdin can be read only once".into());
                }
                let items = lines(&file, separator)?;
                lists.files.push(file);
                items
            }
        };
        let joining = match (are_all_linked, list.is_linked) {
            (true, _) => ListJoining::LinkedAround,
            (false, true) => ListJoining::Linked,
            (false, false) => ListJoining::Combined,
        };
        lists.add(items, joining);
    }
    Ok(lists)
}

/// Reads the items of a file.
fn lines(file: &Path, separator: u8) -> Result<Vec<Vec<u8>>, String> {
    let source = ItemSource::named(file);
    // It tells folders and files that are not there.
    input::is_there(&source)?;
    let lines = input::all(&source, separator);
    lines.map(|line| line.map(|line| line.bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str], are_all_linked: bool) -> Vec<String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        match source(&[], &words, b'\n', are_all_linked).unwrap() {
            Some(ItemSource::Combined(lists)) => {
                let count = lists.count();
                let texts = lists.texts().map(|text| String::from_utf8(text).unwrap());
                let texts: Vec<String> = texts.collect();
                assert_eq!(texts.len() as u64, count);
                texts
            }
            other => panic!("{other:?}"),
        }
    }

    fn split(line: &str) -> Vec<&str> {
        line.split(' ').collect()
    }

    /// As GNU parallel 20221122 does.
    #[test]
    fn lists_are_combined_with_the_last_one_first() {
        let combined = |line| texts(&split(line), false);
        assert_eq!(combined("c ::: a b ::: 1 2"), ["a 1", "a 2", "b 1", "b 2"]);
        assert_eq!(combined("c ::: a b c :::+ 1 2"), ["a 1", "b 2"]);
        assert_eq!(
            combined("c ::: a b :::+ d e ::: 1 2"),
            ["a d 1", "a d 2", "b e 1", "b e 2"]
        );
        assert_eq!(
            combined("c ::: 1 2 ::: a b :::+ d e"),
            ["1 a d", "1 b e", "2 a d", "2 b e"]
        );
        assert!(combined("c ::: a ::: ::: b").is_empty());
        assert_eq!(
            texts(&["c", ":::", "a b", "", ":::", "'"], false),
            ["'a b' \"'\"", "'' \"'\""]
        );
    }

    #[test]
    fn lists_that_are_all_linked_begin_again() {
        let linked = |line| texts(&split(line), true);
        assert_eq!(linked("c ::: a b c ::: 1 2"), ["a 1", "b 2", "c 1"]);
        assert_eq!(linked("c ::: a ::: 1 2 :::+ x"), ["a 1 x", "a 2 x"]);
        assert!(linked("c ::: a ::: ").len() == 1);
    }

    #[test]
    fn one_list_is_no_combination() {
        let words = ["c", ":::", "a b", "c"].map(OsString::from);
        let given = vec![b"a b".to_vec(), b"c".to_vec()];
        assert_eq!(
            source(&[], &words, b'\n', false),
            Ok(Some(ItemSource::Given(given)))
        );
        let words = ["c", "::::", "-"].map(OsString::from);
        assert_eq!(
            source(&[], &words, b'\n', false),
            Ok(Some(ItemSource::Stdin))
        );
        assert_eq!(source(&[], &["c".into()], b'\n', false), Ok(None));
    }

    #[test]
    fn a_list_in_the_wrong_place_is_told() {
        for (line, told) in [
            ("c :::+ a", ":::+: there is no list before it"),
            ("c ::::+ a", "::::+: there is no list before it"),
            ("c ::::", "::::: no file follows it"),
            ("c ::: a :::: /nowhere/x", "cannot be read"),
        ] {
            let words: Vec<OsString> = split(line).into_iter().map(OsString::from).collect();
            let why = source(&[], &words, b'\n', false).unwrap_err();
            assert!(why.contains(told), "{line}: {why}");
        }
    }
}
