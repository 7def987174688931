//! The host names that AWS answers at, which say the service and the region of a request
//! (<https://docs.aws.amazon.com/general/latest/gr/rande.html>).

use http::request::Parts;

use crate::Region;

/// The domains of AWS's APIs, and of what AWS hosts for its users.
pub const AWS_DOMAINS: &[&str] = &["amazonaws.com", "amazonaws.com.cn", "api.aws", "on.aws"];

/// Longest name that DNS has.
const NAME_BYTES_MAX: usize = 253;

/// Below these the names are machines of users (databases, load balancers, instances), not APIs. They end with the service,
/// where an API's name ends with its region: `db.x.eu-west-1.rds.amazonaws.com` and `rds.eu-west-1.amazonaws.com`.
const MACHINES: &[&str] = &[
    "cache",
    "compute",
    "compute-1",
    "docdb",
    "elb",
    "memory-db",
    "neptune",
    "rds",
    "redshift",
];
/// Marks of a service's name that say nothing about which service it is.
const SUFFIXES: &[&str] = &["-fips"];
const PREFIXES: &[&str] = &["streaming-", "sync-", "data-"];

/// A host name of an AWS API, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwsHost<'a> {
    /// The service, by the name that endpoints have, which is mostly the signing name: `monitoring`.
    pub service: &'a str,
    /// The region, unless the service is global or the name an old one.
    pub region: Option<&'a str>,
    /// What stands before the service: a bucket, the id of an API.
    pub subdomain: &'a str,
}

impl<'a> AwsHost<'a> {
    /// Reads a name in lower case without its port; `None` when it is no API's of AWS.
    pub fn parse(name: &'a str) -> Option<Self> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut domains = AWS_DOMAINS.iter();
        let rest = domains.find_map(|domain| name.strip_suffix(domain)?.strip_suffix('.'))?;
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if !rest.bytes().all(legal) || rest.split('.').any(str::is_empty) {
            return None;
        }
        let (before, last) = split_last(rest);
        if is_region(last) {
            let before = before.strip_suffix(".dualstack").unwrap_or(before);
            let (subdomain, service) = split_last(before);
            let is_machine = service == "elb" && !subdomain.is_empty();
            return (!service.is_empty() && !is_machine).then(|| AwsHost {
                service: plain(service),
                region: Some(last),
                subdomain,
            });
        }
        if MACHINES.contains(&last) && !before.is_empty() {
            return None;
        }
        // S3 had a dash before its region; its websites still have it and are a service of their own.
        let dashed = last.strip_prefix("s3-");
        let dashed = dashed.filter(|rest| is_region(rest) && !rest.starts_with("website-"));
        Some(AwsHost {
            service: if dashed.is_some() { "s3" } else { plain(last) },
            region: dashed,
            subdomain: before,
        })
    }

    /// The host that a request was sent to.
    pub fn of(head: &'a Parts) -> Option<Self> {
        Self::parse(without_port(host(head)?))
    }
}

/// Whether a name, however written, is one of an AWS API.
pub fn is_aws_host(name: &str) -> bool {
    AwsHost::parse(&name.to_ascii_lowercase()).is_some()
}

fn host(head: &Parts) -> Option<&str> {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let header = head.headers.get(http::header::HOST);
    header.and_then(|host| host.to_str().ok()).or(authority)
}

fn without_port(host: &str) -> &str {
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// The last label, and what is before it.
fn split_last(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

fn is_region(label: &str) -> bool {
    // `s3-eu-west-1` has the form of a region too.
    !label.starts_with("s3-") && Region::new(label).is_some()
}

fn plain(service: &str) -> &str {
    let service = SUFFIXES
        .iter()
        .find_map(|suffix| service.strip_suffix(suffix))
        .unwrap_or(service);
    let mut prefixes = PREFIXES.iter();
    let stripped = prefixes.find_map(|prefix| service.strip_prefix(prefix));
    stripped.unwrap_or(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let found = AwsHost::parse(name).map(|host| {
            let region = host.region.unwrap_or("-");
            format!("{} {region} {}", host.service, host.subdomain)
        });
        assert_eq!(
            found.as_deref().unwrap_or("none").trim_end(),
            expected,
            "{name}"
        );
    }

    #[test]
    fn apis_are_told_from_machines() {
        check("sts.amazonaws.com", "sts -");
        check("sts.us-east-1.amazonaws.com", "sts us-east-1");
        check("lambda.eu-central-1.api.aws", "lambda eu-central-1");
        check(
            "monitoring-fips.us-gov-west-1.amazonaws.com",
            "monitoring us-gov-west-1",
        );
        check("streaming-logs.eu-west-1.amazonaws.com", "logs eu-west-1");
        check("logs.cn-north-1.amazonaws.com.cn", "logs cn-north-1");
        check("s3.amazonaws.com", "s3 -");
        check("a.b.s3.amazonaws.com", "s3 - a.b");
        check("a.s3.eu-west-1.amazonaws.com", "s3 eu-west-1 a");
        check("a.s3.dualstack.eu-west-1.amazonaws.com", "s3 eu-west-1 a");
        check("a.s3-eu-west-1.amazonaws.com", "s3 eu-west-1 a");
        check(
            "abc.execute-api.us-east-1.amazonaws.com",
            "execute-api us-east-1 abc",
        );
        check(
            "abc.lambda-url.us-east-1.on.aws",
            "lambda-url us-east-1 abc",
        );
        check("rds.eu-west-1.amazonaws.com", "rds eu-west-1");
        check("db.x.eu-west-1.rds.amazonaws.com", "none");
        check("x.eu-west-1.elb.amazonaws.com", "none");
        check("x.elb.eu-west-1.amazonaws.com", "none");
        check("ec2-1-2-3-4.compute-1.amazonaws.com", "none");
        for name in [
            "amazonaws.com",
            ".amazonaws.com",
            "us-east-1.amazonaws.com",
            "a..amazonaws.com",
            "a/b.amazonaws.com",
            "notamazonaws.com",
            "amazonaws.com.evil.example",
            "aws.amazon.com",
            "",
        ] {
            check(name, "none");
        }
        assert!(is_aws_host("STS.amazonaws.COM") && !is_aws_host("localhost"));
    }
}
