//! The values conditions compare that are not text: numbers, moments, networks.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr};

/// A decimal number of any length, compared exactly: no rounding makes two numbers equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without leading zeros.
    whole: String,
    /// Without trailing zeros.
    fraction: String,
}

impl Decimal {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits == "." || !numeric(whole) || !numeric(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self {
            negative: negative && !zero,
            whole,
            fraction,
        })
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        let length = self.whole.len().cmp(&other.whole.len());
        length
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.fraction.cmp(&other.fraction))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A moment: one of the W3C's ISO 8601 formats, or seconds since 1970
/// (`IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_Date`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(jiff::Timestamp);

impl Instant {
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Four digits are a year to the W3C; as seconds they would lie in the first hours of 1970.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let moment = if digits && text.len() != 4 {
            jiff::Timestamp::from_second(text.parse().ok()?).ok()?
        } else if text.contains('T') {
            text.parse().ok()?
        } else {
            let full = match text.len() {
                4 => format!("{text}-01-01"),
                7 => format!("{text}-01"),
                _ => text.to_owned(),
            };
            if full.len() != 10 {
                return None;
            }
            full.parse::<jiff::civil::Date>()
                .ok()?
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp()
        };
        Some(Self(moment))
    }
}

/// An address range in CIDR form; an address alone is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    /// Of the addresses as 128 bits, IPv4 mapped into IPv6: one comparison for both.
    bits: u128,
    mask: u128,
    /// `::/0` is every IPv6 address and no IPv4 one, though those are mapped below it.
    v4: bool,
}

/// How far into a mapped IPv6 address the IPv4 address begins.
const MAPPED_PREFIX: u32 = 96;

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (width, offset) = match address {
            IpAddr::V4(_) => (32, MAPPED_PREFIX),
            IpAddr::V6(_) => (128, 0),
        };
        let prefix = match prefix {
            None => width,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()?
            }
            Some(_) => return None,
        };
        if prefix > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(128 - offset - prefix).unwrap_or(0);
        Some(Self {
            bits: bits(address) & mask,
            mask,
            v4: address.is_ipv4(),
        })
    }

    pub(super) fn contains(self, address: IpAddr) -> bool {
        // A client of a dual-stack listener arrives as a mapped IPv6 address and is an IPv4 client all the same.
        let address = address.to_canonical();
        address.is_ipv4() == self.v4 && bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}
