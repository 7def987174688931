//! Numbers as patterns compare them: exact decimals of six places within five billion. What is beyond has no order, and
//! is equal only to what is written alike (an account id, say).
//!
//! AWS: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>, numeric matching.

/// Millionths.
pub(super) type Micros = i64;

/// The largest number.
pub(super) const MAX: Micros = 5_000_000_000 * 1_000_000;

/// The smallest number.
pub(super) const MIN: Micros = -MAX;

/// Decimal places.
const PLACES: i64 = 6;

/// Why a number cannot be compared. The texts are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Incomparable {
    #[error("Only values upto 6 decimals are supported")]
    TooFine,
    #[error("Value must be between -5.0E9 and 5.0E9, inclusive")]
    TooLarge,
}

/// The value of a number's text, which is JSON's.
pub(super) fn micros(text: &str) -> Result<Micros, Incomparable> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

    let mut digits: String = [whole, fraction].concat();
    let kept = digits.trim_end_matches('0').len();
    let dropped = digits.len() - kept;
    digits.truncate(kept);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }

    // digits * 10^shift are millionths.
    let shift = exponent_of(exponent)
        .saturating_sub(length(fraction))
        .saturating_add(length_of(dropped))
        .saturating_add(PLACES);
    let shift = u32::try_from(shift).map_err(|_| match shift {
        ..0 => Incomparable::TooFine,
        _ => Incomparable::TooLarge,
    })?;
    let value = digits
        .parse::<i64>()
        .ok()
        .and_then(|digits| digits.checked_mul(10_i64.checked_pow(shift)?))
        .filter(|value| *value <= MAX)
        .ok_or(Incomparable::TooLarge)?;
    Ok(if negative { -value } else { value })
}

/// An exponent of any length; one that does not fit is as large as it gets.
fn exponent_of(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = digits.parse().unwrap_or(i64::MAX / 2);
    if negative { -magnitude } else { magnitude }
}

fn length(text: &str) -> i64 {
    length_of(text.len())
}

fn length_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (text, value) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("0e99999999999999999999", Ok(0)),
            ("1", Ok(1_000_000)),
            ("300.0", Ok(300_000_000)),
            ("3.0e2", Ok(300_000_000)),
            ("3018e-1", Ok(301_800_000)),
            ("-0.000001", Ok(-1)),
            ("0.0000001", Err(Incomparable::TooFine)),
            ("0.00000010e1", Ok(1)),
            ("5e9", Ok(MAX)),
            ("5000000000.000000", Ok(MAX)),
            ("5000000000.000001", Err(Incomparable::TooLarge)),
            ("-5000000001", Err(Incomparable::TooLarge)),
            ("1e99999999999999999999", Err(Incomparable::TooLarge)),
            ("1e-99999999999999999999", Err(Incomparable::TooFine)),
            ("123456789012", Err(Incomparable::TooLarge)),
        ] {
            assert_eq!(micros(text), value, "{text}");
        }
    }
}
