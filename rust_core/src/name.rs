//! What a name may be: of devices, users, tenants, rooms, orders and labels alike.
//!
//! A name is read and typed by people, so two names that look the same should be the same: no control characters, none
//! that changes the direction of the text, none that cannot be seen, no space but the plain one, and none at either end.
//! The ranges are written out instead of taken from a table of Unicode, so that a name stays one with every release.

/// Characters that no name has, by inclusive ranges, ascending; besides, the last two of each plane are no characters.
const FORBIDDEN: [(char, char); 28] = [
    ('\0', '\u{1f}'),             // controls
    ('\u{7f}', '\u{a0}'),         // delete, C1 controls, no-break space
    ('\u{ad}', '\u{ad}'),         // soft hyphen
    ('\u{34f}', '\u{34f}'),       // combining grapheme joiner
    ('\u{61c}', '\u{61c}'),       // Arabic letter mark
    ('\u{115f}', '\u{1160}'),     // Hangul fillers
    ('\u{1680}', '\u{1680}'),     // Ogham space
    ('\u{17b4}', '\u{17b5}'),     // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),     // Mongolian selectors
    ('\u{2000}', '\u{200f}'),     // spaces, zero-width characters, direction marks
    ('\u{2028}', '\u{202f}'),     // separators, direction embeddings and overrides, narrow space
    ('\u{205f}', '\u{206f}'),     // mathematical space, invisible operators, direction isolates
    ('\u{2800}', '\u{2800}'),     // blank Braille pattern
    ('\u{3000}', '\u{3000}'),     // ideographic space
    ('\u{3164}', '\u{3164}'),     // Hangul filler
    ('\u{e000}', '\u{f8ff}'),     // private use
    ('\u{fdd0}', '\u{fdef}'),     // no characters
    ('\u{fe00}', '\u{fe0f}'),     // variation selectors
    ('\u{feff}', '\u{feff}'),     // byte order mark
    ('\u{ffa0}', '\u{ffa0}'),     // half-width Hangul filler
    ('\u{fff0}', '\u{fffb}'),     // interlinear annotation
    ('\u{13430}', '\u{1343f}'),   // hieroglyph format controls
    ('\u{1bca0}', '\u{1bca3}'),   // shorthand format controls
    ('\u{1d159}', '\u{1d159}'),   // musical null note head
    ('\u{1d173}', '\u{1d17a}'),   // musical format controls
    ('\u{e0000}', '\u{e0fff}'),   // tags and variation selectors
    ('\u{f0000}', '\u{ffffd}'),   // private use
    ('\u{100000}', '\u{10fffd}'), // private use
];

/// Whether a character may stand in a name.
pub fn is_allowed(letter: char) -> bool {
    if u32::from(letter) & 0xfffe == 0xfffe {
        return false;
    }
    let after = FORBIDDEN.partition_point(|(first, _)| *first <= letter);
    after.checked_sub(1).and_then(|index| FORBIDDEN.get(index)).is_none_or(|(_, last)| letter > *last)
}

/// Whether a text is a name of at most `max_chars` characters.
pub fn is_name(text: &str, max_chars: usize) -> bool {
    // By bytes first, so that a text of megabytes is not walked.
    if text.is_empty() || text.len() > max_chars.saturating_mul(4) || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.len() <= max_chars;
    }
    text.chars().count() <= max_chars && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_ascend_and_do_not_touch() {
        assert!(FORBIDDEN.iter().all(|(first, last)| first <= last));
        assert!(FORBIDDEN.windows(2).all(|pair| matches!(pair, [(_, last), (first, _)] if last < first)));
    }

    #[test]
    fn names_in_the_scripts_of_the_world_are_names() {
        for name in [
            "van",
            "Laster \"7\"",
            "a",
            "München-3",
            "грузовик",
            "卡車 1",
            "トラック",
            "شاحنة",
            "משאית",
            "🚚 7",
            "=SUM(1)",
            "[/]",
        ] {
            assert!(is_name(name, 128), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_seen_or_turns_the_text_around_is_no_name() {
        for name in [
            "",
            " ",
            " van",
            "van ",
            "v\0n",
            "v\u{1b}[31mn",
            "v\nn",
            "v\u{7f}n",
            "v\u{85}n",
            "v\u{a0}n",
            "v\u{ad}n",
            "v\u{200b}n",
            "\u{200d}",
            "v\u{202e}n",
            "v\u{2028}n",
            "v\u{2066}n",
            "v\u{2060}n",
            "\u{3164}",
            "v\u{feff}n",
            "v\u{fe0f}n",
            "v\u{e0041}n",
            "v\u{ffff}n",
            "v\u{1ffff}n",
            "v\u{fdd0}n",
            "v\u{10fffd}n",
        ] {
            assert!(!is_name(name, 128), "{name:?}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(is_name(&"ü".repeat(128), 128));
        assert!(!is_name(&"ü".repeat(129), 128));
        assert!(!is_name(&"v".repeat(129), 128));
        assert!(!is_name(&"v".repeat(10_000_000), 128));
    }
}
