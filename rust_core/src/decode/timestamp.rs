//! ISO 8601 text to milliseconds since 1970.

use jiff::fmt::temporal::DateTimeParser;

static PARSER: DateTimeParser = DateTimeParser::new();

/// Longest text that is looked at: nanoseconds, an offset with seconds and a zone in brackets fit.
const MAX_TEXT_BYTES: usize = 80;

/// Milliseconds since 1970 of a time with an offset (`Z`, `+01:00` or `-0700`), or `None` if it is none.
///
/// A time without an offset is refused instead of guessed: an hour's error looks like a plausible position. Fractions
/// of a millisecond are cut.
pub fn iso_millis(text: &str) -> Option<i64> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    Some(PARSER.parse_timestamp(text).ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_usual_offset() {
        for text in [
            "2025-11-21T23:40:00Z",
            "2025-11-21T23:40:00.000Z",
            "2025-11-22T00:40:00+01:00",
            "2025-11-21T16:40:00-0700",
            "2025-11-21T16:40:00-07",
            "2025-11-21 23:40:00z",
            "2025-11-21T23:40:00.000999Z",
            "20251121T234000Z",
        ] {
            assert_eq!(iso_millis(text), Some(1_763_768_400_000), "{text}");
        }
        assert_eq!(iso_millis("2025-11-21T23:40:00.123Z"), Some(1_763_768_400_123));
    }

    #[test]
    fn refuses_what_it_would_have_to_guess() {
        for text in [
            "",
            "2025-11-21",
            "2025-11-21T23:40:00",
            "1763768400000",
            "2025-02-30T00:00:00Z",
            "2025-11-21T25:00:00Z",
            "2025-11-21T23:40:00+25:00:00:00",
            "yesterday",
            "\u{0}",
        ] {
            assert_eq!(iso_millis(text), None, "{text}");
        }
        assert_eq!(iso_millis(&"9".repeat(1_000_000)), None);
    }
}
