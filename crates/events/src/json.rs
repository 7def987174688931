//! Checks of JSON text that no depth can exhaust.

use serde_json::value::RawValue;

/// How deep a document may be nested, as on AWS.
const DEPTH_MAX: usize = 1000;

/// Whether a text is one JSON value; else where it is not.
pub(crate) fn check(text: &str) -> Result<(), String> {
    // Raw values are read without recursion.
    let read: Result<&RawValue, _> = serde_json::from_str(text);
    read.map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
    match depth(text) > DEPTH_MAX {
        true => Err(format!("more than {DEPTH_MAX} levels")),
        false => Ok(()),
    }
}

/// Whether a text is one JSON object.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && check(text).is_ok()
}

/// How deep valid JSON is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, value: bool, object: bool) {
        assert_eq!(
            (check(text).is_ok(), is_object(text)),
            (value, object),
            "{text:.60}"
        );
    }

    #[test]
    fn texts() {
        check_text("{}", true, true);
        check_text(" {\"a\": [1, {\"b\": \"]}\\\"\"}]} ", true, true);
        check_text("[]", true, false);
        check_text("\"{}\"", true, false);
        check_text("{", false, false);
        check_text("", false, false);
        check_text("{} {}", false, false);
        check_text("nonsense", false, false);
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check_text(&nested(1000), true, false);
        check_text(&nested(1001), false, false);
        check_text(&nested(1_000_000), false, false);
    }
}
