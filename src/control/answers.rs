//! The values of answers, as those who show them read them: a field that is missing, or null, is empty.

use serde_json::Value;

/// Returns a number, or 0.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Returns a text, or an empty one.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns the values of a list, or none.
pub(crate) fn values(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
