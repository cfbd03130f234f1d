//! The files of the page, which are in the program.

/// Each with its kind.
const ALL: [(&str, &str, &str); 3] = [
    (
        "page.css",
        "text/css; charset=utf-8",
        include_str!("assets/page.css"),
    ),
    (
        "page.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/page.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// Returns the kind and the text of a file.
pub(super) fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let found = ALL.iter().find(|(file, ..)| *file == name);
    found.map(|(_, kind, text)| (*kind, *text))
}
