//! `mayfly explain`: what an access-denied message says, part by part, and which policy would allow what it denied.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use wire::Arn;

use crate::policy;

/// The longest text that is searched for a denial.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The flags of `mayfly explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The message, or anything that holds it, such as a function's log line [default: standard input].
    text: Option<String>,
}

/// A denial: AWS's sentence, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Denial<'t> {
    who: &'t str,
    action: &'t str,
    resource: &'t str,
    why: Why<'t>,
}

#[derive(Debug, PartialEq, Eq)]
enum Why<'t> {
    /// No policy of this kind allows it.
    Missing(&'t str),
    /// A policy of this kind denies it.
    Denied(&'t str),
    /// The sentence does not say.
    Unsaid,
}

/// Explains the denial to the reader.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let text = match &args.text {
        Some(text) => text.clone(),
        None => {
            let mut text = String::new();
            std::io::stdin()
                .take(TEXT_BYTES_MAX)
                .read_to_string(&mut text)?;
            text
        }
    };
    let denial = Denial::find(&text).context(
        "that holds no denial; give the whole sentence: User: ... is not authorized to perform: ... on resource: ...",
    )?;
    print!("{}", denial.explained());
    Ok(ExitCode::SUCCESS)
}

impl<'t> Denial<'t> {
    /// The last denial in a text.
    fn find(text: &'t str) -> Option<Self> {
        let (before, after) = text.rsplit_once(" is not authorized to perform: ")?;
        let (_, who) = before.rsplit_once("User: ")?;
        let (action, after) = after.split_once(" on resource: ")?;
        let (resource, rest) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let end = after.find(|c: char| c.is_whitespace() || c == '"');
                after.split_at(end.unwrap_or(after.len()))
            }
        };
        let between = |from, to| {
            let (_, rest): (_, &str) = rest.split_once(from)?;
            Some(rest.split_once(to)?.0)
        };
        let denied = rest.split_once("with an explicit deny in a");
        let why = match (between("because no ", " allows the "), denied) {
            (Some(kind), _) => Why::Missing(kind),
            (None, Some((_, kind))) => {
                let kind = kind.trim_start_matches('n').trim_start();
                Why::Denied(
                    kind.split(['\n', '"', '\\'])
                        .next()
                        .unwrap_or(kind)
                        .trim_end(),
                )
            }
            (None, None) => Why::Unsaid,
        };
        Some(Denial {
            who,
            action,
            resource,
            why,
        })
    }

    fn explained(&self) -> String {
        let Denial {
            who,
            action,
            resource,
            why,
        } = self;
        let said = match why {
            Why::Missing(kind) => format!("no {kind} allows it"),
            Why::Denied(kind) => {
                format!("a statement of a {kind} denies it, and a denial wins over everything")
            }
            Why::Unsaid => "the message does not say".to_owned(),
        };
        let mut out = format!(
            "who       {who}\naction    {action}\nresource  {resource}\nwhy       {said}\n\n"
        );
        out += &match why {
            Why::Denied(kind) => format!(
                "Nothing that is added helps. Look for the statement with \"Effect\": \"Deny\" in the {kind}, and narrow it.\n"
            ),
            Why::Missing("permissions boundary") => format!(
                "The permissions boundary is the most that {who} may ever have. It has to allow the action too:\n{}",
                shown(&policy::allowing(None, action, resource))
            ),
            Why::Missing("session policy") => format!(
                "The policy that was handed to STS with the session is the most that the session may do. It has to allow \
                 the action too:\n{}",
                shown(&policy::allowing(None, action, resource))
            ),
            _ => self.remedies(),
        };
        out
    }

    /// Either policy is enough within one account.
    fn remedies(&self) -> String {
        let who = Who::of(self.who);
        let mut out = match &who.holder {
            Some((kind, name)) => format!(
                "A policy on the {kind} allows it (aws iam put-{kind}-policy --{kind}-name {name} --policy-name NAME \
                 --policy-document ...):\n"
            ),
            None => "A policy on whoever asked allows it:\n".to_owned(),
        };
        out += &shown(&policy::allowing(None, self.action, self.resource));
        if let Some(how) = self.resource_policy() {
            out += &format!("\nOr a policy on the resource ({how}):\n");
            let principal = Some(who.principal.as_str());
            out += &shown(&policy::allowing(principal, self.action, self.resource));
        }
        out
    }

    /// How a policy comes to this kind of resource; none for those that have none.
    fn resource_policy(&self) -> Option<String> {
        let arn = Arn::parse(self.resource)?;
        let (service, resource) = (arn.service(), arn.resource());
        match service {
            "s3" => {
                let bucket = resource.split('/').next().unwrap_or(resource);
                Some(format!(
                    "aws s3api put-bucket-policy --bucket {bucket} --policy ..."
                ))
            }
            "lambda" => Some("aws lambda add-permission writes the statement".to_owned()),
            "events" => Some("aws events put-permission --policy ...".to_owned()),
            "sqs" | "sns" | "kms" | "secretsmanager" | "logs" => {
                Some(format!("{service} keeps one for it"))
            }
            _ => None,
        }
    }
}

fn shown(policy: &Value) -> String {
    // Values of our own making always can be written.
    format!("{policy:#}\n")
}

/// A caller, as policies know it.
struct Who {
    /// What has policies of its own, a role or a user, and its name.
    holder: Option<(&'static str, String)>,
    /// How the policy of a resource names it: a role and not its session.
    principal: String,
}

impl Who {
    fn of(name: &str) -> Self {
        let mut who = Who {
            holder: None,
            principal: name.to_owned(),
        };
        let Some(arn) = Arn::parse(name) else {
            return who;
        };
        let parts: Vec<&str> = arn.resource().split('/').collect();
        who.holder = match parts.as_slice() {
            ["assumed-role", role, _session] => {
                if let Some(account) = wire::AccountId::new(arn.account()) {
                    who.principal = Arn::role(&account, "/", role).to_string();
                }
                Some(("role", (*role).to_owned()))
            }
            ["role", .., role] => Some(("role", (*role).to_owned())),
            ["user", .., user] => Some(("user", (*user).to_owned())),
            _ => None,
        };
        who
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn role_session() -> String {
        let account = wire::AccountId::new("123456789012").unwrap();
        Arn::assumed_role(&account, "alarm", "alarm").to_string()
    }

    #[test]
    fn a_denial_is_found_in_the_log_line_of_a_function() {
        let who = role_session();
        let line = format!(
            "[ERROR] ClientError: An error occurred (AccessDenied) when calling the PutObject operation: User: {who} is \
             not authorized to perform: s3:PutObject on resource: \"x:b/alarm.txt\" because no identity-based policy \
             allows the s3:PutObject action\nTraceback"
        );
        let denial = Denial::find(&line).unwrap();
        assert_eq!((denial.who, denial.action), (who.as_str(), "s3:PutObject"));
        assert_eq!(denial.resource, "x:b/alarm.txt");
        assert_eq!(denial.why, Why::Missing("identity-based policy"));
        let said = denial.explained();
        assert!(
            said.contains("put-role-policy --role-name alarm "),
            "{said}"
        );
    }

    #[test]
    fn a_deny_is_not_answered_with_another_allow() {
        let text = "User: u is not authorized to perform: s3:PutObject on resource: r with an explicit deny in a \
                    resource-based policy";
        let denial = Denial::find(text).unwrap();
        assert_eq!(denial.why, Why::Denied("resource-based policy"));
        assert!(!denial.explained().contains("Allow"));
        let text = text.replace("in a resource", "in an identity");
        assert_eq!(
            Denial::find(&text).unwrap().why,
            Why::Denied("identity-based policy")
        );
    }

    #[test]
    fn other_texts_hold_none() {
        assert_eq!(Denial::find("Access Denied"), None);
    }
}
