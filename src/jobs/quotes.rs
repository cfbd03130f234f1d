//! Command lines as text, in a shell's quotes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments;

/// Returns a command line in a shell's quotes.
pub(super) fn quoted(words: &[OsString]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words
        .iter()
        .map(|word| arguments::quoted(word.as_bytes()))
        .collect();
    words.join(&b' ')
}

/// Returns a command line in one line of plain text. For line ends and bytes that are no text it
/// needs a form of quotes that dash lacks before 0.5.13.
pub(super) fn in_one_line(words: &[OsString]) -> String {
    let words = words.iter().map(|word| match word.to_str() {
        Some(text) if !text.contains(char::is_control) => {
            String::from_utf8_lossy(&arguments::quoted(word.as_bytes())).into_owned()
        }
        _ => escaped(word.as_bytes()),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Writes a word as `$'...'`, with octal numbers for bytes that cannot be printed.
fn escaped(word: &[u8]) -> String {
    let mut line = String::from("$'");
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => line.push_str("\\n"),
                '\t' => line.push_str("\\t"),
                '\r' => line.push_str("\\r"),
                '\'' | '\\' => line.extend(['\\', c]),
                c if c.is_control() => {
                    let bytes = c.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
                    push_octal(&bytes, &mut line);
                }
                c => line.push(c),
            }
        }
        push_octal(chunk.invalid(), &mut line);
    }
    line.push('\'');
    line
}

fn push_octal(bytes: &[u8], line: &mut String) {
    for byte in bytes {
        line.push_str(&format!("\\{byte:03o}"));
    }
}
