//! A position in a `MessagePack` body. No claim of a length is believed before the bytes are seen.

use rmp::{Marker, decode};

use crate::decode::{BatchError, BatchFault, MAX_DEPTH};

/// Reads values one after the other. After an error it stands anywhere.
pub(super) struct Cursor<'body> {
    rest: &'body [u8],
    body_bytes: usize,
}

impl<'body> Cursor<'body> {
    pub(super) fn new(body: &'body [u8]) -> Self {
        Self { rest: body, body_bytes: body.len() }
    }

    /// The next key, or `None` for one that is no string.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Option<&'body [u8]>, BatchError> {
        if is_str(self.peek()?) {
            return self.str_bytes().map(Some);
        }
        self.skip(MAX_DEPTH)?;
        Ok(None)
    }

    #[inline]
    pub(super) fn double(&mut self) -> Result<f64, BatchError> {
        decode::read_f64(&mut self.rest).map_err(|_| self.syntax())
    }

    pub(super) fn single(&mut self) -> Result<f32, BatchError> {
        decode::read_f32(&mut self.rest).map_err(|_| self.syntax())
    }

    /// An integer of any width, exactly.
    pub(super) fn integer(&mut self) -> Result<i128, BatchError> {
        decode::read_int(&mut self.rest).map_err(|_| self.syntax())
    }

    /// An integer of any width, as the nearest double.
    #[inline]
    pub(super) fn integer_as_double(&mut self) -> Result<f64, BatchError> {
        decode::read_int(&mut self.rest).map_err(|_| self.syntax())
    }

    pub(super) fn text(&mut self) -> Result<&'body str, BatchError> {
        let offset_bytes = self.offset_bytes();
        str::from_utf8(self.str_bytes()?).map_err(|_| BatchFault::MsgpackSyntax.at(offset_bytes))
    }

    /// A string as bytes: the format does not promise UTF-8.
    #[inline]
    pub(super) fn str_bytes(&mut self) -> Result<&'body [u8], BatchError> {
        let length = decode::read_str_len(&mut self.rest).map_err(|_| self.syntax())?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: u32) -> Result<&'body [u8], BatchError> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| self.syntax())?;
        self.rest = rest;
        Ok(taken)
    }

    /// Elements that an array says it has. Each takes a byte at least, so a claim beyond the body is a cut body.
    pub(super) fn array_len(&mut self) -> Result<u32, BatchError> {
        let length = decode::read_array_len(&mut self.rest).map_err(|_| self.syntax())?;
        self.within_body(u64::from(length))?;
        Ok(length)
    }

    /// Pairs that a map says it has.
    #[inline]
    pub(super) fn map_len(&mut self) -> Result<u32, BatchError> {
        let length = decode::read_map_len(&mut self.rest).map_err(|_| self.syntax())?;
        self.within_body(u64::from(length) * 2)?;
        Ok(length)
    }

    #[inline]
    fn within_body(&self, values: u64) -> Result<(), BatchError> {
        if usize::try_from(values).is_ok_and(|values| values <= self.rest.len()) { Ok(()) } else { Err(self.syntax()) }
    }

    /// Walks over a value that holds at most `levels` arrays and maps within one another.
    pub(super) fn skip(&mut self, levels: u8) -> Result<(), BatchError> {
        let marker = self.peek()?;
        if is_str(marker) {
            return self.str_bytes().map(drop);
        }
        if is_array(marker) || is_map(marker) {
            let levels = levels.checked_sub(1).ok_or_else(|| BatchFault::MsgpackDepth.at(self.offset_bytes()))?;
            let values = if is_map(marker) { u64::from(self.map_len()?) * 2 } else { u64::from(self.array_len()?) };
            for _ in 0..values {
                self.skip(levels)?;
            }
            return Ok(());
        }
        let length = match marker {
            Marker::Reserved => return Err(self.syntax()),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => decode::read_bin_len(&mut self.rest).ok(),
            Marker::U8 | Marker::I8 => Some(2),
            Marker::U16 | Marker::I16 => Some(3),
            Marker::U32 | Marker::I32 | Marker::F32 => Some(5),
            Marker::U64 | Marker::I64 | Marker::F64 => Some(9),
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => Some(1),
            _ => decode::read_ext_meta(&mut self.rest).ok().map(|meta| meta.size),
        };
        self.take(length.ok_or_else(|| self.syntax())?).map(drop)
    }

    #[inline]
    pub(super) fn peek(&self) -> Result<Marker, BatchError> {
        self.rest.first().map(|byte| Marker::from_u8(*byte)).ok_or_else(|| self.syntax())
    }

    pub(super) fn finish(&self) -> Result<(), BatchError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.syntax()) }
    }

    pub(super) fn offset_bytes(&self) -> usize {
        self.body_bytes - self.rest.len()
    }

    #[cold]
    fn syntax(&self) -> BatchError {
        BatchFault::MsgpackSyntax.at(self.offset_bytes())
    }
}

pub(super) fn is_str(marker: Marker) -> bool {
    matches!(marker, Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32)
}

pub(super) fn is_array(marker: Marker) -> bool {
    matches!(marker, Marker::FixArray(_) | Marker::Array16 | Marker::Array32)
}

pub(super) fn is_map(marker: Marker) -> bool {
    matches!(marker, Marker::FixMap(_) | Marker::Map16 | Marker::Map32)
}

pub(super) fn is_integer(marker: Marker) -> bool {
    matches!(
        marker,
        Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64
    )
}
