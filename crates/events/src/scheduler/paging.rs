//! Pages of lists. A token is the last item's key, in base64 so that nobody builds one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Error;
use super::shapes::{MaxResults, NextToken};

/// AWS's largest page, which is also the default.
const PAGE_MAX: usize = 100;

/// Cuts a page off items that are in the order of their keys, and says how to go on.
pub(super) fn page<T>(
    mut items: Vec<(String, T)>,
    token: Option<&NextToken>,
    limit: Option<MaxResults>,
) -> Result<(Vec<T>, Option<String>), Error> {
    if let Some(token) = token {
        let after = read(token)
            .ok_or_else(|| Error::Invalid("The NextToken provided is not valid.".to_owned()))?;
        items.retain(|(key, _)| *key > after);
    }
    let size = limit.and_then(|limit| usize::try_from(limit.get()).ok());
    let size = size.unwrap_or(PAGE_MAX);
    let next = (items.len() > size).then(|| URL_SAFE_NO_PAD.encode(&items[size - 1].0));
    items.truncate(size);
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

fn read(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}
