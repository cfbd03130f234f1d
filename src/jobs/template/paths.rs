//! The parts of paths. They are bytes, and no file system is asked.

/// Returns what follows the last slash.
pub(super) fn base(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &path[slash + 1..],
        None => path,
    }
}

/// Returns a path without the last dot after its last slash, and without the part behind that dot.
pub(super) fn stem(path: &[u8]) -> &[u8] {
    let begin = path.len() - base(path).len();
    match path[begin..].iter().rposition(|byte| *byte == b'.') {
        Some(dot) => &path[..begin + dot],
        None => path,
    }
}

/// Returns the path of the folder, as dirname(1) does.
pub(super) fn folder(path: &[u8]) -> &[u8] {
    let named = without_slashes(path);
    let above = without_slashes(&named[..named.len() - base(named).len()]);
    match (path.first(), above.is_empty()) {
        (_, false) => above,
        (Some(b'/'), true) => b"/",
        (_, true) => b".",
    }
}

fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}
