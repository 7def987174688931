//! Names of functions, versions, aliases and layers, as requests spell them.

use std::sync::LazyLock;

use wire::{AccountId, Arn, Decoder, Node, Regex, Region, Schema, Scope, Shape, text};

use crate::error::Error;

/// What `$LATEST` is called.
pub(crate) const LATEST: &str = "$LATEST";
/// Longest name of a function, without account and region.
const NAME_LENGTH_MAX: usize = 64;
/// Longest spelling of a function in a request.
const REFERENCE_LENGTH_MAX: usize = 256;
/// AWS's pattern, quoted in errors.
const PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";

text! {
    /// A version or an alias in a request.
    pub struct Qualifier: 1..=128, r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

    /// An alias's name. AWS's pattern refuses names of digits alone by looking ahead, which [`AliasName`] does otherwise.
    pub(crate) struct AliasWord: 1..=128, "[a-zA-Z0-9-_]+";
}

/// A function as a request spells it: name, `name:qualifier`, partial ARN or ARN
/// (<https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestParameters>).
#[derive(Debug, Clone)]
pub struct FunctionRef {
    account: Option<AccountId>,
    region: Option<Region>,
    name: String,
    qualifier: Option<String>,
}

impl FunctionRef {
    /// Reads any of the spellings.
    pub fn parse(text: &str) -> Option<Self> {
        if is_bare(text) {
            return Some(Self {
                account: None,
                region: None,
                name: text.to_owned(),
                qualifier: None,
            });
        }
        static FORM: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(
                r"^(?:arn:[a-zA-Z-]+:lambda:)?(?:([a-z]{2,}-[a-z0-9-]+-\d+):)?(?:(\d{12}):)?(?:function:)?([a-zA-Z0-9_-]+)(?::(\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9_-]+))?$",
            )
            .expect("the pattern is a constant, compiled by a test")
        });
        let parts = FORM.captures(text)?;
        let part = |index| parts.get(index).map(|found| found.as_str());
        let region = match part(1) {
            None => None,
            Some(region) => Some(Region::new(region)?),
        };
        Some(Self {
            account: part(2).and_then(AccountId::new),
            region,
            name: part(3)?.to_owned(),
            qualifier: part(4).map(str::to_owned),
        })
    }

    /// The bare name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The qualifier within the name.
    pub fn own_qualifier(&self) -> Option<&str> {
        self.qualifier.as_deref()
    }

    /// Where the function is: in the account its ARN names, else the caller's.
    pub fn scope(&self, caller: &Scope) -> Scope {
        Scope {
            account: self.account.unwrap_or(caller.account),
            region: self.region.clone().unwrap_or_else(|| caller.region.clone()),
        }
    }

    /// The function's ARN.
    pub fn arn(&self, caller: &Scope) -> Arn {
        Arn::function(&self.scope(caller), &self.name, None)
    }

    /// The ARN of what is named, with the qualifier given in either place.
    pub fn qualified_arn(&self, caller: &Scope, qualifier: Option<&Qualifier>) -> Arn {
        let qualifier = self.own_qualifier().or(qualifier.map(Qualifier::as_str));
        Arn::function(&self.scope(caller), &self.name, qualifier)
    }

    /// The scope, if it can be reached from the caller's region and the name can be one.
    pub(crate) fn reach(&self, caller: &Scope) -> Result<Scope, Error> {
        if let Some(region) = self.region.as_ref().filter(|r| **r != caller.region) {
            return Err(Error::OtherRegion {
                wanted: region.clone(),
                here: caller.region.clone(),
            });
        }
        if self.name.len() > NAME_LENGTH_MAX {
            return Err(Error::NameTooLong(self.name.clone()));
        }
        Ok(self.scope(caller))
    }

    /// The qualifier, from the name or beside it. Two that differ are refused.
    pub(crate) fn qualifier(&self, beside: Option<&Qualifier>) -> Result<Option<String>, Error> {
        match (&self.qualifier, beside) {
            (Some(own), Some(beside)) if own != beside.as_str() => Err(Error::QualifiersDiffer),
            (Some(own), _) => Ok(Some(own.clone())),
            (None, beside) => Ok(beside.map(|q| q.as_str().to_owned())),
        }
    }
}

impl Shape for FunctionRef {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let text = at.string(node)?;
        if text.len() > REFERENCE_LENGTH_MAX {
            at.violation(
                &text,
                &format!("Member must have length less than or equal to {REFERENCE_LENGTH_MAX}"),
            );
            return None;
        }
        let parsed = Self::parse(&text);
        if parsed.is_none() {
            at.violation(
                &text,
                &format!("Member must satisfy regular expression pattern: {PATTERN}"),
            );
        }
        parsed
    }
    /// Only requests hold these.
    fn encode(self) -> Node {
        Node::from(self.name)
    }
    fn schema() -> Schema {
        Schema::String
    }
}

/// An alias's name: letters, digits, dashes and underscores, not digits alone.
#[derive(Debug, Clone)]
pub struct AliasName(String);

impl AliasName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Shape for AliasName {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        const PATTERN: &str =
            "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)";
        let text = at.string(node)?.into_owned();
        let mut broken = match AliasWord::new(text.clone()) {
            Ok(_) => Vec::new(),
            Err(broken) => broken,
        };
        for constraint in &mut broken {
            if constraint.contains("pattern") {
                PATTERN.clone_into(constraint);
            }
        }
        if broken.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            broken.push(PATTERN.to_owned());
        }
        for constraint in &broken {
            at.violation(&text, constraint);
        }
        broken.is_empty().then_some(Self(text))
    }
    fn encode(self) -> Node {
        Node::from(self.0)
    }
    fn schema() -> Schema {
        Schema::String
    }
}

/// A layer as a request spells it: name or ARN.
#[derive(Debug, Clone)]
pub struct LayerRef {
    scope: Option<Scope>,
    name: String,
}

/// Longest name of a layer.
const LAYER_NAME_LENGTH_MAX: usize = 140;
/// AWS's pattern, quoted in errors.
const LAYER_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})";

impl LayerRef {
    fn parse(text: &str) -> Option<Self> {
        let Some(arn) = Arn::parse(text) else {
            return is_layer_name(text).then(|| Self {
                scope: None,
                name: text.to_owned(),
            });
        };
        let name = arn.resource().strip_prefix("layer:")?;
        is_layer_name(name).then_some(())?;
        Some(Self {
            scope: Some(scope_of(&arn)?),
            name: name.to_owned(),
        })
    }

    /// The bare name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the layer is.
    pub fn scope(&self, caller: &Scope) -> Scope {
        self.scope.clone().unwrap_or_else(|| caller.clone())
    }

    /// The layer's ARN, or a version's.
    pub fn arn(&self, caller: &Scope, version: Option<i64>) -> Arn {
        Arn::layer(&self.scope(caller), &self.name, version)
    }
}

impl Shape for LayerRef {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let text = at.string(node)?;
        let parsed = Self::parse(&text);
        if parsed.is_none() {
            at.violation(
                &text,
                &format!("Member must satisfy regular expression pattern: {LAYER_PATTERN}"),
            );
        }
        parsed
    }
    /// Only requests hold these.
    fn encode(self) -> Node {
        Node::from(self.name)
    }
    fn schema() -> Schema {
        Schema::String
    }
}

fn is_layer_name(text: &str) -> bool {
    text.len() <= LAYER_NAME_LENGTH_MAX && is_bare(text)
}

/// Whether the text may be the name of a function or layer and nothing else.
fn is_bare(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !text.is_empty() && text.bytes().all(legal)
}

pub(crate) fn scope_of(arn: &Arn) -> Option<Scope> {
    if arn.service() != "lambda" {
        return None;
    }
    Some(Scope {
        account: AccountId::new(arn.account())?,
        region: Region::new(arn.region())?,
    })
}

/// A version of a layer, by its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerVersionRef {
    /// Where the layer is.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// The version's number.
    pub version: i64,
}

/// AWS's pattern, quoted in errors.
pub(crate) const LAYER_VERSION_PATTERN: &str = r"((arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))";

impl LayerVersionRef {
    /// Reads the ARN of a layer version.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(&Arn::parse(text)?)
    }

    /// The layer version that an ARN names, if it names one.
    pub(crate) fn of(arn: &Arn) -> Option<Self> {
        let (name, version) = arn.resource().strip_prefix("layer:")?.split_once(':')?;
        is_layer_name(name).then_some(())?;
        version.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        Some(Self {
            scope: scope_of(arn)?,
            name: name.to_owned(),
            version: version.parse().ok()?,
        })
    }

    /// The ARN.
    pub fn arn(&self) -> Arn {
        Arn::layer(&self.scope, &self.name, Some(self.version))
    }
}

impl Shape for LayerVersionRef {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let text = at.string(node)?;
        let parsed = Self::parse(&text);
        if parsed.is_none() {
            at.violation(
                &text,
                &format!("Member must satisfy regular expression pattern: {LAYER_VERSION_PATTERN}"),
            );
        }
        parsed
    }
    fn encode(self) -> Node {
        Node::from(self.arn().as_str().to_owned())
    }
    fn schema() -> Schema {
        Schema::String
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str, &str, &str)>) {
        let found = FunctionRef::parse(text);
        let found = found.as_ref().map(|f| {
            (
                f.region.as_deref().unwrap_or(""),
                f.account.as_deref().unwrap_or(""),
                f.name.as_str(),
                f.qualifier.as_deref().unwrap_or(""),
            )
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn functions() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:hello";
        check("hello", Some(("", "", "hello", "")));
        check("hello:prod", Some(("", "", "hello", "prod")));
        check("hello:$LATEST", Some(("", "", "hello", "$LATEST")));
        check("function:hello", Some(("", "", "hello", "")));
        check(
            "123456789012:function:hello:1",
            Some(("", "123456789012", "hello", "1")),
        );
        check(
            "123456789012:hello",
            Some(("", "123456789012", "hello", "")),
        );
        check(arn, Some(("eu-west-1", "123456789012", "hello", "")));
        check(
            &format!("{arn}:prod"),
            Some(("eu-west-1", "123456789012", "hello", "prod")),
        );
        check("", None);
        check("hello world", None);
        check("hello:$OLDEST", None);
        check("arn:aws:s3:::bucket", None);
        check(&format!("{arn}:a:b"), None);
    }

    #[test]
    fn layers() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:layer:base";
        assert_eq!(LayerRef::parse("base").unwrap().name(), "base");
        assert_eq!(LayerRef::parse(arn).unwrap().name(), "base");
        assert!(LayerRef::parse("base!").is_none());
        assert!(LayerRef::parse(&format!("{arn}:1")).is_none());
        let version = LayerVersionRef::parse(&format!("{arn}:7")).unwrap();
        assert_eq!((version.name.as_str(), version.version), ("base", 7));
        assert!(LayerVersionRef::parse(arn).is_none());
        assert!(LayerVersionRef::parse(&format!("{arn}:+7")).is_none());
    }

    #[test]
    fn patterns_compile() {
        assert!(Qualifier::new("$LATEST").is_ok());
        assert!(AliasWord::new("prod").is_ok());
    }
}
