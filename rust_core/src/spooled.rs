//! The accepted fixes of a batch as bytes for the spool: what its receipt promised, whatever the limits are when it is
//! stored.
//!
//! ```text
//! version u8 (1), fix*        a fix as `Fix::pack_into` has it
//! ```

use crate::batch::{Batch, Columns};
use crate::fix::Fix;

/// The first byte.
const VERSION: u8 = 1;

/// Why bytes of the spool cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpooledError {
    /// Written by a release that packs otherwise.
    #[error("the batch is of version {0}, not of version 1")]
    Version(u8),
    /// It ends within a fix, or holds none.
    #[error("the batch is damaged")]
    Damaged,
}

/// Packs the accepted fixes in the order they were sent.
pub fn pack(columns: &Columns) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + columns.len() * Fix::PACKED_BYTES);
    out.push(VERSION);
    for fix in (0..columns.len()).filter_map(|index| columns.get(index)) {
        fix.pack_into(&mut out);
    }
    out
}

/// Makes one batch of several packed ones, in their order.
///
/// # Errors
/// One of them cannot be read.
pub fn unpack<'a>(packed: impl IntoIterator<Item = &'a [u8]>) -> Result<Batch, SpooledError> {
    let mut columns = Columns::default();
    for batch in packed {
        let (&version, mut rest) = batch.split_first().ok_or(SpooledError::Damaged)?;
        if version != VERSION {
            return Err(SpooledError::Version(version));
        }
        while !rest.is_empty() {
            columns.push(Fix::unpack_from(&mut rest).ok_or(SpooledError::Damaged)?);
        }
    }
    Ok(Batch { columns, ..Batch::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_fix() -> impl Strategy<Value = Fix> {
        any::<(i64, i32, i32, i32, i16, i16, i16, i16)>().prop_map(
            |(
                fixed_at_millis,
                lat_e7,
                lon_e7,
                altitude_dm,
                speed_cmps,
                heading_cdeg,
                accuracy_dm,
                battery_permille,
            )| Fix {
                fixed_at_millis,
                lat_e7,
                lon_e7,
                altitude_dm,
                speed_cmps,
                heading_cdeg,
                accuracy_dm,
                battery_permille,
            },
        )
    }

    fn columns(fixes: &[Fix]) -> Columns {
        let mut columns = Columns::default();
        for fix in fixes {
            columns.push(*fix);
        }
        columns
    }

    proptest! {
        #[test]
        fn batches_come_back_as_one_in_their_order(
            batches in prop::collection::vec(prop::collection::vec(any_fix(), 0..20), 0..5)
        ) {
            let packed: Vec<Vec<u8>> = batches.iter().map(|fixes| pack(&columns(fixes))).collect();
            let batch = unpack(packed.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(batch, Batch { columns: columns(&batches.concat()), ..Batch::default() });
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(unpack([bytes.as_slice()]));
        }
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_refused() {
        let fix = Fix {
            fixed_at_millis: 1,
            lat_e7: 2,
            lon_e7: 3,
            altitude_dm: 4,
            speed_cmps: 5,
            heading_cdeg: 6,
            accuracy_dm: 7,
            battery_permille: 8,
        };
        let packed = pack(&columns(&[fix]));
        assert_eq!(unpack([&packed[..packed.len() - 1]]), Err(SpooledError::Damaged));
        assert_eq!(unpack([&[][..]]), Err(SpooledError::Damaged));
        assert_eq!(unpack([&[2][..]]), Err(SpooledError::Version(2)));
    }
}
