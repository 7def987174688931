//! `application/x-www-form-urlencoded`, in bodies and in URLs.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Error, Node};

/// The most parameters in one form.
const PARAMETERS_MAX: usize = 20_000;

/// The deepest name (`A.member.1.B...`) in a form.
const DEPTH_MAX: usize = 16;

/// The decoded pairs of a query string or form.
pub fn url_pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(text.as_bytes())
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
}

/// A Query request as a tree: `A.member.1.B=x` becomes A, member, 1, B. The URL's parameters count too.
pub fn form(query: &str, body: &Bytes) -> Result<Node, Error> {
    let malformed = |text: &str| Error::new("MalformedQueryString", 400, text);
    let mut root = BTreeMap::new();
    let body = form_urlencoded::parse(body).map(|(k, v)| (k.into_owned(), v.into_owned()));
    for (count, (key, value)) in url_pairs(query).chain(body).enumerate() {
        if count >= PARAMETERS_MAX {
            return Err(malformed("The request has too many parameters."));
        }
        // The parameters of a presigned URL are not the operation's.
        if key.starts_with("X-Amz-") {
            continue;
        }
        let path: Vec<&str> = key.split('.').collect();
        if path.len() > DEPTH_MAX || !insert(&mut root, &path, value) {
            return Err(malformed(
                "The query string is malformed or does not adhere to AWS standards.",
            ));
        }
    }
    Ok(Node::Form(root))
}

/// Whether the value found its place; a name that is both a value and a prefix has none.
fn insert(at: &mut BTreeMap<String, Node>, path: &[&str], value: String) -> bool {
    match path {
        [] => false,
        [last] => at.insert((*last).to_owned(), Node::Text(value)).is_none(),
        [first, rest @ ..] => {
            let below = at
                .entry((*first).to_owned())
                .or_insert_with(|| Node::Form(BTreeMap::new()));
            match below {
                Node::Form(members) => insert(members, rest, value),
                _ => false,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_a_tree() {
        let node = form(
            "",
            &Bytes::from_static(b"Action=X&Tags.member.1.Key=a&Tags.member.1.Value=b%20c"),
        )
        .unwrap();
        assert_eq!(
            node.to_string(),
            "{Action=X, Tags={member={1={Key=a, Value=b c}}}}"
        );
    }

    #[test]
    fn a_name_cannot_be_value_and_prefix() {
        assert!(form("", &Bytes::from_static(b"A=1&A.b=2")).is_err());
        assert!(form("", &Bytes::from_static(b"A=1&A=2")).is_err());
    }
}
