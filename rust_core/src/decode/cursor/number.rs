//! JSON numbers to the nearest double, eight digits at a time.

#![expect(clippy::inline_always, reason = "part of the loop over the members")]

/// Powers of ten up to `SAFE_DIGITS`; a double holds all of them exactly.
const EXACT_POWERS: [f64; 20] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];

/// The reciprocals of the same powers, each cut to 64 bits of which the first is set.
const RECIPROCALS: [Reciprocal; 20] = reciprocals();

/// So many digits fit a `u64`, whatever they are.
const SAFE_DIGITS: usize = 19;

/// Every integer below is a double.
const EXACT_MANTISSA: u64 = 1 << 53;

/// The number at the start of `text` and what follows it, or `None` if there is none.
#[inline(always)]
pub(super) fn read(text: &[u8]) -> Option<(f64, &[u8])> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (mut mantissa, mut rest) = digits(0, unsigned);
    let mut count = unsigned.len() - rest.len();
    if count == 0 || (count > 1 && unsigned.first() == Some(&b'0')) {
        return None;
    }
    let mut fraction_count = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        (mantissa, rest) = digits(mantissa, fraction);
        fraction_count = fraction.len() - rest.len();
        if fraction_count == 0 {
            return None;
        }
        count += fraction_count;
    }
    if count > SAFE_DIGITS || matches!(rest.first(), Some(b'e' | b'E')) {
        rest = after_exponent(rest)?;
        return Some((by_library(text, rest)?, rest));
    }
    let value = if mantissa < EXACT_MANTISSA {
        // Two exact doubles and one operation, so that the result is the nearest double.
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let mantissa = mantissa.cast_signed() as f64;
        mantissa / EXACT_POWERS.get(fraction_count)?
    } else if let Some(value) = quotient(mantissa, fraction_count) {
        value
    } else {
        return Some((by_library(text, rest)?, rest));
    };
    Some((if unsigned.len() == text.len() { value } else { -value }, rest))
}

/// `bits * 2^-scale`.
#[derive(Clone, Copy)]
struct Reciprocal {
    bits: u64,
    scale: u32,
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "runs in the compiler; cut to 64 bits")]
const fn reciprocals() -> [Reciprocal; 20] {
    let mut all = [Reciprocal { bits: 0, scale: 0 }; 20];
    let mut digits = 0;
    while digits < all.len() {
        let quotient = (1_u128 << 127) / 10_u128.pow(digits as u32);
        let spare = 64 - quotient.leading_zeros();
        all[digits] = Reciprocal { bits: (quotient >> spare) as u64, scale: 127 - spare };
        digits += 1;
    }
    all
}

/// The double nearest to `mantissa / 10^digits`, or `None` if the product with the cut reciprocal leaves it open, which
/// is seldom.
///
/// The reciprocal is less than one too small, the cut product therefore less than two: the true quotient lies in
/// `high..high + 2`. A double keeps the first 53 bits of the 63 or 64, so that the midpoint of two doubles is a multiple
/// of 2^9; where none lies in that span, all of it rounds to the same double.
#[inline(always)]
fn quotient(mantissa: u64, digits: usize) -> Option<f64> {
    let reciprocal = RECIPROCALS.get(digits)?;
    let shift = mantissa.leading_zeros();
    let product = u128::from(mantissa.checked_shl(shift)?) * u128::from(reciprocal.bits);
    let high = (product >> 64) as u64;
    if matches!(high & 0x1ff, 0 | 0x1ff) {
        return None;
    }
    // The scale is a power of two and far from the ends of a double's range: multiplying by it is exact.
    let exponent = u64::from(1023 + 64 - shift - reciprocal.scale);
    #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, which is the purpose")]
    Some(high as f64 * f64::from_bits(exponent << 52))
}

/// What follows the exponent that `text` starts with, if it does.
#[cold]
#[inline(never)]
fn after_exponent(text: &[u8]) -> Option<&[u8]> {
    let Some((b'e' | b'E', signed)) = text.split_first() else { return Some(text) };
    let exponent = signed.strip_prefix(b"-").or_else(|| signed.strip_prefix(b"+")).unwrap_or(signed);
    let count = exponent.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { None } else { exponent.get(count..) }
}

/// The number between the start of `text` and `rest`, which takes more care.
#[cold]
#[inline(never)]
fn by_library(text: &[u8], rest: &[u8]) -> Option<f64> {
    str::from_utf8(text.get(..text.len() - rest.len())?).ok()?.parse().ok()
}

/// Appends the digits at the start of `text` to `value`, which wraps around past `SAFE_DIGITS`.
///
/// Short runs go byte by byte: their length is guessed well from the numbers before, so that the next byte is looked
/// at before this number is done. A length computed from a word would be waited for.
#[inline(always)]
fn digits(mut value: u64, mut text: &[u8]) -> (u64, &[u8]) {
    while let Some((chunk, rest)) = text.split_first_chunk()
        && let Some(eight) = eight_digits(u64::from_le_bytes(*chunk))
    {
        value = value.wrapping_mul(100_000_000).wrapping_add(eight);
        text = rest;
    }
    while let Some((byte, rest)) = text.split_first()
        && byte.is_ascii_digit()
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        text = rest;
    }
    (value, text)
}

/// The value of eight digits, the first in the lowest byte: pairs, then fours, then all.
#[inline(always)]
const fn eight_digits(text: u64) -> Option<u64> {
    // A digit becomes its value, any other byte at least 10, which the addition carries into the top bit.
    let word = text ^ 0x3030_3030_3030_3030;
    if (word | word.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (word.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(1 + (10_000 << 32)) >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bits of the number at the start of `text`, which must be those of the standard library, and what follows.
    fn checked(text: &str) -> Option<&str> {
        let (value, rest) = read(text.as_bytes())?;
        let rest = str::from_utf8(rest).unwrap();
        let number = &text[..text.len() - rest.len()];
        assert_eq!(value.to_bits(), number.parse::<f64>().unwrap().to_bits(), "{number}");
        Some(rest)
    }

    #[test]
    fn reads_up_to_the_end_of_the_number() {
        for (text, rest) in [
            ("0", ""),
            ("-0.0,", ","),
            ("1e2}", "}"),
            ("1E+02 ", " "),
            ("5e-324", ""),
            ("1e999", ""),
            ("12345678", ""),
            ("1234567890123456.7]", "]"),
            ("9007199254740991", ""),
            ("9007199254740992", ""),
            ("9007199254740993", ""),
            ("0.9007199254740993", ""),
            ("9999999999999999999", ""),
            ("18446744073709551615", ""),
            ("18446744073709551616", ""),
            ("0.00000000000000000000000000001", ""),
            ("1.5.5", ".5"),
            ("1-2", "-2"),
        ] {
            assert_eq!(checked(text), Some(rest), "{text}");
        }
        for text in ["", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "01", "-00", "x", "--1", "null", "-\u{ff11}"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn is_the_nearest_double(text in "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,21})?([eE][+-]?[0-9]{1,3})?") {
            prop_assert_eq!(checked(&text), Some(""));
        }

        #[test]
        fn is_the_nearest_double_at_nineteen_digits(mantissa in 1_u64 << 53..10_000_000_000_000_000_000, digits in 1..19_usize) {
            let text = mantissa.to_string();
            let (whole, fraction) = text.split_at(text.len().saturating_sub(digits).max(1));
            let decimal = format!("{whole}.{fraction}");
            prop_assert!(checked(&decimal).is_some_and(str::is_empty));
            prop_assert_eq!(checked(&text), Some(""));
        }

        #[test]
        fn a_quotient_between_two_doubles_is_rounded_to_even_or_left_open(value in 1_u64 << 52..1 << 53, digits in 0..19_usize) {
            // Half a step above a double, a little more and a little less.
            let half = value * 2 + 1;
            for mantissa in [half - 1, half, half + 1] {
                if let Some(nearest) = quotient(mantissa, digits) {
                    let text = format!("{mantissa}e-{digits}");
                    prop_assert_eq!(nearest.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
                }
            }
        }
    }
}
