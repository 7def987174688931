//! Who asks, and whom a policy names.

use super::{Effect, PolicyError};

/// Who makes a request, as the evaluator sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The root user of an account.
    Root {
        /// Its twelve digits.
        account: String,
    },
    /// An IAM user, with their own keys or a `GetSessionToken` session.
    User {
        /// The account the user lives in.
        account: String,
        /// The user's ARN.
        arn: String,
    },
    /// A session of a role.
    Session {
        /// The account the role lives in.
        account: String,
        /// The ARN of the role.
        role: String,
        /// The ARN of this session.
        arn: String,
    },
    /// A `GetFederationToken` session of a user.
    Federated {
        /// The account of the user who asked for the session.
        account: String,
        /// The ARN of that user.
        user: String,
        /// The ARN of this session.
        arn: String,
    },
    /// An AWS service acting on its own, such as `events.amazonaws.com`.
    Service {
        /// The service's principal name.
        name: String,
    },
    /// A user of another identity provider who has no AWS credentials yet.
    Web {
        /// The provider as policies name it under `Federated`.
        provider: String,
    },
    /// Nobody in particular: the request is not signed.
    Anonymous,
}

impl Principal {
    /// The account whose identity-based policies speak for this principal.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Root { account }
            | Self::User { account, .. }
            | Self::Session { account, .. }
            | Self::Federated { account, .. } => Some(account),
            Self::Service { .. } | Self::Web { .. } | Self::Anonymous => None,
        }
    }
}

/// How directly a resource-based policy names who asks. Ordered: more direct is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grant {
    /// Through the account, which delegates to its own administrators: identity-based policies decide within it.
    Account,
    /// Through the role (or the federating user) behind a session: boundaries and session policies still limit it.
    Role,
    /// In person, or as "everyone": no boundary and no session policy limits it.
    Direct,
}

/// One entry of a `Principal` element.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// `"*"`, with or without `AWS` before it: services and unsigned requests too.
    Everyone,
    /// `{"Service": "*"}`.
    AllServices,
    Account(String),
    Arn(String),
    Service(String),
    Federated(String),
    /// A canonical user or a unique id: valid, but nobody here carries one.
    Unknown,
}

/// A compiled `Principal` or `NotPrincipal`.
#[derive(Debug, Clone)]
pub(super) struct Principals {
    entries: Vec<Entry>,
    not: bool,
}

/// The kinds of the `Principal` element, as AWS spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Aws,
    Service,
    Federated,
    CanonicalUser,
}

impl Kind {
    pub(super) fn parse(name: &str) -> Result<Self, PolicyError> {
        match name {
            "AWS" => Ok(Self::Aws),
            "Service" => Ok(Self::Service),
            "Federated" => Ok(Self::Federated),
            "CanonicalUser" => Ok(Self::CanonicalUser),
            _ => Err(PolicyError::Syntax),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Service => "SERVICE",
            Self::Federated => "FEDERATED",
            Self::CanonicalUser => "CANONICALUSER",
        }
    }
}

impl Principals {
    /// `"Principal": "*"`, the only plain text allowed there.
    pub(super) fn everyone(not: bool) -> Self {
        Self {
            entries: vec![Entry::Everyone],
            not,
        }
    }

    pub(super) fn parse(named: &[(Kind, String)], not: bool) -> Result<Self, PolicyError> {
        if named.is_empty() {
            return Err(PolicyError::MissingPrincipal);
        }
        let entries = named
            .iter()
            .map(|(kind, text)| entry(*kind, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries, not })
    }

    /// How the element applies to who asks, if it does.
    pub(super) fn grant(&self, who: &Principal, effect: Effect) -> Option<Grant> {
        if !self.not {
            return self
                .entries
                .iter()
                .filter_map(|entry| entry.grant(who))
                .max();
        }
        let faces = faces(who);
        let excepted = |face: &Principal| self.entries.iter().any(|entry| entry.names(face));
        let applies = match effect {
            // "You must also specify the account ARN of the not-denied principal": a session, its role and its account are
            // each denied unless listed (IAM/latest/UserGuide/reference_policies_elements_notprincipal.html).
            Effect::Deny => !faces.iter().all(excepted),
            Effect::Allow => !faces.iter().any(excepted),
        };
        applies.then_some(Grant::Direct)
    }

    /// Whether it means everyone, or everyone but a few.
    pub(super) fn is_everyone(&self) -> bool {
        self.not || self.entries.contains(&Entry::Everyone)
    }

    /// The ARNs named, for callers that check that they exist.
    pub(super) fn arns(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Arn(arn) => Some(arn.as_str()),
            _ => None,
        })
    }
}

/// Everything who asks counts as for `NotPrincipal`: the session, the role behind it, and the account.
fn faces(who: &Principal) -> Vec<Principal> {
    let mut faces = vec![who.clone()];
    match who {
        Principal::Session {
            account, role: arn, ..
        }
        | Principal::Federated {
            account, user: arn, ..
        } => {
            faces.push(Principal::User {
                account: account.clone(),
                arn: arn.clone(),
            });
            faces.push(Principal::Root {
                account: account.clone(),
            });
        }
        Principal::User { account, .. } => faces.push(Principal::Root {
            account: account.clone(),
        }),
        Principal::Root { .. }
        | Principal::Service { .. }
        | Principal::Web { .. }
        | Principal::Anonymous => {}
    }
    faces
}

impl Entry {
    fn grant(&self, who: &Principal) -> Option<Grant> {
        match (self, who) {
            (Self::Everyone, _) | (Self::AllServices, Principal::Service { .. }) => {
                Some(Grant::Direct)
            }
            (Self::Account(own), Principal::Root { account }) => {
                (own == account).then_some(Grant::Direct)
            }
            (Self::Account(own), _) => {
                (Some(own.as_str()) == who.account()).then_some(Grant::Account)
            }
            (Self::Arn(own), Principal::User { arn, .. }) => (own == arn).then_some(Grant::Direct),
            (
                Self::Arn(own),
                Principal::Session {
                    arn, role: base, ..
                }
                | Principal::Federated {
                    arn, user: base, ..
                },
            ) => {
                if own == arn {
                    Some(Grant::Direct)
                } else {
                    (own == base).then_some(Grant::Role)
                }
            }
            (Self::Service(own), Principal::Service { name }) => {
                (own == name).then_some(Grant::Direct)
            }
            (Self::Federated(own), Principal::Web { provider }) => {
                (own == provider).then_some(Grant::Direct)
            }
            _ => None,
        }
    }

    /// Whether the entry is exactly this one face.
    fn names(&self, face: &Principal) -> bool {
        self.grant(face) == Some(Grant::Direct)
    }
}

fn entry(kind: Kind, text: &str) -> Result<Entry, PolicyError> {
    let invalid = || PolicyError::InvalidPrincipal(format!("\"{}\":\"{text}\"", kind.name()));
    match kind {
        Kind::Aws if text == "*" => Ok(Entry::Everyone),
        Kind::Aws => aws(text).ok_or_else(invalid),
        Kind::Service if text == "*" => Ok(Entry::AllServices),
        Kind::Service if is_service(text) => Ok(Entry::Service(text.to_owned())),
        Kind::Federated if !text.is_empty() && !text.contains(['*', '?']) => {
            Ok(Entry::Federated(text.to_owned()))
        }
        Kind::CanonicalUser
            if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Ok(Entry::Unknown)
        }
        Kind::Service | Kind::Federated | Kind::CanonicalUser => Err(invalid()),
    }
}

/// An account, a user, a role or a session. No wildcards within: "you cannot use a wildcard to match part of a principal name
/// or ARN" (`IAM/latest/UserGuide/reference_policies_elements_principal.html`).
fn aws(text: &str) -> Option<Entry> {
    if is_account(text) {
        return Some(Entry::Account(text.to_owned()));
    }
    if is_unique_id(text) {
        return Some(Entry::Unknown);
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, "", account, resource] = parts.as_slice() else {
        return None;
    };
    if !is_partition(partition) || !is_account(account) || resource.contains(['*', '?']) {
        return None;
    }
    let named = |prefix: &str, slashes: usize| {
        resource.strip_prefix(prefix).is_some_and(|name| {
            name.matches('/').count() >= slashes && name.split('/').all(|part| !part.is_empty())
        })
    };
    let valid = match *service {
        "iam" if *resource == "root" => return Some(Entry::Account((*account).to_owned())),
        "iam" => named("user/", 0) || named("role/", 0),
        "sts" => named("assumed-role/", 1) || named("federated-user/", 0),
        _ => false,
    };
    valid.then(|| Entry::Arn(text.to_owned()))
}

pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_partition(text: &str) -> bool {
    text.strip_prefix("aws").is_some_and(|rest| {
        rest.bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
    })
}

/// What AWS shows in place of a user or role that was deleted
/// (`IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids`).
fn is_unique_id(text: &str) -> bool {
    (16..=128).contains(&text.len())
        && (text.starts_with("AIDA") || text.starts_with("AROA"))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn is_service(text: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.contains('.') && text.split('.').all(label)
}
