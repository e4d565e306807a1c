//! An `int4` column of a segment, in half the bytes: the composite type `packed_int4` of the database.
//!
//! `(base int4, step int4, low int2[], high int2[])`: the first value that is not NULL is `base`, and from one value to
//! the next it is `step * (low + 65536 * high)`, modulo 2^32. `step` divides every difference, so that what a sender
//! rounds (whole seconds, five decimals of a degree) costs nothing; `high` is NULL where all of it would be 0, which is
//! so unless a vehicle leaps. A NULL among the values is a NULL in `low`. `docs/adr/0011-merging.md` has the figures.
//!
//! ```text
//! fields: int32 (4)
//! 4 times:
//!   type: oid (23 for int4, 1005 for int2[])
//!   size: int32 (-1 for NULL, without a value)
//!   value
//! ```

use crate::fix::NONE_I32;
use crate::pg_array::{ArrayError, HEADER_BYTES, INT2_ARRAY_OID, INT2_OID, INT4_OID, read_nullable_int2, take_u32};

const FIELDS: u32 = 4;
/// Number of fields; type, size and value of two integers; type and size of two arrays.
const FIXED_BYTES: usize = 4 + 2 * 12 + 2 * 8;
/// Size of an element of `int2[]` that is not NULL, and of its size field.
const ENTRY_BYTES: usize = 6;

/// Reads a column as `record_send()` gives it; NULL becomes `NONE_I32`.
///
/// # Errors
/// The bytes are no `packed_int4`.
pub fn read(bytes: &[u8]) -> Result<Vec<i32>, ArrayError> {
    let mut rest = bytes;
    let fields = take_u32(&mut rest)?;
    if fields != FIELDS {
        return Err(ArrayError::Fields(fields));
    }
    let base = read_integer(&mut rest)?.cast_signed();
    let step = read_integer(&mut rest)?.cast_signed();
    let low = read_nullable_int2(field(&mut rest, INT2_ARRAY_OID)?.ok_or(ArrayError::Length)?)?;
    let high = field(&mut rest, INT2_ARRAY_OID)?.map(read_nullable_int2).transpose()?;
    if !rest.is_empty() || high.as_ref().is_some_and(|high| high.len() != low.len()) {
        return Err(ArrayError::Length);
    }
    let mut high = high.unwrap_or_default().into_iter();
    let mut value = base;
    let unpack = |low: Option<i16>| {
        let high = high.next().flatten().unwrap_or(0);
        let Some(low) = low else { return NONE_I32 };
        value = value.wrapping_add(step.wrapping_mul(i32::from(low).wrapping_add(i32::from(high) << 16)));
        value
    };
    Ok(low.into_iter().map(unpack).collect())
}

/// Appends a column as a field of a COPY row, with its size; NULL if it has no value but `NONE_I32`.
pub fn push(out: &mut Vec<u8>, values: impl Iterator<Item = i32> + Clone) {
    let Some(base) = values.clone().find(|value| *value != NONE_I32) else {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return;
    };
    let Shape { count, nulls, step } = shape(base, values.clone());
    let mut high = Vec::new();
    // The size is known at the end.
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    push_word(out, FIELDS.cast_signed());
    for integer in [base, step] {
        push_word(out, INT4_OID.cast_signed());
        push_word(out, 4);
        push_word(out, integer);
    }
    push_word(out, INT2_ARRAY_OID.cast_signed());
    push_array_header(out, count, nulls);
    let mut last = base;
    for (place, value) in values.enumerate() {
        if value == NONE_I32 {
            push_word(out, -1);
            continue;
        }
        let (high_steps, low_steps) = halves(value.wrapping_sub(last) / step);
        last = value;
        push_entry(out, low_steps);
        if high_steps != 0 {
            // Only a leap makes the other half, so that the ordinary column asks for no memory.
            high.resize(place, 0);
            high.push(high_steps);
        }
    }
    push_word(out, INT2_ARRAY_OID.cast_signed());
    if high.is_empty() {
        push_word(out, -1);
    } else {
        high.resize(count, 0);
        push_array_header(out, count, 0);
        for steps in high {
            push_entry(out, steps);
        }
    }
    let size = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(room) = out.get_mut(start..start + 4) {
        room.copy_from_slice(&size.to_be_bytes());
    }
}

/// What `push` appends for so many values without leaps and without NULL.
pub const fn usual_bytes(values: usize) -> usize {
    4 + FIXED_BYTES + HEADER_BYTES + values * ENTRY_BYTES
}

/// What has to be known of a column before it is written.
struct Shape {
    count: usize,
    nulls: usize,
    /// The greatest number that divides every difference; 1 where all values are equal.
    step: i32,
}

fn shape(base: i32, values: impl Iterator<Item = i32>) -> Shape {
    let (mut count, mut nulls, mut last, mut common) = (0, 0, base, 0);
    for value in values {
        count += 1;
        if value == NONE_I32 {
            nulls += 1;
            continue;
        }
        if common != 1 {
            common = greatest_common_divisor(common, value.wrapping_sub(last).unsigned_abs());
        }
        last = value;
    }
    Shape { count, nulls, step: i32::try_from(common).unwrap_or(1).max(1) }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// (high, low) with `steps = low + 65536 * high` modulo 2^32.
fn halves(steps: i32) -> (i16, i16) {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    let low = steps as i16;
    let high = (steps.wrapping_sub(low.into()) >> 16) as i16;
    (high, low)
}

fn push_word(out: &mut Vec<u8>, word: i32) {
    out.extend_from_slice(&word.to_be_bytes());
}

fn push_entry(out: &mut Vec<u8>, value: i16) {
    let [first, second] = value.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 2, first, second]);
}

fn push_array_header(out: &mut Vec<u8>, count: usize, nulls: usize) {
    let size = HEADER_BYTES + (count - nulls) * ENTRY_BYTES + nulls * 4;
    for word in [size, 1, usize::from(nulls > 0), INT2_OID as usize, count, 1] {
        // A merged segment is bounded far below 2^31 fixes; PostgreSQL would refuse the saturated size.
        push_word(out, i32::try_from(word).unwrap_or(i32::MAX));
    }
}

fn read_integer(rest: &mut &[u8]) -> Result<u32, ArrayError> {
    let mut value = field(rest, INT4_OID)?.ok_or(ArrayError::Length)?;
    let integer = take_u32(&mut value)?;
    if value.is_empty() { Ok(integer) } else { Err(ArrayError::Length) }
}

/// The bytes of the next field, or `None` for NULL.
fn field<'a>(rest: &mut &'a [u8], expected: u32) -> Result<Option<&'a [u8]>, ArrayError> {
    let found = take_u32(rest)?;
    if found != expected {
        return Err(ArrayError::Element { expected, found });
    }
    let size = take_u32(rest)?;
    if size == u32::MAX {
        return Ok(None);
    }
    let (value, tail) = rest.split_at_checked(size as usize).ok_or(ArrayError::Length)?;
    *rest = tail;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(values: &[i32]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, values.iter().copied());
        let (size, value) = out.split_first_chunk::<4>().unwrap();
        assert_eq!(i32::from_be_bytes(*size), i32::try_from(value.len()).unwrap());
        value.to_vec()
    }

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn packs_steps_between_neighbours() {
        // record_send(row(500, 100, '{0,-3,NULL,2}'::int2[], NULL)::packed_int4)
        let mut expected = words(&[4, 23, 4, 500, 23, 4, 100, 1005, 20 + 3 * 6 + 4, 1, 1, 21, 4, 1]);
        expected.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0xff, 0xfd, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0, 2]);
        expected.extend(words(&[1005, -1]));
        assert_eq!(packed(&[500, 200, NONE_I32, 400]), expected);
    }

    #[test]
    fn a_column_without_values_is_null() {
        let mut out = Vec::new();
        push(&mut out, [NONE_I32, NONE_I32].into_iter());
        assert_eq!(out, words(&[-1]));
    }

    #[test]
    fn leaps_of_any_size_come_back() {
        for values in [
            vec![0],
            vec![NONE_I32, 7, NONE_I32],
            vec![i32::MAX, i32::MIN + 1, i32::MAX, 0],
            vec![-1_800_000_000, 1_800_000_000, -1_800_000_000],
            vec![0, 32_767, 65_535, 32_767, -1, -32_769],
            vec![0, i32::MAX, 0],
        ] {
            assert_eq!(read(&packed(&values)), Ok(values));
        }
    }

    #[test]
    fn reads_a_plain_array_too() {
        assert_eq!(read(&words(&[1, 0, 23, 2, 1, 4, 7, 4, -9])), Err(ArrayError::Fields(1)));
    }

    #[test]
    fn refuses_what_is_neither() {
        let good = packed(&[1, 70_000, 3]);
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err(), "{end} bytes");
        }
        assert_eq!(read(&[good, vec![0]].concat()), Err(ArrayError::Length));
        let of_another_type = words(&[4, 20, 4, 500]);
        assert_eq!(read(&of_another_type), Err(ArrayError::Element { expected: 23, found: 20 }));
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(values in proptest::collection::vec(any::<i32>(), 1..40), step in 1_i32..2000) {
            prop_assume!(values.iter().any(|value| *value != NONE_I32));
            prop_assert_eq!(read(&packed(&values)).unwrap(), values.clone());
            let near: Vec<i32> = values.iter().map(|value| value % 100_000 * step).collect();
            prop_assert_eq!(read(&packed(&near)).unwrap(), near);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _read = read(&bytes);
            let _read = read(&[words(&[4, 23, 4, 1, 23, 4, 1, 1005]), bytes].concat());
        }
    }
}
