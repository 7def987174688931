//! What is told of a call that changed something: for the trail that CloudTrail keeps on AWS.

use std::borrow::Cow;

use crate::{AccountId, Arn, Context, Http, Node};

/// Learns of calls that changed something, or were to.
pub trait Witness: Send + Sync {
    /// Whether anyone listens to what this service does in this scope. Asked for each such call, so it must be cheap.
    fn wants(&self, cx: &Context, service: &'static str) -> bool;

    /// A call has ended. Its reply waits for this.
    fn saw(&self, call: Seen<'_>);
}

/// A call that changed something, or was to and was refused.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Who asked, where, when.
    pub cx: &'a Context,
    /// The service's name.
    pub service: &'static str,
    /// AWS's name of the operation.
    pub operation: &'static str,
    /// Its HTTP binding.
    pub http: Http,
    /// The request, without secrets.
    pub request: Node,
    /// The reply, without secrets.
    pub reply: Result<Node, Refused>,
    /// What the service tells beside it; nothing, mostly.
    pub additional: Node,
    /// What it was about, where the service tells so.
    pub resources: Vec<Touched>,
}

/// A resource that a call was about.
#[derive(Debug)]
pub struct Touched {
    /// Whose it is.
    pub account: AccountId,
    /// CloudFormation's name of its type, such as `AWS::S3::Bucket`.
    pub kind: &'static str,
    /// Its ARN.
    pub arn: Arn,
}

/// Why a call failed.
#[derive(Debug)]
pub struct Refused {
    /// AWS's code.
    pub code: Cow<'static, str>,
    /// The sentence for the user.
    pub message: String,
}

/// What a call does, as CloudTrail sorts calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changes.
    Reads,
    /// Something about the account's resources changes.
    Changes,
    /// It is use and not management of a resource, such as Invoke: a data event.
    Data,
}

/// How the names of reading operations begin.
const READING: &[&str] = &[
    "Get", "List", "Describe", "Head", "Filter", "Test", "Simulate", "Search", "Preview",
];

impl Effect {
    /// What the name of an operation says.
    pub const fn of(operation: &str) -> Effect {
        let mut index = 0;
        while index < READING.len() {
            if begins_with(operation, READING[index]) {
                return Effect::Reads;
            }
            index += 1;
        }
        Effect::Changes
    }
}

const fn begins_with(text: &str, start: &str) -> bool {
    let (text, start) = (text.as_bytes(), start.as_bytes());
    if text.len() < start.len() {
        return false;
    }
    let mut index = 0;
    while index < start.len() {
        if text[index] != start[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Members that no trail may hold, whatever operation they are of, in lower case: they are left out, as AWS does with most of
/// them. Blobs are never told either.
const SECRETS: &[&str] = &[
    "apikeyvalue",
    "authparameters",
    "clientsecret",
    "newpassword",
    "oldpassword",
    "password",
    "payload",
    "plaintext",
    "samlassertion",
    "secretaccesskey",
    "secretstring",
    "sessiontoken",
    "variables",
    "webidentitytoken",
    "zipfile",
];

impl Node {
    /// A copy that may be told: without secrets and blobs, and with names that begin in lower case, as CloudTrail has them.
    pub fn told(&self) -> Node {
        match self {
            Node::Null | Node::Bytes(_) | Node::Stream(_) => Node::Null,
            Node::Bool(value) => Node::Bool(*value),
            Node::Int(value) => Node::Int(*value),
            Node::Float(value) => Node::Float(*value),
            Node::Timestamp(millis) => Node::Timestamp(*millis),
            Node::String(text) => Node::String(text.clone()),
            Node::Text(text) => Node::Text(text.clone()),
            Node::List(items) => Node::List(items.iter().map(Node::told).collect()),
            Node::Map(members) => {
                let told = |(name, value): &(Cow<'static, str>, Node)| told_member(name, value);
                Node::Map(members.iter().filter_map(told).collect())
            }
            // Keys of a map are the user's.
            Node::Entries(entries) => {
                let told = |(key, value): &(Cow<'static, str>, Node)| (key.clone(), value.told());
                Node::Entries(entries.iter().map(told).collect())
            }
            Node::Form(members) => {
                let told = |(name, value): (&String, &Node)| told_member(name, value);
                Node::Map(members.iter().filter_map(told).collect())
            }
        }
    }
}

fn told_member(name: &str, value: &Node) -> Option<(Cow<'static, str>, Node)> {
    let lower = name.to_ascii_lowercase();
    let value = match value {
        Node::Null | Node::Bytes(_) | Node::Stream(_) => return None,
        _ if SECRETS.contains(&lower.as_str()) => return None,
        value => value.told(),
    };
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    Some((Cow::Owned(name), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_operations_do() {
        assert_eq!(Effect::of("GetFunction"), Effect::Reads);
        assert_eq!(Effect::of("ListTags"), Effect::Reads);
        assert_eq!(Effect::of("CreateFunction"), Effect::Changes);
        assert_eq!(Effect::of("Ge"), Effect::Changes);
    }

    #[test]
    fn secrets_are_not_told() {
        let node: Node = serde_json::from_str(
            r#"{"FunctionName":"f","Code":{"ZipFile":"UEs="},"Environment":{"Variables":{"KEY":"s3cret"}},
                "KMSKeyArn":"k","Credentials":{"AccessKeyId":"A","SecretAccessKey":"s3cret"},"Layers":[{"Arn":"a"}],"Password":"s3cret"}"#,
        )
        .expect("it is JSON");
        let told = serde_json::to_string(&node.told()).expect("it is JSON");
        assert_eq!(
            told,
            r#"{"functionName":"f","code":{},"environment":{},"kMSKeyArn":"k","credentials":{"accessKeyId":"A"},"layers":[{"arn":"a"}]}"#
        );
    }
}
