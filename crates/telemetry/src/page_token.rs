//! Paging tokens: where the next page begins, as text that clients only hand back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Begins every token, so that other text that happens to be base64 is not taken for one.
const MARK: &str = "p1:";

/// The token of a place.
pub(crate) fn write(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{MARK}{place}"))
}

/// The place of a token; `None` if it is none of ours.
pub(crate) fn read(token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix(MARK).map(str::to_owned)
}
