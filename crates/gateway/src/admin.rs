//! Mayfly's own pages under `/_/`, which no AWS service uses.

use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use wire::{Body, Reply};

use crate::{Gateway, Origin};

/// What `POST /_/reset` does in dev mode.
pub trait Reset: Send + Sync {
    /// Empties the server; `Err` says why it could not.
    fn reset(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// Something that is fetched without a signature, by a link whose end is the permission: a package of code, as
/// from one of AWS's presigned links.
pub trait Page: Send + Sync {
    /// What the path of every link begins with.
    fn prefix(&self) -> &'static str;

    /// What the rest of the path stands for: a content type and the content.
    fn get<'a>(&'a self, rest: &'a str) -> Found<'a>;
}

/// A content type and the content, if there is any.
pub type Found<'a> = Pin<Box<dyn Future<Output = Option<(&'static str, Bytes)>> + Send + 'a>>;

const PREFIX: &str = "/_/";

/// Whether a path is one of ours.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with(PREFIX)
}

impl Gateway {
    /// Answers a request for one of our own pages.
    pub(crate) async fn administer(&self, head: &Parts, origin: Origin) -> Reply {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let path = head.uri.path();
        for page in &self.services().pages {
            if let (true, Some(rest)) = (reads, path.strip_prefix(page.prefix())) {
                return match page.get(rest).await {
                    Some((content_type, content)) => whole(StatusCode::OK, content_type, content),
                    None => text(StatusCode::FORBIDDEN, "the link is no good, or no longer"),
                };
            }
        }
        match path.strip_prefix(PREFIX).unwrap_or_default() {
            "health" if reads => self.health(),
            "metrics" if reads => self.show_metrics(head, origin),
            "reset" if head.method == Method::POST => self.reset(head, origin).await,
            "health" | "metrics" | "reset" => text(StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
            _ => text(StatusCode::NOT_FOUND, "no such page"),
        }
    }

    fn health(&self) -> Reply {
        if self.0.closing.is_cancelled() {
            return json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#);
        }
        let version = env!("CARGO_PKG_VERSION");
        let body = format!(r#"{{"status":"ok","version":"{version}"}}"#);
        json(StatusCode::OK, &body)
    }

    fn show_metrics(&self, head: &Parts, origin: Origin) -> Reply {
        if !is_ours_alone(head, origin) && !self.0.settings.metrics_for_anyone {
            return text(
                StatusCode::FORBIDDEN,
                "metrics are for this machine only, unless the configuration opens them",
            );
        }
        let mut out = self.0.metrics.text();
        for measures in &self.0.settings.measures {
            measures.write(&mut out);
        }
        page(StatusCode::OK, "text/plain; version=0.0.4", out)
    }

    async fn reset(&self, head: &Parts, origin: Origin) -> Reply {
        let Some(reset) = &self.0.settings.reset else {
            return text(StatusCode::NOT_FOUND, "there is no reset outside dev mode");
        };
        if !is_ours_alone(head, origin) || is_from_a_web_page(&head.headers) {
            return text(
                StatusCode::FORBIDDEN,
                "only a program on this machine may reset, not a function and not a web page",
            );
        }
        match reset.reset().await {
            Ok(()) => json(StatusCode::OK, r#"{"status":"ok"}"#),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, &why),
        }
    }
}

/// Whether a program on this machine asks for itself, and is not a proxy that asks for someone else.
fn is_ours_alone(head: &Parts, origin: Origin) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "via"];
    origin.is_local()
        && !forwarded
            .iter()
            .any(|name| head.headers.contains_key(*name))
}

/// Whether a browser sends this on behalf of some page. Any page in the world can make a developer's browser
/// send requests to a loopback port, and dev mode's keys are known to all.
pub(crate) fn is_from_a_web_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let foreign_site = text("sec-fetch-site").is_some_and(|site| site != "none");
    let rebound = text("host").is_some_and(|host| !is_local_name(host));
    headers.contains_key("origin") || foreign_site || rebound
}

/// Whether a `Host` header is one that a stranger cannot have registered. Another name means that someone's
/// DNS points a page of theirs here.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // The last one is the public name of 127.0.0.1 that people coming from LocalStack have in their settings.
    let known = ["localhost", "localhost.localstack.cloud"];
    let below = |known: &str| {
        name.strip_suffix(known)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.parse::<IpAddr>().is_ok() || !name.contains('.') || known.into_iter().any(below)
}

fn text(status: StatusCode, line: &str) -> Reply {
    page(status, "text/plain", format!("{line}\n"))
}

fn json(status: StatusCode, body: &str) -> Reply {
    page(status, "application/json", format!("{body}\n"))
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    whole(status, content_type, Bytes::from(body))
}

fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Reply::new(Body::Whole(body));
    *reply.status_mut() = status;
    let value = http::HeaderValue::from_static(content_type);
    reply
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, value);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_pages_are_told_from_programs() {
        let check = |headers: &[(&'static str, &'static str)], expected: bool| {
            let map = headers
                .iter()
                .map(|(name, value)| {
                    let name = http::HeaderName::from_static(name);
                    (name, http::HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(is_from_a_web_page(&map), expected, "{headers:?}");
        };
        check(&[("host", "localhost:4566")], false);
        check(&[("host", "127.0.0.1:4566")], false);
        check(&[("host", "[::1]:4566")], false);
        check(&[("host", "stream-localhost:4566")], false);
        check(
            &[
                ("host", "localhost:4566"),
                ("origin", "http://evil.example"),
            ],
            true,
        );
        check(&[("host", "localhost:4566"), ("origin", "null")], true);
        check(
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
            true,
        );
        check(&[("host", "localhost"), ("sec-fetch-site", "none")], false);
        check(&[("host", "mayfly:4566")], false);
        check(&[("host", "sqs.localhost")], false);
        check(&[("host", "sqs.localhost.localstack.cloud:4566")], false);
        check(&[("host", "rebound.example:4566")], true);
        check(&[("host", "evillocalhost.localstack.cloud.example")], true);
    }
}
