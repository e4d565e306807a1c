//! WebSocket frames (RFC 6455), as little of them as a load generator needs.
//!
//! A general library holds 128 KiB per socket and masks what it sends; with ten thousand sockets on the machine of the
//! server under test, both would be measured as if they were the server's. Here a socket holds 32 bytes, all read into
//! one buffer, and the mask is zero: it is there as the protocol wants it, and changes nothing.

const MASKED: u8 = 0x80;
const FINAL: u8 = 0x80;
/// A length that stands for two more bytes, and for eight.
const SHORT: u8 = 126;
const LONG: u8 = 127;
const LONGEST_HEAD: usize = 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// More of the message before.
    Continued,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The peer closes.
    Close,
    /// Wants a pong.
    Ping,
    /// A pong, or a kind that is not known.
    Other,
}

/// A part of a message, as it came from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Kind of the message.
    pub kind: Kind,
    /// The bytes.
    pub bytes: &'a [u8],
    /// It begins a message.
    pub is_first: bool,
    /// It ends one.
    pub is_last: bool,
}

/// Takes frames apart, whatever pieces they come in.
#[derive(Debug)]
pub struct Reader {
    head: [u8; LONGEST_HEAD],
    head_bytes: usize,
    left_bytes: u64,
    in_payload: bool,
    begins_message: bool,
    kind: Kind,
    message_kind: Kind,
    is_final: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            head: [0; LONGEST_HEAD],
            head_bytes: 0,
            left_bytes: 0,
            in_payload: false,
            begins_message: false,
            kind: Kind::Other,
            message_kind: Kind::Other,
            is_final: false,
        }
    }
}

impl Reader {
    /// Takes bytes from the peer and shows the pieces of messages in them.
    pub fn take<'a>(&mut self, mut bytes: &'a [u8], mut show: impl FnMut(Piece<'a>)) {
        while !bytes.is_empty() {
            if !self.in_payload {
                bytes = self.take_head(bytes);
                if !self.in_payload {
                    return;
                }
                if self.left_bytes > 0 {
                    continue;
                }
            }
            let here = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at_checked(here).unwrap_or((bytes, &[]));
            bytes = rest;
            self.left_bytes -= u64::try_from(here).unwrap_or_default();
            let is_first = std::mem::take(&mut self.begins_message);
            self.in_payload = self.left_bytes > 0;
            show(Piece { kind: self.kind, bytes: piece, is_first, is_last: !self.in_payload && self.is_final });
        }
    }

    /// Takes what is missing of a head; returns the rest.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (place, &byte) in bytes.iter().enumerate() {
            if let Some(slot) = self.head.get_mut(self.head_bytes) {
                *slot = byte;
            }
            self.head_bytes += 1;
            if let Some(payload_bytes) = self.whole_head() {
                self.begin(payload_bytes);
                return bytes.get(place + 1..).unwrap_or_default();
            }
        }
        &[]
    }

    /// Length of the payload, once the head is whole. Servers do not mask.
    fn whole_head(&self) -> Option<u64> {
        let [_, short, extended @ ..] = &self.head;
        match (short & !MASKED, self.head_bytes) {
            (SHORT, 4) => {
                let [high, low, ..] = extended;
                Some(u64::from(u16::from_be_bytes([*high, *low])))
            }
            (LONG, 10) => Some(u64::from_be_bytes(*extended)),
            (length @ 0..=125, 2) => Some(u64::from(length)),
            _ => None,
        }
    }

    fn begin(&mut self, payload_bytes: u64) {
        let first = self.head[0];
        let kind = match first & 0x0F {
            0 => Kind::Continued,
            1 => Kind::Text,
            2 => Kind::Binary,
            8 => Kind::Close,
            9 => Kind::Ping,
            _ => Kind::Other,
        };
        self.begins_message = kind != Kind::Continued;
        match kind {
            Kind::Continued => self.kind = self.message_kind,
            Kind::Text | Kind::Binary => (self.kind, self.message_kind) = (kind, kind),
            Kind::Close | Kind::Ping | Kind::Other => self.kind = kind,
        }
        self.is_final = first & FINAL != 0;
        self.left_bytes = payload_bytes;
        self.head_bytes = 0;
        self.in_payload = true;
    }
}

/// Appends a text frame as a client sends it.
pub fn write_text(into: &mut Vec<u8>, text: &[u8]) {
    into.push(FINAL | 1);
    match u16::try_from(text.len()) {
        Ok(length @ 0..=125) => into.push(MASKED | u8::try_from(length).unwrap_or_default()),
        Ok(length) => {
            into.push(MASKED + SHORT);
            into.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            into.push(MASKED + LONG);
            into.extend_from_slice(&u64::try_from(text.len()).unwrap_or_default().to_be_bytes());
        }
    }
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (kind, bytes, ended) of every message, with the input cut into pieces of `step` bytes.
    fn messages(stream: &[u8], step: usize) -> Vec<(Kind, Vec<u8>, bool)> {
        let (mut reader, mut found) = (Reader::default(), Vec::new());
        for part in stream.chunks(step) {
            reader.take(part, |piece| {
                if piece.is_first {
                    found.push((piece.kind, Vec::new(), false));
                }
                let last = found.last_mut().unwrap();
                assert_eq!(last.0, piece.kind);
                last.1.extend_from_slice(piece.bytes);
                last.2 = piece.is_last;
            });
        }
        found
    }

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(u8::try_from(short).unwrap()),
            middle @ 126..=65_535 => {
                frame.push(126);
                frame.extend_from_slice(&u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend_from_slice(&u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn messages_of_every_length_survive_any_cut() {
        let payloads = [0, 1, 125, 126, 65_535, 65_536].map(|length| vec![b'x'; length]);
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| server_frame(0x81, payload)).collect();
        for step in [1, 7, 4_096, stream.len()] {
            let found = messages(&stream, step);
            assert_eq!(found.len(), payloads.len(), "cut every {step} bytes");
            for (message, payload) in found.iter().zip(&payloads) {
                assert_eq!(*message, (Kind::Text, payload.clone(), true));
            }
        }
    }

    #[test]
    fn a_message_in_fragments_is_one_message() {
        let stream = [server_frame(0x02, b"ab"), server_frame(0x80, b"cd"), server_frame(0x88, &[3, 244])].concat();
        let expected = vec![(Kind::Binary, b"abcd".to_vec(), true), (Kind::Close, vec![3, 244], true)];
        assert_eq!(messages(&stream, 3), expected);
    }

    #[test]
    fn what_is_sent_is_masked_with_nothing() {
        let mut short = Vec::new();
        write_text(&mut short, b"hi");
        assert_eq!(short, [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        for length in [126, 70_000] {
            let mut frame = Vec::new();
            write_text(&mut frame, &vec![b'x'; length]);
            let head = if length == 126 { 4 } else { 10 };
            assert_eq!(frame.len(), head + 4 + length);
        }
    }
}
