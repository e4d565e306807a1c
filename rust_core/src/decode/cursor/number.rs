//! JSON numbers to the nearest double, eight digits at a time.

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// What a chunk of so many digits multiplies the digits before it by.
const CHUNK_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// So many digits fit a `u64`, whatever they are.
const SAFE_DIGITS: usize = 19;

/// Every integer below is a double.
const EXACT_MANTISSA: u64 = 1 << 53;

/// The number at the start of `text` and what follows it, or `None` if there is none.
#[inline]
pub(super) fn read(text: &[u8]) -> Option<(f64, &[u8])> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (mut mantissa, mut rest) = digits(0, unsigned)?;
    let mut count = unsigned.len() - rest.len();
    if count == 0 || (count > 1 && unsigned.first() == Some(&b'0')) {
        return None;
    }
    let mut fraction_count = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        (mantissa, rest) = digits(mantissa, fraction)?;
        fraction_count = fraction.len() - rest.len();
        if fraction_count == 0 {
            return None;
        }
        count += fraction_count;
    }
    if count > SAFE_DIGITS || mantissa >= EXACT_MANTISSA || matches!(rest.first(), Some(b'e' | b'E')) {
        return unusual(text, rest);
    }
    // Two exact doubles and one operation, so that the result is the nearest double.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let value = mantissa.cast_signed() as f64 / EXACT_POWERS.get(fraction_count)?;
    Some((if unsigned.len() == text.len() { value } else { -value }, rest))
}

/// A number that takes more care. `tail` is what follows its last digit before the exponent.
#[cold]
#[inline(never)]
fn unusual<'text>(text: &'text [u8], tail: &'text [u8]) -> Option<(f64, &'text [u8])> {
    let mut rest = tail;
    if let Some((b'e' | b'E', signed)) = tail.split_first() {
        let exponent = signed.strip_prefix(b"-").or_else(|| signed.strip_prefix(b"+")).unwrap_or(signed);
        let count = exponent.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = exponent.get(count..)?;
        if count == 0 {
            return None;
        }
    }
    let number = text.get(..text.len() - rest.len())?;
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Appends the digits at the start of `text` to `value`, which wraps around past `SAFE_DIGITS`.
#[inline]
fn digits(mut value: u64, mut text: &[u8]) -> Option<(u64, &[u8])> {
    loop {
        // The first digit is the lowest byte; a byte that is no digit becomes one above 9.
        let word = first_word(text) ^ 0x3030_3030_3030_3030;
        let strangers = (word | word.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
        let bits = strangers.trailing_zeros() & !7;
        let count = (bits / 8) as usize;
        // Shifted to the end of the word, the digits have zeros before them.
        let Some(word) = word.checked_shl(64 - bits) else { return Some((value, text)) };
        value = value.wrapping_mul(*CHUNK_POWERS.get(count)?).wrapping_add(eight_digits(word));
        text = text.get(count..)?;
        if count < 8 {
            return Some((value, text));
        }
    }
}

/// The value of eight bytes from 0 to 9, the lowest byte first: pairs, then fours, then all.
#[inline]
const fn eight_digits(word: u64) -> u64 {
    let pairs = (word.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(1 + (10_000 << 32)) >> 32
}

/// The first eight bytes, filled up with zero bytes past the end.
#[inline]
fn first_word(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => last_word(text),
    }
}

#[cold]
fn last_word(text: &[u8]) -> u64 {
    text.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}
