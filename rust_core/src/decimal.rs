//! Scaled integers as the shortest decimal text: 481,371,540 at 7 places is `48.137154`.
//!
//! No float takes part, so a value prints as it was sent, and at a fraction of the cost of shortest-float printing.

/// Digits of the longest `i64` and its sign.
const LONGEST: usize = 20;

/// Appends `value` as plain digits.
pub fn push_int(out: &mut Vec<u8>, value: i64) {
    push_scaled(out, value, 0);
}

/// Appends `value / 10^places`, without trailing zeros and without a point where nothing follows it.
pub fn push_scaled(out: &mut Vec<u8>, value: i64, places: u32) {
    let mut rest = value.unsigned_abs();
    let mut places = places;
    while places > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        places -= 1;
    }
    // Digits come from the last to the first: filled from the end, sent from where they start.
    let mut text = [0_u8; LONGEST + 2];
    let mut free = text.iter_mut().rev();
    let mut used = 0;
    let mut put = |byte: u8| {
        if let Some(place) = free.next() {
            *place = byte;
            used += 1;
        }
    };
    for _ in 0..places {
        put(digit(rest));
        rest /= 10;
    }
    if places > 0 {
        put(b'.');
    }
    loop {
        put(digit(rest));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        put(b'-');
    }
    out.extend(text.iter().skip(text.len() - used));
}

fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(value: i64, places: u32) -> String {
        let mut out = Vec::new();
        push_scaled(&mut out, value, places);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_what_was_sent() {
        let cases = [
            (481_371_540, 7, "48.137154"),
            (-1, 7, "-0.0000001"),
            (1_800_000_000, 7, "180"),
            (-900_000_000, 7, "-90"),
            (0, 7, "0"),
            (50, 1, "5"),
            (1_340, 2, "13.4"),
            (800, 3, "0.8"),
            (1_763_768_400_000, 0, "1763768400000"),
            (-30, 0, "-30"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MAX, 18, "9.223372036854775807"),
        ];
        for (value, places, expected) in cases {
            assert_eq!(scaled(value, places), expected);
        }
    }

    proptest! {
        /// The oracle is the standard library: the text read as a double is the nearest double of the quotient.
        #[test]
        fn reads_back_as_the_same_number(value in any::<i32>()) {
            let text = scaled(i64::from(value), 7);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), (f64::from(value) / 1e7).to_bits());
            prop_assert!(!text.contains('.') || !text.ends_with('0'));
        }
    }
}
