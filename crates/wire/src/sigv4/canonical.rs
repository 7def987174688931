//! The canonical request and the string to sign.

use super::{ALGORITHM, Head, PathRule, Sha256, sha256};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use std::borrow::Cow;

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Room for the canonical request of most requests.
const REQUEST_BYTES_USUAL: usize = 1024;

/// A query, split and decoded, in the order of the wire. `+` is a space, as AWS reads it.
pub(super) fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(key), decoded(value))
        })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaced).collect())
    } else {
        percent_decode_str(text).into()
    }
}

/// Percent-encodes a query name or value.
pub(super) fn encoded(bytes: &[u8]) -> Cow<'_, str> {
    percent_encode(bytes, ENCODED).into()
}

/// The query, encoded once and sorted, without the parameters `left_out`.
pub(super) fn query(query: &str, left_out: &[&str]) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<(String, String)> = query_pairs(query)
        .filter(|(key, _)| !left_out.iter().any(|name| name.as_bytes() == key.as_ref()))
        .map(|(key, value)| (encoded(&key).into_owned(), encoded(&value).into_owned()))
        .collect();
    pairs.sort();
    let mut out = String::with_capacity(query.len());
    for (i, (key, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push('&');
        }
        out.push_str(key);
        out.push('=');
        out.push_str(value);
    }
    out
}

/// The path, as `rule` has it.
pub(super) fn path(path: &str, rule: PathRule) -> Cow<'_, str> {
    let path = if path.is_empty() { "/" } else { path };
    let path = match rule {
        PathRule::Normalised => match normalised(path) {
            Cow::Borrowed(path) => Cow::Borrowed(path.as_bytes()),
            Cow::Owned(path) => Cow::Owned(path.into_bytes()),
        },
        PathRule::AsIs => Cow::Borrowed(path.as_bytes()),
        PathRule::Once => percent_decode_str(path).into(),
    };
    match path {
        Cow::Borrowed(path) => percent_encode(path, ENCODED_IN_PATH).into(),
        Cow::Owned(path) => Cow::Owned(percent_encode(&path, ENCODED_IN_PATH).to_string()),
    }
}

/// Resolves `.`, `..` and empty segments, and keeps a trailing slash.
fn normalised(path: &str) -> Cow<'_, str> {
    let odd = |pair: &[u8]| matches!(pair, b"//" | b"/.");
    let plain = path.starts_with('/') && !path.as_bytes().windows(2).any(odd);
    if plain {
        return Cow::Borrowed(path);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = format!("/{}", segments.join("/"));
    let last = path.rsplit('/').next().unwrap_or("");
    if !segments.is_empty() && matches!(last, "" | "." | "..") {
        out.push('/');
    }
    Cow::Owned(out)
}

/// The block of `name:value` lines. A signed header that the request lacks counts as empty, so that the
/// signature cannot match unless the signer saw it empty too.
fn push_headers(out: &mut String, head: &Head<'_>, signed: &str) {
    for name in signed.split(';') {
        out.push_str(name);
        out.push(':');
        let mut any = false;
        for value in head.headers.get_all(name) {
            if any {
                out.push(',');
            }
            any = true;
            match value.to_str() {
                Ok(text) if !text.bytes().any(|b| matches!(b, b' ' | b'\t')) => out.push_str(text),
                _ => push_collapsed(out, &String::from_utf8_lossy(value.as_bytes())),
            }
        }
        if let (false, "host" | ":authority", Some(authority)) = (any, name, head.authority) {
            out.push_str(authority);
        }
        out.push('\n');
    }
}

/// Trims a header's value and makes every run of blanks inside it one space.
fn push_collapsed(out: &mut String, value: &str) {
    for (i, word) in value
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .enumerate()
    {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

/// The names of the signed headers in lower case, sorted, and each once, with semicolons between them.
pub(super) fn header_names(list: &str) -> Cow<'_, str> {
    let lower = !list.bytes().any(|b| b.is_ascii_uppercase());
    if lower && list.split(';').is_sorted_by(|one, next| one < next) && !list.starts_with(';') {
        return Cow::Borrowed(list);
    }
    let list = list.to_ascii_lowercase();
    let mut names: Vec<&str> = list.split(';').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    Cow::Owned(names.join(";"))
}

/// The canonical request. `signed` is as [`header_names`] has it.
pub(super) fn request(
    head: &Head<'_>,
    rule: PathRule,
    signed: &str,
    left_out: &[&str],
    payload: &str,
) -> String {
    let mut out = String::with_capacity(REQUEST_BYTES_USUAL);
    for line in [
        head.method,
        &path(head.path, rule),
        &query(head.query, left_out),
    ] {
        out.push_str(line);
        out.push('\n');
    }
    push_headers(&mut out, head, signed);
    out.push('\n');
    out.push_str(signed);
    out.push('\n');
    out.push_str(payload);
    out
}

/// The string to sign. `scope` is `date/region/service/aws4_request`.
pub(super) fn string_to_sign(at: &str, scope: &str, canonical: &str) -> String {
    let digest = hex(&sha256(canonical.as_bytes()));
    [ALGORITHM, at, scope, &digest].join("\n")
}

/// Lower-case hexadecimal.
pub(super) fn hex(digest: &Sha256) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS[usize::from(value)];
    let pairs = digest.map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    String::from_utf8_lossy(pairs.as_flattened()).into_owned()
}

/// Reads 64 hexadecimal digits, of either case for what a client sends.
pub(super) fn unhex(text: &str) -> Option<Sha256> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        *byte = digit(pair[0])? * 16 + digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_path(wire: &str, rule: PathRule, expected: &str) {
        assert_eq!(path(wire, rule), expected);
    }

    #[test]
    fn paths() {
        use PathRule::*;
        check_path("", Normalised, "/");
        check_path("/", Normalised, "/");
        check_path("/a/b", Normalised, "/a/b");
        check_path("/a/./b/../c/", Normalised, "/a/c/");
        check_path("/a/..", Normalised, "/");
        check_path("/../..", Normalised, "/");
        check_path("/a/b/.", Normalised, "/a/b/");
        check_path("//a//b//", Normalised, "/a/b/");
        check_path("/a%2Fb", Normalised, "/a%252Fb");
        check_path("/.hidden", Normalised, "/.hidden");
        check_path("/a//b/%20c", Once, "/a//b/%20c");
        check_path("/a b", Once, "/a%20b");
        check_path("/a//b/../c", AsIs, "/a//b/../c");
    }

    #[track_caller]
    fn check_query(wire: &str, expected: &str) {
        assert_eq!(query(wire, &["X-Amz-Signature"]), expected);
    }

    #[test]
    fn queries() {
        check_query("", "");
        check_query("b=2&a=1", "a=1&b=2");
        check_query("a=2&a=1", "a=1&a=2");
        check_query("a", "a=");
        check_query("&&a=1&", "a=1");
        check_query("a=b=c", "a=b%3Dc");
        check_query("a=x+y", "a=x%20y");
        check_query("a=%e1%88%b4", "a=%E1%88%B4");
        check_query("a=1&X-Amz-Signature=2", "a=1");
        check_query("a=%zz", "a=%25zz");
        // The encoded forms are compared: `-` (2D) sorts before `A`, and `~` after every letter.
        check_query("~=1&A=1&-=1", "-=1&A=1&~=1");
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        let digest = sha256(b"x");
        assert_eq!(unhex(&hex(&digest)), Some(digest));
        assert_eq!(unhex("00"), None);
        assert_eq!(unhex(&"g".repeat(64)), None);
    }
}
