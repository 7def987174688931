//! [`Http`]: where a restJson operation's members travel. One constant beside the operation, read like the AWS page.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The HTTP binding of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    /// The method.
    pub method: &'static str,
    /// The path; `{Member}` takes one segment, `{Member+}` all the rest. What follows a `?` must be among the query's
    /// parameters (`?find=LayerVersion`); rows that have it stand before those that do not.
    pub path: &'static str,
    /// Members in the query string, as (`parameter`, `Member`).
    pub query: &'static [(&'static str, &'static str)],
    /// The status of success.
    pub status: u16,
    /// Members of the request in headers, as (`header`, `Member`); the header in lower case.
    pub headers: &'static [(&'static str, &'static str)],
    /// The member that is the whole body of the request.
    pub payload: Option<&'static str>,
    /// Members of the reply in headers, as (`Header`, `Member`).
    pub reply_headers: &'static [(&'static str, &'static str)],
    /// The member of the reply that is the status.
    pub reply_status: Option<&'static str>,
    /// The member of the reply that is the whole body.
    pub reply_payload: Option<&'static str>,
    /// The largest body accepted, in bytes.
    pub body_bytes_max: usize,
}

/// The largest body of an operation that does not say otherwise.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Http {
    /// The binding of every operation of a protocol that posts all to `/`.
    pub const ROOT: Http = Http::new("POST", "/", 200);

    /// A method, a path template and the status of success.
    pub const fn new(method: &'static str, path: &'static str, status: u16) -> Self {
        Self {
            method,
            path,
            query: &[],
            status,
            headers: &[],
            payload: None,
            reply_headers: &[],
            reply_status: None,
            reply_payload: None,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }

    /// Members in the query string.
    pub const fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    /// Members of the request in headers; the header names in lower case.
    pub const fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// The member that is the whole body of the request.
    pub const fn payload(mut self, member: &'static str) -> Self {
        self.payload = Some(member);
        self
    }

    /// Members of the reply in headers.
    pub const fn reply_headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.reply_headers = headers;
        self
    }

    /// The member of the reply that is the status.
    pub const fn reply_status(mut self, member: &'static str) -> Self {
        self.reply_status = Some(member);
        self
    }

    /// The member of the reply that is the whole body.
    pub const fn reply_payload(mut self, member: &'static str) -> Self {
        self.reply_payload = Some(member);
        self
    }

    /// The largest body accepted, in bytes.
    pub const fn body_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }
}

/// A binding's method and path, taken apart once for the many requests that are compared with it.
#[derive(Debug)]
pub(crate) struct Template {
    method: &'static str,
    segments: Vec<Segment>,
    /// What must be among the query's parameters.
    literals: Vec<&'static str>,
}

#[derive(Debug)]
enum Segment {
    Literal(&'static str),
    /// A parameter of one segment.
    One(&'static str),
    /// A parameter of all that follows.
    Rest(&'static str),
}

impl Template {
    /// Of a method and a path as [`Http::path`] has it.
    pub(crate) fn new(method: &'static str, path: &'static str) -> Self {
        let (path, literals) = path.split_once('?').unwrap_or((path, ""));
        let segment = |text: &'static str| {
            let name = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
            match name.map(|name| (name, name.strip_suffix('+'))) {
                None => Segment::Literal(text),
                Some((name, None)) => Segment::One(name),
                Some((_, Some(name))) => Segment::Rest(name),
            }
        };
        let literals = literals.split('&').filter(|literal| !literal.is_empty());
        Self {
            method,
            segments: segments(path).map(segment).collect(),
            literals: literals.collect(),
        }
    }

    /// The parameters of the path, in [`segments`], if it, the method and the query fit. Segments are compared before they
    /// are percent-decoded, so that an encoded slash stays within its segment.
    pub(crate) fn matches(
        &self,
        method: &str,
        path: &[&str],
        query: &str,
    ) -> Option<Vec<(&'static str, String)>> {
        let takes_rest = matches!(self.segments.last(), Some(Segment::Rest(_)));
        let long_enough = match takes_rest {
            true => path.len() >= self.segments.len(),
            false => path.len() == self.segments.len(),
        };
        let pairs = || self.segments.iter().zip(path);
        // Most templates differ in a literal, which is told without taking any parameter.
        let same = |(wanted, found): (&Segment, &&str)| match wanted {
            Segment::Literal(text) => text == found,
            Segment::One(_) | Segment::Rest(_) => !found.is_empty(),
        };
        if !long_enough || method != self.method || !pairs().all(same) {
            return None;
        }
        for literal in &self.literals {
            query.split('&').find(|parameter| parameter == literal)?;
        }
        let mut parameters = Vec::new();
        for (at, (wanted, found)) in pairs().enumerate() {
            let (name, segment) = match wanted {
                Segment::Literal(_) => continue,
                Segment::One(name) => (*name, Cow::Borrowed(*found)),
                Segment::Rest(name) => (*name, Cow::Owned(path[at..].join("/"))),
            };
            let decoded = percent_decode_str(&segment).decode_utf8().ok()?;
            parameters.push((name, decoded.into_owned()));
        }
        Some(parameters)
    }
}

/// The segments of a path; one trailing slash is of no account.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    trim(path).split('/')
}

fn trim(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &'static str, path: &str, expected: Option<&[(&str, &str)]>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path: Vec<&str> = segments(path).collect();
        let found = Template::new("GET", template).matches("GET", &path, query);
        let found: Option<Vec<(&str, &str)>> = found
            .as_ref()
            .map(|f| f.iter().map(|(k, v)| (*k, v.as_str())).collect());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn templates() {
        check("/a/{X}/b", "/a/1/b", Some(&[("X", "1")]));
        check(
            "/a/{X}/b",
            "/a/arn%3Aaws%2Fx/b",
            Some(&[("X", "arn:aws/x")]),
        );
        check("/a/{X}/b", "/a//b", None);
        check("/a/{X}", "/a/1/b", None);
        check("/a/", "/a", Some(&[]));
        check("/a", "/a/", Some(&[]));
        check("/tags/{R+}", "/tags/x/y", Some(&[("R", "x/y")]));
        check("/tags/{R+}", "/tags/", None);
        check("/tags/{R+}", "/tags", None);
        check("/a?find=B", "/a?find=B&c=d", Some(&[]));
        check("/a?find=B", "/a?find=C", None);
        check("/a?find=B", "/a", None);
    }
}
