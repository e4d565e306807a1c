//! `PostgreSQL`'s binary form of one-dimensional `int2[]`, as `array_send()` gives it and COPY takes it.
//!
//! ```text
//! dimensions: int32 (0 for an empty array, which ends here)
//! has_null:   int32 (0 or 1)
//! element:    oid   (21)
//! length:     int32
//! lower:      int32 (index of the first element)
//! length times:
//!   size:     int32 (2; -1 for NULL, without a value)
//!   value:    big-endian
//! ```

use thiserror::Error;

use crate::decimal::push_int;
use crate::fix::NONE_I16;

/// Type of the numbers beside the arrays in packed.rs.
pub const INT4_OID: u32 = 23;
/// Type of the elements of `int2[]`.
pub const INT2_OID: u32 = 21;
/// Type of `int2[]`.
pub const INT2_ARRAY_OID: u32 = 1005;
/// Bytes before the first element.
pub const HEADER_BYTES: usize = 20;

/// Why bytes are not such an array.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ArrayError {
    /// The bytes end before the array does, or go on behind it.
    #[error("the array's bytes do not end where the array does")]
    Length,
    /// A composite of another number of fields.
    #[error("the record has {0} fields, expected 4")]
    Fields(u32),
    /// More than one dimension.
    #[error("the array has {0} dimensions, expected 1")]
    Dimensions(u32),
    /// Elements of another type.
    #[error("the array's elements have the type {found}, expected {expected}")]
    Element {
        /// The oid asked for.
        expected: u32,
        /// The oid found.
        found: u32,
    },
}

/// The text form of an array of whole numbers, such as `{7,NULL,-1}`.
pub fn literal(values: impl Iterator<Item = Option<i64>>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (place, value) in values.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match value {
            Some(value) => push_int(&mut out, value),
            None => out.extend_from_slice(b"NULL"),
        }
    }
    out.push(b'}');
    out
}

/// Reads `int2[]`; NULL becomes `NONE_I16`.
///
/// # Errors
/// The bytes are not such an array.
pub fn read_int2(bytes: &[u8]) -> Result<Vec<i16>, ArrayError> {
    read(bytes, NONE_I16, |value| value)
}

/// Reads `int2[]` whose entries may take any value.
///
/// # Errors
/// The bytes are not such an array.
pub fn read_nullable_int2(bytes: &[u8]) -> Result<Vec<Option<i16>>, ArrayError> {
    read(bytes, None, Some)
}

fn read<T: Copy>(bytes: &[u8], none: T, value: fn(i16) -> T) -> Result<Vec<T>, ArrayError> {
    let mut rest = bytes;
    let dimensions = take_u32(&mut rest)?;
    take_u32(&mut rest)?; // has_null: each element says so itself
    let found = take_u32(&mut rest)?;
    if found != INT2_OID {
        return Err(ArrayError::Element { expected: INT2_OID, found });
    }
    if dimensions > 1 {
        return Err(ArrayError::Dimensions(dimensions));
    }
    let length = if dimensions == 0 { 0 } else { take_u32(&mut rest)? as usize };
    if dimensions == 1 {
        take_u32(&mut rest)?;
    }
    // Every element has its size, so a length that the bytes cannot hold is refused before memory is asked for.
    if length > rest.len() / 4 {
        return Err(ArrayError::Length);
    }
    let mut values = Vec::with_capacity(length);
    for _ in 0..length {
        let size = take_u32(&mut rest)?;
        if size == u32::MAX {
            values.push(none);
        } else if size == 2 {
            values.push(value(i16::from_be_bytes(take(&mut rest)?)));
        } else {
            return Err(ArrayError::Length);
        }
    }
    if rest.is_empty() { Ok(values) } else { Err(ArrayError::Length) }
}

/// Takes the next four bytes off.
pub(crate) fn take_u32(rest: &mut &[u8]) -> Result<u32, ArrayError> {
    take(rest).map(u32::from_be_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ArrayError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(ArrayError::Length)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn literals_are_what_postgresql_reads() {
        assert_eq!(literal([Some(7), None, Some(-1)].into_iter()), b"{7,NULL,-1}");
        assert_eq!(literal(std::iter::empty()), b"{}");
    }

    /// Words, with the elements' values behind their sizes in two bytes.
    fn array(head: &[i32], entries: &[(i32, i16)]) -> Vec<u8> {
        let mut out = words(head);
        for (size, value) in entries {
            out.extend(size.to_be_bytes());
            if *size >= 0 {
                out.extend(value.to_be_bytes());
            }
        }
        out
    }

    #[test]
    fn reads_what_array_send_gives() {
        // SELECT array_send('{-2,NULL}'::int2[]), array_send('{}'::int2[])
        assert_eq!(read_int2(&array(&[1, 1, 21, 2, 1], &[(2, -2), (-1, 0)])), Ok(vec![-2, NONE_I16]));
        assert_eq!(
            read_nullable_int2(&array(&[1, 1, 21, 2, 1], &[(2, NONE_I16), (-1, 0)])),
            Ok(vec![Some(NONE_I16), None])
        );
        assert_eq!(read_int2(&words(&[0, 0, 21])), Ok(vec![]));
    }

    #[test]
    fn refuses_what_is_no_such_array() {
        assert_eq!(read_int2(&[]), Err(ArrayError::Length));
        assert_eq!(read_int2(&words(&[1, 0, 23, 0, 1])), Err(ArrayError::Element { expected: 21, found: 23 }));
        assert_eq!(read_int2(&array(&[2, 0, 21, 1, 1, 1, 1], &[(2, 7)])), Err(ArrayError::Dimensions(2)));
        assert_eq!(read_int2(&array(&[1, 0, 21, 2, 1], &[(2, 7)])), Err(ArrayError::Length));
        assert_eq!(read_int2(&array(&[1, 0, 21, 1, 1], &[(2, 7), (2, 7)])), Err(ArrayError::Length));
        assert_eq!(read_int2(&words(&[1, 0, 21, i32::MAX, 1])), Err(ArrayError::Length));
        assert_eq!(read_int2(&array(&[1, 0, 21, 1, 1], &[(4, 7)])), Err(ArrayError::Length));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _read = (read_nullable_int2(&bytes), read_int2(&bytes));
        }
    }
}
