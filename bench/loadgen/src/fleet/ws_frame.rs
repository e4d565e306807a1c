//! Reads and writes WebSocket frames (RFC 6455), as far as the load generator needs.
//!
//! A general library holds 128 KiB per socket and masks what it sends; with ten thousand sockets on the machine of the
//! server under test, both would distort the measurement. Here a socket holds 32 bytes, all sockets share one read
//! buffer, and the mask is zero: present as the protocol requires, but without effect.

const MASKED: u8 = 0x80;
const FINAL: u8 = 0x80;
/// Length codes for a length in the next two bytes, and in the next eight.
const SHORT: u8 = 126;
const LONG: u8 = 127;
const MAX_HEAD_BYTES: usize = 10;

/// Opcode of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Continuation of the current message.
    Continued,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// Close.
    Close,
    /// Ping.
    Ping,
    /// Pong, or an unknown opcode.
    Other,
}

/// Part of a message, as it arrived from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Opcode of the message.
    pub kind: Opcode,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether it starts a message.
    pub is_first: bool,
    /// Whether it ends a message.
    pub is_last: bool,
}

/// Splits a byte stream into the chunks of its messages, across any read boundaries.
#[derive(Debug)]
pub struct FrameReader {
    head: [u8; MAX_HEAD_BYTES],
    head_bytes: usize,
    left_bytes: u64,
    in_payload: bool,
    begins_message: bool,
    kind: Opcode,
    message_kind: Opcode,
    is_final: bool,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            head: [0; MAX_HEAD_BYTES],
            head_bytes: 0,
            left_bytes: 0,
            in_payload: false,
            begins_message: false,
            kind: Opcode::Other,
            message_kind: Opcode::Other,
            is_final: false,
        }
    }
}

impl FrameReader {
    /// Parses received bytes and calls `on_chunk` with the chunks of messages in them.
    pub fn feed<'a>(&mut self, mut bytes: &'a [u8], mut on_chunk: impl FnMut(Chunk<'a>)) {
        while !bytes.is_empty() {
            if !self.in_payload {
                bytes = self.read_head(bytes);
                if !self.in_payload {
                    return;
                }
                if self.left_bytes > 0 {
                    continue;
                }
            }
            let here = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
            let (chunk, rest) = bytes.split_at_checked(here).unwrap_or((bytes, &[]));
            bytes = rest;
            self.left_bytes -= u64::try_from(here).unwrap_or_default();
            let is_first = std::mem::take(&mut self.begins_message);
            self.in_payload = self.left_bytes > 0;
            on_chunk(Chunk { kind: self.kind, bytes: chunk, is_first, is_last: !self.in_payload && self.is_final });
        }
    }

    /// Reads the missing bytes of a frame head; returns the remaining input.
    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (place, &byte) in bytes.iter().enumerate() {
            if let Some(slot) = self.head.get_mut(self.head_bytes) {
                *slot = byte;
            }
            self.head_bytes += 1;
            if let Some(payload_bytes) = self.payload_length() {
                self.start_payload(payload_bytes);
                return bytes.get(place + 1..).unwrap_or_default();
            }
        }
        &[]
    }

    /// Returns the payload length once the head is complete. Servers do not mask.
    fn payload_length(&self) -> Option<u64> {
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

    fn start_payload(&mut self, payload_bytes: u64) {
        let first = self.head[0];
        let kind = match first & 0x0F {
            0 => Opcode::Continued,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            _ => Opcode::Other,
        };
        self.begins_message = kind != Opcode::Continued;
        match kind {
            Opcode::Continued => self.kind = self.message_kind,
            Opcode::Text | Opcode::Binary => (self.kind, self.message_kind) = (kind, kind),
            Opcode::Close | Opcode::Ping | Opcode::Other => self.kind = kind,
        }
        self.is_final = first & FINAL != 0;
        self.left_bytes = payload_bytes;
        self.head_bytes = 0;
        self.in_payload = true;
    }
}

/// Appends a text frame of a client.
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

    /// (kind, bytes, ended) of every message, with the input cut into chunks of `step` bytes.
    fn messages(stream: &[u8], step: usize) -> Vec<(Opcode, Vec<u8>, bool)> {
        let (mut reader, mut found) = (FrameReader::default(), Vec::new());
        for part in stream.chunks(step) {
            reader.feed(part, |chunk| {
                if chunk.is_first {
                    found.push((chunk.kind, Vec::new(), false));
                }
                let last = found.last_mut().unwrap();
                assert_eq!(last.0, chunk.kind);
                last.1.extend_from_slice(chunk.bytes);
                last.2 = chunk.is_last;
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
                assert_eq!(*message, (Opcode::Text, payload.clone(), true));
            }
        }
    }

    #[test]
    fn a_message_in_fragments_is_one_message() {
        let stream = [server_frame(0x02, b"ab"), server_frame(0x80, b"cd"), server_frame(0x88, &[3, 244])].concat();
        let expected = vec![(Opcode::Binary, b"abcd".to_vec(), true), (Opcode::Close, vec![3, 244], true)];
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
