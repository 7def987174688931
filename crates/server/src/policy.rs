//! `mayfly policy generate`: writes an IAM policy from answers, and checks it as IAM would.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use identity::policy::{Flavour, Policy};
use serde_json::{Map, Value, json};
use wire::Arn;

/// The flags of `mayfly policy generate`. Without any it asks.
#[derive(Args, Debug, Default)]
pub struct PolicyArgs {
    /// What it does: a service and an operation, such as s3:PutObject or s3:*; may be given again.
    #[arg(long, value_name = "SERVICE:OPERATION")]
    action: Vec<String>,
    /// To what: an ARN, * in it stands for anything; may be given again.
    #[arg(long, value_name = "ARN")]
    resource: Vec<String>,
    /// Who: the ARN of a role or user, an account, or a service such as s3.amazonaws.com; may be given again. With it the
    /// policy is for a resource (a bucket, a function), without it for a role or user.
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Vec<String>,
    /// Whether it allows or denies.
    #[arg(long, value_enum, default_value_t)]
    effect: Effect,
    /// Only if: an operator, a key of the request and a value, such as StringEquals:aws:SourceAccount=123456789012; may
    /// be given again.
    #[arg(long, value_name = "OPERATOR:KEY=VALUE")]
    condition: Vec<String>,
    /// The statement's name.
    #[arg(long)]
    sid: Option<String>,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Effect {
    /// Allows.
    #[default]
    Allow,
    /// Denies, whatever else allows.
    Deny,
}

/// Writes the policy to stdout.
pub fn generate(args: PolicyArgs) -> Result<ExitCode> {
    let asks = args.action.is_empty() && args.resource.is_empty();
    let args = match asks {
        true if std::io::stdin().is_terminal() => ask(args)?,
        true => bail!("say what it is about: --action SERVICE:OPERATION --resource ARN"),
        false => args,
    };
    let document = document(&args)?;
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(ExitCode::SUCCESS)
}

/// The whole policy, which IAM would take.
fn document(args: &PolicyArgs) -> Result<Value> {
    if args.action.is_empty() || args.resource.is_empty() {
        bail!("a statement needs --action and --resource");
    }
    let mut statement = Map::new();
    if let Some(sid) = &args.sid {
        statement.insert("Sid".to_owned(), json!(sid));
    }
    statement.insert("Effect".to_owned(), json!(format!("{:?}", args.effect)));
    if !args.principal.is_empty() {
        statement.insert("Principal".to_owned(), principals(&args.principal));
    }
    statement.insert("Action".to_owned(), one_or_many(&args.action));
    statement.insert("Resource".to_owned(), one_or_many(&args.resource));
    if !args.condition.is_empty() {
        statement.insert("Condition".to_owned(), conditions(&args.condition)?);
    }
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let flavour = match args.principal.is_empty() {
        true => Flavour::Inline,
        false => Flavour::Resource,
    };
    Policy::parse(&document.to_string(), flavour).context("IAM would refuse that policy")?;
    Ok(document)
}

/// One statement that allows one thing, as a policy.
pub fn allowing(principal: Option<&str>, action: &str, resource: &str) -> Value {
    let mut statement = Map::new();
    statement.insert("Effect".to_owned(), json!("Allow"));
    if let Some(principal) = principal {
        statement.insert("Principal".to_owned(), principals(&[principal.to_owned()]));
    }
    statement.insert("Action".to_owned(), json!(action));
    statement.insert("Resource".to_owned(), json!(resource));
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

fn one_or_many(values: &[String]) -> Value {
    match values {
        [only] => json!(only),
        many => json!(many),
    }
}

/// Services apart from AWS principals, as policies have them.
fn principals(names: &[String]) -> Value {
    if names.iter().any(|name| name == "*") {
        return json!("*");
    }
    let is_service =
        |name: &&String| name.ends_with(".amazonaws.com") && Arn::parse(name).is_none();
    let (services, others): (Vec<_>, Vec<_>) = names.iter().partition(is_service);
    let mut out = Map::new();
    for (kind, names) in [("AWS", others), ("Service", services)] {
        let names: Vec<String> = names.into_iter().cloned().collect();
        if !names.is_empty() {
            out.insert(kind.to_owned(), one_or_many(&names));
        }
    }
    Value::Object(out)
}

fn conditions(given: &[String]) -> Result<Value> {
    let mut out = Map::new();
    for text in given {
        let parts = text.split_once('=').and_then(|(left, value)| {
            let (operator, key) = left.split_once(':')?;
            Some((operator, key, value))
        });
        let (operator, key, value) =
            parts.with_context(|| format!("{text}: write it as OPERATOR:KEY=VALUE"))?;
        let keys = out.entry(operator).or_insert_with(|| json!({}));
        let values = keys
            .as_object_mut()
            .map(|keys| keys.entry(key).or_insert_with(|| json!([])));
        if let Some(Value::Array(values)) = values {
            values.push(json!(value));
        }
    }
    Ok(Value::Object(out))
}

/// Asks a person, on the terminal.
fn ask(given: PolicyArgs) -> Result<PolicyArgs> {
    eprintln!(
        "A policy says who may do what to which resource. Several answers are parted by blanks."
    );
    let denies = question("Allow or Deny", "Allow")?.eq_ignore_ascii_case("deny");
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    Ok(PolicyArgs {
        effect: if denies { Effect::Deny } else { Effect::Allow },
        action: words(question("Actions, such as s3:PutObject", "")?),
        resource: words(question("Resources, as ARNs (* for anything)", "*")?),
        principal: words(question(
            "Principals: the ARN of a role, an account, a service; none for a policy of a role or user",
            "",
        )?),
        condition: words(question("Conditions, as OPERATOR:KEY=VALUE", "")?),
        ..given
    })
}

fn question(text: &str, default: &str) -> Result<String> {
    match default.is_empty() {
        true => eprint!("{text}: "),
        false => eprint!("{text} [{default}]: "),
    }
    std::io::stderr().flush()?;
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer)? == 0 {
        bail!("no answer");
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn args(principal: &[&str], condition: &[&str]) -> PolicyArgs {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        PolicyArgs {
            action: owned(&["s3:PutObject"]),
            resource: owned(&["*"]),
            principal: owned(principal),
            condition: owned(condition),
            ..PolicyArgs::default()
        }
    }

    #[test]
    fn a_policy_for_a_resource_names_its_principals_by_kind() {
        let document = document(&args(
            &["123456789012", "s3.amazonaws.com"],
            &[
                "StringEquals:aws:SourceAccount=123456789012",
                "StringEquals:aws:SourceAccount=1",
            ],
        ));
        let statement = &document.unwrap()["Statement"][0];
        assert_eq!(
            statement["Principal"],
            json!({"AWS": "123456789012", "Service": "s3.amazonaws.com"})
        );
        assert_eq!(
            statement["Condition"],
            json!({"StringEquals": {"aws:SourceAccount": ["123456789012", "1"]}})
        );
    }

    #[test]
    fn what_iam_would_refuse_is_not_written() {
        assert!(document(&args(&[], &["Nonsense:a=b"])).is_err());
        assert!(document(&args(&[], &["no operator"])).is_err());
        let nothing = PolicyArgs {
            action: vec!["PutObject".to_owned()],
            ..args(&[], &[])
        };
        assert!(document(&nothing).is_err());
    }
}
