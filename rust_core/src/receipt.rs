//! What the sender of a batch is told: how many fixes are stored, how many were stored before, and which are refused.
//!
//! The caller sees to it that `stored + duplicate + rejects.len()` is the number of fixes sent.

use crate::reject::Reject;

/// Bytes of one line of `rejected`, at most in practice: details are whole sentences.
const USUAL_REJECT_BYTES: usize = 160;

/// The receipt as JSON. With a `message_id` it is the socket's frame, which names the batch it answers.
pub fn render(stored: usize, duplicate: usize, rejects: &[Reject], message_id: Option<&str>) -> Vec<u8> {
    receipt(&[("stored", stored), ("duplicate", duplicate)], rejects, message_id)
}

/// The receipt of a batch that is safe in the spool and not in the database yet: which fixes are new is not known.
pub fn render_queued(queued: usize, rejects: &[Reject], message_id: Option<&str>) -> Vec<u8> {
    receipt(&[("queued", queued)], rejects, message_id)
}

fn receipt(counts: &[(&str, usize)], rejects: &[Reject], message_id: Option<&str>) -> Vec<u8> {
    let mut out = String::with_capacity(96 + message_id.map_or(0, str::len) + rejects.len() * USUAL_REJECT_BYTES);
    out.push('{');
    if let Some(message_id) = message_id {
        out.push_str("\"type\":\"receipt\",\"id\":");
        push_json_text(&mut out, message_id);
        out.push(',');
    }
    for (name, count) in counts {
        push_json_text(&mut out, name);
        out.push(':');
        out.push_str(&count.to_string());
        out.push(',');
    }
    out.push_str("\"rejected\":[");
    for (line, reject) in rejects.iter().enumerate() {
        out.push_str(if line == 0 { "{\"index\":" } else { ",{\"index\":" });
        out.push_str(&reject.index.to_string());
        out.push_str(",\"code\":");
        push_json_text(&mut out, &reject.code());
        out.push_str(",\"detail\":");
        push_json_text(&mut out, &reject.detail());
        out.push('}');
    }
    out.push_str("]}");
    out.into_bytes()
}

/// Appends a JSON string with its quotes.
pub(crate) fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte != b'"' && byte != b'\\' && byte >= b' ' {
            continue;
        }
        // Every byte to escape is ASCII, so both cuts lie between characters.
        out.push_str(text.get(written..at).unwrap_or_default());
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str(if byte < 16 { "\\u000" } else { "\\u001" });
                out.push(char::from_digit(u32::from(byte % 16), 16).unwrap_or('0'));
            }
        }
        written = at + 1;
    }
    out.push_str(text.get(written..).unwrap_or_default());
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::reject::{CATALOGUE, Fault, Member};

    #[test]
    fn reads_as_the_contract_says() {
        let rejects = [Reject { index: 3, member: Member::Latitude, fault: Fault::Range }];
        let detail = "latitude is out of range: a number from -90 to 90 degrees.";
        assert_eq!(
            String::from_utf8(render(48, 1, &rejects, None)).unwrap(),
            format!(
                r#"{{"stored":48,"duplicate":1,"rejected":[{{"index":3,"code":"latitude_range","detail":"{detail}"}}]}}"#
            )
        );
        assert_eq!(
            render(50, 0, &[], Some("41")),
            br#"{"type":"receipt","id":"41","stored":50,"duplicate":0,"rejected":[]}"#
        );
        assert_eq!(render_queued(50, &[], None), br#"{"queued":50,"rejected":[]}"#);
    }

    #[test]
    fn every_reject_of_the_catalogue_is_valid_json() {
        let rejects: Vec<Reject> = (0..)
            .zip(CATALOGUE)
            .map(|(index, (member, fault))| Reject { index, member: *member, fault: *fault })
            .collect();
        let receipt: Value = serde_json::from_slice(&render(0, 0, &rejects, None)).unwrap();
        let lines: Vec<Value> = rejects
            .iter()
            .map(|reject| json!({"index": reject.index, "code": reject.code(), "detail": reject.detail()}))
            .collect();
        assert_eq!(receipt, json!({"stored": 0, "duplicate": 0, "rejected": lines}));
    }

    proptest! {
        #[test]
        fn any_text_survives_as_message_id(id in any::<String>()) {
            let receipt: Value = serde_json::from_slice(&render(1, 2, &[], Some(&id))).unwrap();
            prop_assert_eq!(receipt, json!({"type": "receipt", "id": id, "stored": 1, "duplicate": 2, "rejected": []}));
        }
    }

    #[test]
    fn control_characters_and_quotes_are_escaped() {
        let id: String = (0..=0x7f).map(char::from).chain("\u{2028}ä😀".chars()).collect();
        let receipt: Value = serde_json::from_slice(&render(0, 0, &[], Some(&id))).unwrap();
        assert_eq!(receipt["id"], json!(id));
    }
}
