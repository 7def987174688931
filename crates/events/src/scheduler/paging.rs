//! Pages of Scheduler's lists.

use super::Error;
use super::shapes::{MaxResults, NextToken};
use crate::paging::cut;

/// Cuts a page off items that are in the order of their keys, and says how to go on.
pub(super) fn page<T>(
    items: Vec<(String, T)>,
    token: Option<&NextToken>,
    limit: Option<MaxResults>,
) -> Result<(Vec<T>, Option<String>), Error> {
    let size = limit.and_then(|limit| usize::try_from(limit.get()).ok());
    let token = token.map(NextToken::as_str);
    cut(items, token, size).map_err(|text| Error::Invalid(text.to_owned()))
}
