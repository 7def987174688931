//! The two spellings of time in a signature: `20150830T123600Z` and, in a plain `Date` header, RFC 1123.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// `20150830T123600Z`.
pub(super) fn basic(at: Timestamp) -> String {
    let t = TimeZone::UTC.to_datetime(at);
    let mut out = String::with_capacity(16);
    // No request is signed before the year 0.
    push_two(&mut out, t.year().max(0) / 100);
    push_two(&mut out, t.year().max(0) % 100);
    push_two(&mut out, t.month().into());
    push_two(&mut out, t.day().into());
    out.push('T');
    push_two(&mut out, t.hour().into());
    push_two(&mut out, t.minute().into());
    push_two(&mut out, t.second().into());
    out.push('Z');
    out
}

/// Two digits of a number from 0 to 99.
fn push_two(out: &mut String, number: i16) {
    let digit = |number: i16| char::from_digit(u32::from(number.unsigned_abs()) % 10, 10);
    out.extend(digit(number / 10));
    out.extend(digit(number));
}

/// Reads `20150830T123600Z`, and nothing looser.
pub(super) fn parse_basic(text: &str) -> Option<Timestamp> {
    let b = text.as_bytes();
    if b.len() != 16 || b[8] != b'T' || b[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i16> {
        let digits = &text.get(from..to)?;
        digits.bytes().all(|c| c.is_ascii_digit()).then_some(())?;
        digits.parse().ok()
    };
    let small = |from: usize| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
    let civil = DateTime::new(
        number(0, 4)?,
        small(4)?,
        small(6)?,
        small(9)?,
        small(11)?,
        small(13)?,
        0,
    )
    .ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Reads a `Date` header: either spelling.
pub(super) fn parse_date_header(text: &str) -> Option<Timestamp> {
    parse_basic(text).or_else(|| {
        let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(zoned.timestamp())
    })
}
