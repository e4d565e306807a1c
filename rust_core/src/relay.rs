//! What a worker tells the others of the movements it stored: one packed message per tenant and tick.
//!
//! A name travels when the worker meets its device, and the receiver keeps it; who starts later reads it from the
//! database. Numbers are big-endian, the fix as `Fix` has it.
//!
//! ```text
//! message: version u8 (1), entry*
//! entry:   flags u8 (1 a name, 2 a fix), device_id i64, [name_bytes u16, name as UTF-8],
//!          [fixed_at_millis i64, lat_e7 i32, lon_e7 i32, altitude_dm i32,
//!           speed_cmps i16, heading_cdeg i16, accuracy_dm i16, battery_permille i16]
//! ```

use std::collections::BTreeMap;

use crate::fix::Fix;
use crate::live::{LiveTable, Position};
use crate::name::is_name;

/// The first byte of every message; a worker that finds another reads the database instead.
const VERSION: u8 = 1;
const HAS_NAME: u8 = 1;
const HAS_FIX: u8 = 2;
/// Flags, number and fix: the size of an entry without a name.
const FIX_ENTRY_BYTES: usize = 1 + 8 + Fix::PACKED_BYTES;
/// Characters in a device's name, as the column has them.
const MAX_NAME_CHARS: usize = 255;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// Written by a release that packs otherwise.
    #[error("the message is of version {0}, not of version 1")]
    Version(u8),
    /// It ends within an entry, or an entry is none.
    #[error("the message is damaged")]
    Damaged,
    /// A name that ingest would refuse, or a position outside the ranges of its members.
    #[error("the message holds a name or a position that cannot be one")]
    Implausible,
}

/// What moved by this worker's commits since the last call of `take`. As large as the devices that moved in a tick.
#[derive(Debug, Default)]
pub struct Departures {
    tenants: BTreeMap<i32, BTreeMap<i64, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    name: Option<Box<str>>,
    fix: Option<Fix>,
}

impl Departures {
    /// This worker met a device, which others may not know.
    pub fn meet(&mut self, tenant_id: i32, device_id: i64, name: &str) {
        self.entry(tenant_id, device_id).name = Some(name.into());
    }

    /// Stored positions moved forward. Commits may end in any order: the newest fix of a device stays.
    pub fn record(&mut self, positions: &[Position]) {
        for position in positions {
            let entry = self.entry(position.tenant_id, position.device_id);
            if entry.fix.is_none_or(|known| known.fixed_at_millis < position.fix.fixed_at_millis) {
                entry.fix = Some(position.fix);
            }
        }
    }

    /// Nobody is told of a tenant's devices.
    pub fn forget(&mut self, tenant_id: i32) {
        self.tenants.remove(&tenant_id);
    }

    /// A message per tenant, ascending, and forgets what is in them.
    pub fn take(&mut self) -> Vec<(i32, Vec<u8>)> {
        std::mem::take(&mut self.tenants).into_iter().map(|(tenant_id, entries)| (tenant_id, pack(&entries))).collect()
    }

    fn entry(&mut self, tenant_id: i32, device_id: i64) -> &mut Entry {
        self.tenants.entry(tenant_id).or_default().entry(device_id).or_default()
    }
}

/// Moves a table forward by what another worker packed; returns how many positions moved.
///
/// # Errors
/// The message cannot be read; nothing of it was applied.
pub fn apply(table: &mut LiveTable, tenant_id: i32, message: &[u8]) -> Result<usize, RelayError> {
    let mut rest = message;
    let version = take_byte(&mut rest)?;
    if version != VERSION {
        return Err(RelayError::Version(version));
    }
    let (mut names, mut positions) = (Vec::new(), Vec::with_capacity(rest.len() / FIX_ENTRY_BYTES + 1));
    while !rest.is_empty() {
        let flags = take_byte(&mut rest)?;
        let device_id = i64::from_be_bytes(take(&mut rest)?);
        if flags & HAS_NAME != 0 {
            let name = take_name(&mut rest)?;
            if !is_name(name, MAX_NAME_CHARS) {
                return Err(RelayError::Implausible);
            }
            names.push((device_id, name));
        }
        if flags & HAS_FIX != 0 {
            let fix = take_fix(&mut rest)?;
            if !fix.is_plausible() {
                return Err(RelayError::Implausible);
            }
            positions.push(Position { tenant_id, device_id, fix });
        }
        if flags == 0 || flags > HAS_NAME | HAS_FIX {
            return Err(RelayError::Damaged);
        }
    }
    for (device_id, name) in names {
        table.load(tenant_id, device_id, name, None);
    }
    Ok(table.advance(&positions))
}

fn pack(entries: &BTreeMap<i64, Entry>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + entries.len() * FIX_ENTRY_BYTES);
    out.push(VERSION);
    for (device_id, entry) in entries {
        // A name beyond the size field cannot be in the database; the entry goes without it.
        let name = entry.name.as_deref().and_then(|name| Some((u16::try_from(name.len()).ok()?, name)));
        let flags = name.map_or(0, |_| HAS_NAME) | entry.fix.map_or(0, |_| HAS_FIX);
        if flags == 0 {
            continue;
        }
        out.push(flags);
        out.extend_from_slice(&device_id.to_be_bytes());
        if let Some((name_bytes, name)) = name {
            out.extend_from_slice(&name_bytes.to_be_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        if let Some(fix) = &entry.fix {
            fix.pack_into(&mut out);
        }
    }
    out
}

fn take_fix(rest: &mut &[u8]) -> Result<Fix, RelayError> {
    Fix::unpack_from(rest).ok_or(RelayError::Damaged)
}

fn take_name<'a>(rest: &mut &'a [u8]) -> Result<&'a str, RelayError> {
    let name_bytes = usize::from(u16::from_be_bytes(take(rest)?));
    let (name, tail) = rest.split_at_checked(name_bytes).ok_or(RelayError::Damaged)?;
    *rest = tail;
    std::str::from_utf8(name).map_err(|_| RelayError::Damaged)
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, RelayError> {
    let [byte] = take(rest)?;
    Ok(byte)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RelayError> {
    let (head, tail) = rest.split_first_chunk().ok_or(RelayError::Damaged)?;
    *rest = tail;
    Ok(*head)
}
