//! What the parser takes and what it refuses, with AWS's sentences.

use identity::policy::{DOCUMENT_BYTES_MAX, Flavour, Policy, size_without_white_space};

const GRAMMAR: &str = "reference_policies_grammar";
const VERSION: &str = "reference_policies_elements_version";
const SID: &str = "reference_policies_elements_sid";
const EFFECT: &str = "reference_policies_elements_effect";
const PRINCIPAL: &str = "reference_policies_elements_principal";
const ACTION: &str = "reference_policies_elements_action";
const RESOURCE: &str = "reference_policies_elements_resource";
const CONDITION: &str = "reference_policies_elements_condition_operators";
const TRUST: &str = "id_roles_update-role-trust-policy";

const SYNTAX: &str = "Syntax errors in policy.";
const LEGACY: &str = "The policy failed legacy parsing";
const OLD: &str = "Policy document must be version 2012-10-17 or greater.";
const VENDOR: &str = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
const OK: &str = "";

/// Page, flavour, document, the refusal ("" for none).
type Case = (&'static str, Flavour, &'static str, &'static str);

use Flavour::{Inline, Managed, Resource, Trust};

pub const CASES: &[Case] = &[
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::example_bucket"}}"#,
        OK,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"A1","Effect":"Deny","NotAction":["s3:*","iam:Get*"],"NotResource":["*"]}]}"#,
        OK,
    ),
    (GRAMMAR, Managed, "This is not a json document", SYNTAX),
    (GRAMMAR, Managed, "", SYNTAX),
    (GRAMMAR, Managed, "[]", SYNTAX),
    (GRAMMAR, Managed, "{}", SYNTAX),
    (GRAMMAR, Managed, r#"{"Version":"2012-10-17"}"#, SYNTAX),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":[]}"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":["x"]}"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"},"Extra":1}"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Extra":"x"}}"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}} trailing"#,
        SYNTAX,
    ),
    (
        GRAMMAR,
        Managed,
        r#"{"Version":"2012-10-17","Id":7,"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        VERSION,
        Managed,
        r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        OLD,
    ),
    (
        VERSION,
        Managed,
        r#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        OLD,
    ),
    (
        VERSION,
        Inline,
        r#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        OK,
    ),
    (
        VERSION,
        Inline,
        r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        OK,
    ),
    (
        VERSION,
        Inline,
        r#"{"Version":"2013-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        VERSION,
        Inline,
        r#"{"Version":20121017,"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        SID,
        Managed,
        r#"{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":"s3:*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#,
        "Statement IDs (SID) in a single policy must be unique.",
    ),
    (
        SID,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Sid":"a b","Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
    ),
    (
        SID,
        Managed,
        r#"{"Version":"2012-10-17","Statement":[{"Sid":"","Effect":"Allow","Action":"s3:*","Resource":"*"},{"Sid":"","Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#,
        OK,
    ),
    (
        SID,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Sid":"my-statement_1","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}"#,
        OK,
    ),
    (
        EFFECT,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        EFFECT,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"allow","Action":"s3:*","Resource":"*"}}"#,
        LEGACY,
    ),
    (
        EFFECT,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Maybe","Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*"}}"#,
        "Policy statement must contain actions.",
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":[],"Resource":"*"}}"#,
        "Policy statement must contain actions.",
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","NotAction":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:*",1],"Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"invalid","Resource":"*"}}"#,
        VENDOR,
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"","Resource":"*"}}"#,
        VENDOR,
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"a a:ListBucket","Resource":"*"}}"#,
        "Vendor a a is not valid",
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3*:ListBucket","Resource":"*"}}"#,
        "Vendor s3* is not valid",
    ),
    (
        ACTION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:List:Bucket","Resource":"*"}}"#,
        "Actions/Condition can contain only one colon.",
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*"}}"#,
        "Policy statement must contain resources.",
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":[]}}"#,
        "Policy statement must contain resources.",
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"my-bucket"}}"#,
        r#"Resource my-bucket must be in ARN format or "*"."#,
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"**"}}"#,
        r#"Resource ** must be in ARN format or "*"."#,
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:azure:s3:::example"}}"#,
        r#"Partition "azure" is not valid for resource "arn:azure:s3:::example"."#,
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws"}}"#,
        "Resource vendor must be fully qualified and cannot contain regexes.",
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3*:::b"}}"#,
        "Resource vendor must be fully qualified and cannot contain regexes.",
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam:us-east-1:111122223333:user/a"}}"#,
        "IAM resource arn:aws:iam:us-east-1:111122223333:user/a cannot contain region information.",
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::111122223333:thing/a"}}"#,
        r#"IAM resource path must either be "*" or start with user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/."#,
    ),
    (
        RESOURCE,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","NotResource":"*"}}"#,
        SYNTAX,
    ),
    (
        PRINCIPAL,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}"#,
        "Policy document should not specify a principal.",
    ),
    (
        PRINCIPAL,
        Inline,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotPrincipal":{"AWS":"*"},"Action":"s3:*","Resource":"*"}}"#,
        "Policy document should not specify a principal.",
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
        "Missing required field Principal",
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{},"Action":"s3:*","Resource":"*"}}"#,
        "Missing required field Principal",
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"alice","Action":"s3:*","Resource":"*"}}"#,
        r#"Invalid principal in policy: "alice""#,
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Users":"*"},"Action":"s3:*","Resource":"*"}}"#,
        SYNTAX,
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/al*"},"Action":"s3:*","Resource":"*"}}"#,
        r#"Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:user/al*""#,
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::*:role/app"},"Action":"s3:*","Resource":"*"}}"#,
        r#"Invalid principal in policy: "AWS":"arn:aws:iam::*:role/app""#,
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:group/dev"},"Action":"s3:*","Resource":"*"}}"#,
        r#"Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:group/dev""#,
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/app/*"},"Action":"s3:*","Resource":"*"}}"#,
        r#"Invalid principal in policy: "AWS":"arn:aws:sts::111122223333:assumed-role/app/*""#,
    ),
    (
        PRINCIPAL,
        Resource,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"*.amazonaws.com"},"Action":"s3:*","Resource":"*"}}"#,
        r#"Invalid principal in policy: "SERVICE":"*.amazonaws.com""#,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:prefix":["a",1,true]}}}}"#,
        OK,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringMatches":{"s3:prefix":"a"}}}}"#,
        SYNTAX,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"ForSomeValue:StringEquals":{"s3:prefix":"a"}}}}"#,
        SYNTAX,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NullIfExists":{"s3:prefix":"true"}}}}"#,
        SYNTAX,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"prefix":"a"}}}}"#,
        VENDOR,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:prefix":{"a":1}}}}}"#,
        SYNTAX,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:prefix":null}}}}"#,
        SYNTAX,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":[]}}"#,
        SYNTAX,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"sdfdsf"}}}}"#,
        LEGACY,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NumericEquals":{"s3:max-keys":"ten"}}}}"#,
        LEGACY,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/33"}}}}"#,
        LEGACY,
    ),
    (
        CONDITION,
        Managed,
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"flase"}}}}"#,
        LEGACY,
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#,
        OK,
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2008-10-17","Statement":[{"Sid":"","Effect":"Allow","Principal":{"AWS":"*"},"Action":["sts:AssumeRole","sts:TagSession"]}]}"#,
        OK,
    ),
    (
        TRUST,
        Trust,
        "nonsense",
        "This policy contains invalid Json",
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}"#,
        "Missing required field Principal",
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}]}"#,
        "Has prohibited field Resource",
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#,
        "Has prohibited field NotPrincipal",
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}]}"#,
        "AssumeRole policy may only specify STS AssumeRole actions.",
    ),
    (
        TRUST,
        Trust,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","NotAction":"sts:AssumeRole"}]}"#,
        "AssumeRole policy may only specify STS AssumeRole actions.",
    ),
];

#[test]
fn documents() {
    for (page, flavour, text, expected) in CASES {
        let got =
            Policy::parse(text, *flavour).map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(got, *expected, "{page}: {text}");
    }
}

#[test]
fn size_is_limited() {
    let long = format!(
        r#"{{"Version":"2012-10-17","Id":"{}"}}"#,
        "x".repeat(DOCUMENT_BYTES_MAX)
    );
    assert!(
        Policy::parse(&long, Flavour::Managed)
            .unwrap_err()
            .to_string()
            .contains("131072")
    );
    assert_eq!(size_without_white_space("{ \"a\" :\n\t1 }"), 7);
}

#[test]
fn a_policy_knows_the_keys_it_reads() {
    let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}",
        "Condition":{"StringLike":{"s3:prefix":"${aws:userid}/*"},"Bool":{"aws:SecureTransport":"true"}}}}"#;
    let policy = Policy::parse(text, Flavour::Managed).unwrap();
    let keys: Vec<&str> = policy.context_keys().into_iter().collect();
    assert_eq!(
        keys,
        [
            "aws:securetransport",
            "aws:userid",
            "aws:username",
            "s3:prefix"
        ]
    );
}
