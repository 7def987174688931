//! Pages of lists. A token is the last item's key, in base64 so that nobody builds one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use store::record::Record;

use crate::error::Error;
use crate::names::{Limit, NextToken};
use crate::shelf::Shelf;

/// AWS's largest page, which is also the default.
const PAGE_MAX: usize = 100;

/// Cuts a page off items that are in the order of their keys, and says how to go on.
pub(crate) fn page<T>(
    items: Vec<(String, T)>,
    token: Option<&NextToken>,
    limit: Option<Limit>,
) -> Result<(Vec<T>, Option<String>), Error> {
    let size = limit.and_then(|limit| usize::try_from(limit.get()).ok());
    let token = token.map(NextToken::as_str);
    cut(items, token, size).map_err(|text| Error::Invalid(text.to_owned()))
}

/// The same with the words of whatever service; fails with a sentence when the token is not one of ours.
pub(crate) fn cut<T>(
    mut items: Vec<(String, T)>,
    token: Option<&str>,
    size: Option<usize>,
) -> Result<(Vec<T>, Option<String>), &'static str> {
    if let Some(token) = token {
        let after = read(token).ok_or("The NextToken provided is not valid.")?;
        items.retain(|(key, _)| *key > after);
    }
    let size = size.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let next = (items.len() > size).then(|| URL_SAFE_NO_PAD.encode(&items[size - 1].0));
    items.truncate(size);
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

/// One page of the records on a shelf below `under` whose names begin with a prefix, as `show` shows them; those of which it
/// shows nothing are not wanted.
pub(crate) fn page_of<R: Record + Send + Sync, T>(
    shelf: &Shelf<R>,
    under: &str,
    prefix: Option<&str>,
    (token, limit): (Option<&NextToken>, Option<Limit>),
    mut show: impl FnMut(&str, &R) -> Option<T>,
) -> Result<(Vec<T>, Option<String>), Error> {
    let prefix = prefix.unwrap_or_default();
    let all = shelf.list(&format!("{under}{prefix}"));
    let shown = all.into_iter().filter_map(|(rest, held)| {
        let name = format!("{prefix}{rest}");
        let shown = show(&name, &held.record)?;
        Some((name, shown))
    });
    page(shown.collect(), token, limit)
}

/// Refuses a list that is asked for by more than one of a name's prefix, a source and a state.
pub(crate) fn one_filter(operation: &str, given: [bool; 3]) -> Result<(), Error> {
    match given.into_iter().filter(|given| *given).count() {
        0 | 1 => Ok(()),
        _ => Err(Error::Invalid(format!(
            "At most one filter is allowed for {operation}. Use either : State, EventSourceArn, or NamePrefix."
        ))),
    }
}

fn read(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}
