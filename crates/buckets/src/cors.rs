//! Cross-origin requests: which web pages may ask, and read the answers
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html>).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use s3s::S3Request;
use s3s::dto::{
    CORSRule, DeleteBucketCorsInput, DeleteBucketCorsOutput, GetBucketCorsInput,
    GetBucketCorsOutput, PutBucketCorsInput, PutBucketCorsOutput,
};
use serde::{Deserialize, Serialize};
use wire::{Body, Reply};

use crate::record::Bucket;
use crate::{Buckets, Error, Result};

/// The most rules of a bucket.
const RULES_MAX: usize = 100;
/// Methods that a rule may name.
const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "HEAD"];

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CorsRule {
    pub id: Option<String>,
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub exposed: Vec<String>,
    pub max_age_s: Option<i32>,
}

impl CorsRule {
    fn origin(&self, origin: &str) -> Option<&str> {
        self.origins
            .iter()
            .find(|own| matches(own, origin))
            .map(String::as_str)
    }

    fn allows(&self, origin: &str, method: &str) -> bool {
        self.origin(origin).is_some() && self.methods.iter().any(|own| own == method)
    }

    fn allows_header(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|own| matches(&own.to_ascii_lowercase(), &name.to_ascii_lowercase()))
    }
}

/// A pattern has one `*` at most.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a page of this origin may send this method.
pub(crate) fn lets_in(bucket: &Bucket, origin: &str, method: &Method) -> bool {
    bucket
        .cors
        .iter()
        .any(|rule| rule.allows(origin, method.as_str()))
}

/// The answer to a browser that asks before it sends.
pub(crate) fn preflight(
    bucket: Option<&Bucket>,
    headers: &HeaderMap,
) -> std::result::Result<Reply, wire::Error> {
    let denied = |text: &str| Err(wire::Error::new("AccessForbidden", 403, text));
    let (Some(origin), Some(method)) = (
        text(headers, "origin"),
        text(headers, "access-control-request-method"),
    ) else {
        let text = "Insufficient information. Origin request header needed.";
        return Err(wire::Error::new("BadRequest", 400, text));
    };
    let rules = bucket
        .map(|bucket| bucket.cors.as_slice())
        .unwrap_or_default();
    if rules.is_empty() {
        return denied("CORSResponse: CORS is not enabled for this bucket.");
    }
    let wanted: Vec<&str> = text(headers, "access-control-request-headers")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let fits = |rule: &&CorsRule| {
        rule.allows(origin, method) && wanted.iter().all(|name| rule.allows_header(name))
    };
    let Some(rule) = rules.iter().find(fits) else {
        return denied(
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        );
    };
    let mut reply = Reply::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = StatusCode::OK;
    put_common(reply.headers_mut(), rule, origin);
    if !wanted.is_empty() {
        put(
            reply.headers_mut(),
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            &wanted.join(", ").to_ascii_lowercase(),
        );
    }
    Ok(reply)
}

/// Lets a page read an answer.
pub(crate) fn dress(reply: &mut Reply, bucket: &Bucket, origin: &str, method: &Method) {
    if let Some(rule) = bucket
        .cors
        .iter()
        .find(|rule| rule.allows(origin, method.as_str()))
    {
        put_common(reply.headers_mut(), rule, origin);
    }
}

fn put_common(headers: &mut HeaderMap, rule: &CorsRule, origin: &str) {
    let everyone = rule.origin(origin) == Some("*");
    put(
        headers,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        if everyone { "*" } else { origin },
    );
    put(
        headers,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        &rule.methods.join(", "),
    );
    if !everyone {
        put(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    }
    if !rule.exposed.is_empty() {
        put(
            headers,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            &rule.exposed.join(", "),
        );
    }
    if let Some(seconds) = rule.max_age_s {
        put(
            headers,
            header::ACCESS_CONTROL_MAX_AGE,
            &seconds.to_string(),
        );
    }
    put(
        headers,
        header::VARY,
        "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    );
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

impl Buckets {
    pub(crate) async fn put_bucket_cors(
        &self,
        request: S3Request<PutBucketCorsInput>,
    ) -> Result<PutBucketCorsOutput> {
        let rules = request.input.cors_configuration.cors_rules;
        if rules.is_empty() || rules.len() > RULES_MAX {
            return Err(Error::MalformedXml);
        }
        let rules: Vec<CorsRule> = rules.into_iter().map(rule).collect::<Result<_>>()?;
        self.set_cors(&request.input.bucket, rules).await?;
        Ok(PutBucketCorsOutput::default())
    }

    pub(crate) async fn get_bucket_cors(
        &self,
        request: S3Request<GetBucketCorsInput>,
    ) -> Result<GetBucketCorsOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        match bucket.cors.is_empty() {
            true => Err(Error::NoSuchCorsConfiguration),
            false => Ok(GetBucketCorsOutput {
                cors_rules: Some(bucket.cors.iter().map(shown).collect()),
            }),
        }
    }

    pub(crate) async fn delete_bucket_cors(
        &self,
        request: S3Request<DeleteBucketCorsInput>,
    ) -> Result<DeleteBucketCorsOutput> {
        self.set_cors(&request.input.bucket, Vec::new()).await?;
        Ok(DeleteBucketCorsOutput::default())
    }

    async fn set_cors(&self, name: &str, rules: Vec<CorsRule>) -> Result<()> {
        let change = |bucket: &mut Bucket| {
            bucket.cors = rules;
            Ok(())
        };
        self.shelf().change(name, change).await
    }
}

fn rule(asked: CORSRule) -> Result<CorsRule> {
    if asked.allowed_origins.is_empty() || asked.allowed_methods.is_empty() {
        return Err(Error::MalformedXml);
    }
    if let Some(method) = asked
        .allowed_methods
        .iter()
        .find(|method| !METHODS.contains(&method.as_str()))
    {
        let text =
            format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}");
        return Err(Error::InvalidRequest(text));
    }
    if let Some(origin) = asked
        .allowed_origins
        .iter()
        .find(|origin| origin.matches('*').count() > 1)
    {
        return Err(Error::InvalidRequest(format!(
            "AllowedOrigin \"{origin}\" can not have more than one wildcard."
        )));
    }
    let headers = asked.allowed_headers.unwrap_or_default();
    if let Some(name) = headers.iter().find(|name| name.matches('*').count() > 1) {
        return Err(Error::InvalidRequest(format!(
            "AllowedHeader \"{name}\" can not have more than one wildcard."
        )));
    }
    Ok(CorsRule {
        id: asked.id,
        origins: asked.allowed_origins,
        methods: asked.allowed_methods,
        headers,
        exposed: asked.expose_headers.unwrap_or_default(),
        max_age_s: asked.max_age_seconds,
    })
}

fn shown(rule: &CorsRule) -> CORSRule {
    let list = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    CORSRule {
        id: rule.id.clone(),
        allowed_origins: rule.origins.clone(),
        allowed_methods: rule.methods.clone(),
        allowed_headers: list(&rule.headers),
        expose_headers: list(&rule.exposed),
        max_age_seconds: rule.max_age_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "http://a", true),
            ("http://*.example.com", "http://www.example.com", true),
            ("http://*.example.com", "http://example.com", false),
            ("http://a*a", "http://a", false),
            ("http://a", "http://ab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
