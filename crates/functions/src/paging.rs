//! Pages of lists: `MaxItems`, `Marker` and `NextMarker`. A marker is the last item's key, in base64 so that nobody builds one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wire::number;

use crate::error::Error;

number! {
    /// Most items of a page.
    pub struct MaxItems: 1..=10_000;

    /// Most layers of a page.
    pub struct MaxLayerItems: 1..=50;
}

/// AWS's largest page of functions, versions and layers, whatever is asked for.
pub(crate) const PAGE_MAX: usize = 50;

/// Where the page begins: after this key.
pub(crate) fn after(marker: Option<&str>) -> Result<Option<String>, Error> {
    let Some(marker) = marker.filter(|marker| !marker.is_empty()) else {
        return Ok(None);
    };
    let invalid = || Error::Invalid("The provided Marker is invalid.".to_owned());
    let bytes = URL_SAFE_NO_PAD.decode(marker).map_err(|_| invalid())?;
    String::from_utf8(bytes).map(Some).map_err(|_| invalid())
}

/// Cuts a page off the items that are left, and says how to go on.
pub(crate) fn page<T>(
    mut items: Vec<(String, T)>,
    asked: Option<i64>,
    page_max: usize,
) -> (Vec<T>, Option<String>) {
    let asked = asked.and_then(|asked| usize::try_from(asked).ok());
    let size = asked.unwrap_or(page_max).min(page_max);
    let next = (items.len() > size).then(|| URL_SAFE_NO_PAD.encode(&items[size - 1].0));
    items.truncate(size);
    (items.into_iter().map(|(_, item)| item).collect(), next)
}
