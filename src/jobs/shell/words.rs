//! PURE: a word of a script, as far as it is known before expansion.

use std::ops::Range;

/// A part of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bit {
    /// A byte outside of quotes.
    Plain(u8),
    Quoted(u8),
    /// The result of an expansion.
    Unknown,
    /// The result of `$@`, which may be no word at all, with or without quotes.
    Arguments,
    /// A value to be filled in.
    Placeholder,
}

/// A word, and the places in it, including those in substitutions.
#[derive(Debug, Clone, Default)]
pub(super) struct Word {
    pub(super) bits: Vec<Bit>,
    pub(super) places: Range<usize>,
    /// True if it is a word even when it is empty.
    pub(super) is_quoted: bool,
    /// True if an expansion in it stands outside of quotes, so that it may become several words.
    pub(super) is_split: bool,
}

impl Word {
    pub(super) fn has_place(&self) -> bool {
        !self.places.is_empty()
    }

    /// Returns its text, if that is known.
    pub(super) fn literal(&self) -> Option<Vec<u8>> {
        let (text, is_whole) = self.literal_prefix();
        is_whole.then_some(text)
    }

    /// Returns the known beginning of its text, and `true` if that is all.
    pub(super) fn literal_prefix(&self) -> (Vec<u8>, bool) {
        let known = self.bits.iter().map_while(|bit| match bit {
            Bit::Plain(byte) | Bit::Quoted(byte) => Some(*byte),
            Bit::Unknown | Bit::Arguments | Bit::Placeholder => None,
        });
        let text: Vec<u8> = known.collect();
        let is_whole = text.len() == self.bits.len();
        (text, is_whole)
    }

    /// Returns its text, if nothing of it is quoted or expanded, as in reserved words.
    pub(super) fn plain(&self) -> Option<Vec<u8>> {
        let plain = self.bits.iter().map(|bit| match bit {
            Bit::Plain(byte) => Some(*byte),
            _ => None,
        });
        plain.collect()
    }

    /// Returns `true` if its beginning is unknown.
    pub(super) fn begins_with_hole(&self) -> bool {
        let known = matches!(
            self.bits.first(),
            None | Some(Bit::Plain(_) | Bit::Quoted(_))
        );
        !known
    }

    /// Returns `true` if bash makes several words of it: `{a,b}`, `{1..9}`.
    pub(super) fn has_alternatives(&self) -> bool {
        let find = |wanted: &[Bit]| {
            let mut windows = self.bits.windows(wanted.len());
            windows.position(|bits| bits == wanted)
        };
        let (dot, comma) = (Bit::Plain(b'.'), Bit::Plain(b','));
        let separator = find(&[comma]).or_else(|| find(&[dot, dot]));
        find(&[Bit::Plain(b'{')]) < separator && find(&[Bit::Plain(b'}')]).is_some()
    }

    pub(super) fn has_expansion(&self) -> bool {
        self.bits.iter().any(is_expansion)
    }

    /// Returns `true` if it may be no word at all, as `$x` is when the variable is empty.
    pub(super) fn may_vanish(&self) -> bool {
        let has_arguments = self.bits.contains(&Bit::Arguments);
        self.has_expansion()
            && self.bits.iter().all(is_expansion)
            && (!self.is_quoted || has_arguments)
    }

    /// Returns the word that is left if all expansions in it give nothing.
    pub(super) fn without_expansions(&self) -> Self {
        let rest = self.bits.iter().filter(|bit| !is_expansion(bit));
        Word {
            bits: rest.copied().collect(),
            ..self.clone()
        }
    }

    /// Returns its beginning outside of quotes.
    pub(super) fn plain_prefix(&self) -> Vec<u8> {
        let plain = self.bits.iter().map_while(|bit| match bit {
            Bit::Plain(byte) => Some(*byte),
            _ => None,
        });
        plain.collect()
    }

    pub(super) fn begins_with(&self, text: &[u8]) -> bool {
        self.literal_prefix().0.starts_with(text)
    }

    /// Returns the name that a value is assigned to.
    pub(super) fn assigned(&self) -> Option<Vec<u8>> {
        let text = self.plain_prefix();
        let end = text.iter().position(|byte| *byte == b'=')?;
        let name = text[..end].strip_suffix(b"+").unwrap_or(&text[..end]);
        is_name(name).then(|| name.to_vec())
    }

    /// Returns the text before its `=`, in quotes or not.
    pub(super) fn variable(&self) -> Option<Vec<u8>> {
        let (text, _) = self.literal_prefix();
        let end = text.iter().position(|byte| *byte == b'=')?;
        Some(text[..end].to_vec())
    }

    /// Returns the name of the program that it starts, without its folder, if it is known.
    pub(super) fn program(&self) -> Option<Vec<u8>> {
        let slash = |bit: &Bit| matches!(bit, Bit::Plain(b'/') | Bit::Quoted(b'/'));
        let begin = self
            .bits
            .iter()
            .rposition(slash)
            .map_or(0, |slash| slash + 1);
        let base = Word {
            bits: self.bits[begin..].to_vec(),
            ..Word::default()
        };
        base.literal()
    }

    /// Returns the known end of its text.
    pub(super) fn literal_suffix(&self) -> Vec<u8> {
        let known = self.bits.iter().rev().map_while(|bit| match bit {
            Bit::Plain(byte) | Bit::Quoted(byte) => Some(*byte),
            Bit::Unknown | Bit::Arguments | Bit::Placeholder => None,
        });
        let mut text: Vec<u8> = known.collect();
        text.reverse();
        text
    }

    /// Returns `true` if names of files may replace it.
    pub(super) fn has_pattern(&self) -> bool {
        let is_pattern = |bit: &Bit| matches!(bit, Bit::Plain(b'*' | b'?'));
        let brackets = [Bit::Plain(b'['), Bit::Plain(b']')];
        self.bits.iter().any(is_pattern) || brackets.iter().all(|bit| self.bits.contains(bit))
    }

    /// Returns `true` if a value may be its beginning. A place after a slash makes a path.
    pub(super) fn may_begin_with_place(&self) -> bool {
        let begin = self.bits.iter().take_while(|bit| !is_known(bit));
        let own = self
            .bits
            .iter()
            .filter(|bit| **bit == Bit::Placeholder)
            .count();
        let has_inner = self.places.len() > own;
        self.begins_with_hole()
            && (begin.clone().any(|bit| *bit == Bit::Placeholder) || has_inner && begin.count() > 0)
    }

    /// Returns `true` if its places stand in it directly, and not in substitutions.
    pub(super) fn has_own_places_only(&self) -> bool {
        let own = self
            .bits
            .iter()
            .filter(|bit| **bit == Bit::Placeholder)
            .count();
        own == self.places.len()
    }

    pub(super) fn has_slash(&self) -> bool {
        let slash = |bit: &Bit| matches!(bit, Bit::Plain(b'/') | Bit::Quoted(b'/'));
        self.bits.iter().any(slash)
    }
}

fn is_known(bit: &Bit) -> bool {
    matches!(bit, Bit::Plain(_) | Bit::Quoted(_))
}

fn is_expansion(bit: &Bit) -> bool {
    matches!(bit, Bit::Unknown | Bit::Arguments)
}

/// Returns `true` for a variable's name.
pub(super) fn is_name(text: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.first().is_some_and(is_letter)
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

pub(super) fn is_option(text: &[u8]) -> bool {
    text.len() > 1 && text[0] == b'-'
}

/// Returns `true` if a long option is this one, which may be abbreviated, and have an argument.
pub(super) fn is_abbreviated(option: &[u8], name: &[u8]) -> bool {
    let end = option.iter().position(|byte| *byte == b'=');
    let option = &option[..end.unwrap_or(option.len())];
    option.len() > 2 && option.starts_with(b"--") && name.starts_with(option)
}

/// Returns `true` if a file's name may mean stdin, or another open file.
pub(super) fn may_be_stdin(word: &Word) -> bool {
    if word.has_pattern() {
        return true;
    }
    let tail = word.literal_suffix();
    let last = tail.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let is_whole = word.literal().is_some();
    if is_whole && tail.first() != Some(&b'/') && !tail.contains(&b'/') {
        return tail == b"-";
    }
    if is_whole {
        let is_device = tail.starts_with(b"/") || tail.windows(2).any(|two| two == b"..");
        let has = |name: &[u8]| tail.windows(name.len()).any(|window| window == name);
        return is_device && (has(b"dev") || has(b"proc")) && last != b"null";
    }
    last.is_empty()
        || last.iter().all(u8::is_ascii_digit)
        || b"stdin".ends_with(last)
        || last == b"-"
}
