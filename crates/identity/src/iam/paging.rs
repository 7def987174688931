//! `Marker` and `MaxItems`: a marker is the key of the last item given out, so pages stay right when things come and go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::shapes::{Marker, MaxItems};
use crate::Error;

/// How many items a page has when the client does not say.
const PAGE_ITEMS: usize = 100;

/// One page.
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    pub is_truncated: bool,
    pub marker: Option<String>,
}

/// The page after a marker, ordered by key.
pub(crate) fn page<K: AsRef<str>, T>(
    items: impl IntoIterator<Item = (K, T)>,
    marker: Option<&Marker>,
    max: Option<MaxItems>,
) -> Result<Page<T>, Error> {
    let after = marker.map(read).transpose()?;
    let max = max.map_or(PAGE_ITEMS, |max| {
        usize::try_from(max.get()).unwrap_or(PAGE_ITEMS)
    });
    let mut items: Vec<(K, T)> = items
        .into_iter()
        .filter(|(key, _)| {
            after
                .as_ref()
                .is_none_or(|after| key.as_ref() > after.as_str())
        })
        .collect();
    items.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
    let is_truncated = items.len() > max;
    items.truncate(max);
    let last = items.last().filter(|_| is_truncated);
    let marker = last.map(|(key, _)| URL_SAFE_NO_PAD.encode(key.as_ref()));
    Ok(Page {
        items: items.into_iter().map(|(_, item)| item).collect(),
        is_truncated,
        marker,
    })
}

fn read(marker: &Marker) -> Result<String, Error> {
    let bytes = URL_SAFE_NO_PAD
        .decode(marker.as_bytes())
        .map_err(|_| Error::InvalidMarker)?;
    String::from_utf8(bytes).map_err(|_| Error::InvalidMarker)
}

impl<T> Page<T> {
    /// The same page of other things.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(make).collect(),
            is_truncated: self.is_truncated,
            marker: self.marker,
        }
    }
}

/// Declares the reply of a list operation.
macro_rules! listing {
    ($(#[$meta:meta])* $name:ident { $field:ident: $item:ty $(, $extra:ident: $extra_type:ty)? }) => {
        $(#[$meta])*
        #[derive(Debug, wire::Shape)]
        pub struct $name {
            $($extra: $extra_type,)?
            $field: Vec<$item>,
            is_truncated: bool,
            marker: Option<String>,
        }

        impl $name {
            pub(crate) fn of($($extra: $extra_type,)? page: crate::iam::paging::Page<$item>) -> Self {
                Self { $($extra,)? $field: page.items, is_truncated: page.is_truncated, marker: page.marker }
            }
        }
    };
}
pub(crate) use listing;
