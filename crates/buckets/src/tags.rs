//! Tags of buckets and objects, and what AWS allows of them (AmazonS3/latest/userguide/object-tagging.html).

use std::collections::BTreeMap;

use s3s::dto::{Tag, Tagging};

use crate::access::query_of;
use crate::{Error, Result};

/// The most tags of an object, and of a bucket.
pub(crate) const OBJECT_TAGS_MAX: usize = 10;
pub(crate) const BUCKET_TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Reads the header `x-amz-tagging`: `a=1&b=2`.
pub(crate) fn from_header(header: Option<&str>) -> Result<Tags> {
    checked(query_of(header.unwrap_or_default()), OBJECT_TAGS_MAX)
}

/// Reads the body of a tagging operation.
pub(crate) fn from_body(tagging: Tagging, max: usize) -> Result<Tags> {
    let pair = |tag: Tag| Some((tag.key?, tag.value?));
    let pairs: Option<Vec<_>> = tagging.tag_set.into_iter().map(pair).collect();
    checked(pairs.ok_or(Error::MalformedXml)?, max)
}

/// The same as a body.
pub(crate) fn to_body(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    tags.iter().map(tag).collect()
}

fn checked(pairs: Vec<(String, String)>, max: usize) -> Result<Tags> {
    if pairs.len() > max {
        let text = match max {
            OBJECT_TAGS_MAX => "Object tags cannot be greater than 10".to_owned(),
            max => format!("Bucket tag count cannot be greater than {max}"),
        };
        return Err(Error::BadRequest(text));
    }
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX || !legal(&key) {
            return Err(Error::InvalidTag(
                "The TagKey you have provided is invalid".to_owned(),
            ));
        }
        if key.starts_with("aws:") {
            return Err(Error::InvalidTag(
                "System tags cannot be added/updated by requester".to_owned(),
            ));
        }
        if value.chars().count() > VALUE_CHARS_MAX || !legal(&value) {
            return Err(Error::InvalidTag(
                "The TagValue you have provided is invalid".to_owned(),
            ));
        }
        if tags.insert(key, value).is_some() {
            return Err(Error::InvalidTag(
                "Cannot provide multiple Tags with the same key".to_owned(),
            ));
        }
    }
    Ok(tags)
}

fn legal(text: &str) -> bool {
    let mark = |c: char| matches!(c, '+' | '-' | '=' | '.' | '_' | ':' | '/' | '@');
    text.chars()
        .all(|c| c.is_alphanumeric() || c.is_whitespace() || mark(c))
}
