//! Tests of the page in a real browser: see `main.rs` beside it.
