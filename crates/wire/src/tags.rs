//! Condition keys about tags, which are the same for every service
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html>).

use crate::Keys;

/// `aws:RequestTag/KEY` for each tag that a request has, and `aws:TagKeys` with all their keys.
pub fn request_tags<'t>(tags: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> Keys {
    let names = tags.clone().map(|(key, _)| key);
    let mut keys = keyed("aws:RequestTag", tags);
    keys.extend(tag_keys(names));
    keys
}

/// `aws:TagKeys`, for a request that names tags without their values.
pub fn tag_keys<'t>(names: impl Iterator<Item = &'t str>) -> Keys {
    vec![("aws:TagKeys".into(), names.map(str::to_owned).collect())]
}

/// `aws:ResourceTag/KEY` for each tag of a resource.
pub fn resource_tags<'t>(tags: impl IntoIterator<Item = (&'t String, &'t String)>) -> Keys {
    let tags = tags.into_iter();
    keyed(
        "aws:ResourceTag",
        tags.map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

fn keyed<'t>(family: &str, tags: impl Iterator<Item = (&'t str, &'t str)>) -> Keys {
    tags.map(|(key, value)| (format!("{family}/{key}").into(), vec![value.to_owned()]))
        .collect()
}
