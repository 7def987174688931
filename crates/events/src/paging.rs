//! Pages of lists. A token is the last item's key, in base64 so that nobody builds one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Error;
use crate::names::{Limit, NextToken};

/// AWS's largest page.
const PAGE_MAX: usize = 100;

/// Cuts a page off items that are in the order of their keys, and says how to go on.
pub(crate) fn page<T>(
    mut items: Vec<(String, T)>,
    token: Option<&NextToken>,
    limit: Option<Limit>,
) -> Result<(Vec<T>, Option<String>), Error> {
    if let Some(token) = token {
        let after = read(token)?;
        items.retain(|(key, _)| *key > after);
    }
    let size = limit.and_then(|limit| usize::try_from(limit.get()).ok());
    let size = size.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let next = (items.len() > size).then(|| URL_SAFE_NO_PAD.encode(&items[size - 1].0));
    items.truncate(size);
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

fn read(token: &str) -> Result<String, Error> {
    let invalid = || Error::Invalid("The NextToken provided is not valid.".to_owned());
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    String::from_utf8(bytes).map_err(|_| invalid())
}
