//! Writes the same fixes as rows in PostgreSQL's binary COPY format, for the comparison with a bare COPY.
//!
//! Columns: `tenant_id int4, device_id int8, fixed_at timestamptz, latitude float8, longitude float8, accuracy float4,
//! altitude float4, heading float4, speed float4, received_at timestamptz`: those of the view `fix` that are sent.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::args::RowsArgs;
use crate::trace::{Fix, Trace};

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const COLUMNS: i16 = 10;
/// From 1970 to 2000, the epoch of PostgreSQL.
const EPOCH_SHIFT_MICROS: i64 = 946_684_800_000_000;

/// Report on the written file.
#[derive(Debug, Serialize)]
pub struct Written {
    /// Number of rows in the file.
    pub rows: usize,
    /// Length of each COPY stream in the file.
    pub stream_bytes: Vec<usize>,
    /// Time after every fix.
    pub last_fix_millis: i64,
}

/// Writes the file.
///
/// # Errors
/// It cannot be written.
pub fn write(args: &RowsArgs) -> io::Result<Written> {
    let options = args.trace.options();
    let mut trace = Trace::new(&options, args.trace.numbers(0, 1));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&args.out)?);
    let mut written = Written { rows: 0, stream_bytes: Vec::new(), last_fix_millis: 0 };
    let mut stream = Vec::from(HEADER);
    let mut rows = 0;
    for _ in 0..args.batches {
        let Some((number, fixes)) = trace.next_batch() else { break };
        for fix in fixes {
            write_row(&mut stream, i64::try_from(number).unwrap_or_default(), fix);
            rows += 1;
            if rows == args.per_copy.max(1) {
                written.end_stream(&mut file, &mut stream, rows)?;
                rows = 0;
            }
        }
    }
    if rows > 0 {
        written.end_stream(&mut file, &mut stream, rows)?;
    }
    file.flush()?;
    written.last_fix_millis = trace.last_fix_millis();
    Ok(written)
}

impl Written {
    fn end_stream(&mut self, file: &mut impl Write, stream: &mut Vec<u8>, rows: usize) -> io::Result<()> {
        stream.extend_from_slice(&TRAILER);
        file.write_all(stream)?;
        self.rows += rows;
        self.stream_bytes.push(stream.len());
        stream.truncate(HEADER.len());
        Ok(())
    }
}

fn write_row(into: &mut Vec<u8>, device_id: i64, fix: &Fix) {
    into.extend_from_slice(&COLUMNS.to_be_bytes());
    let fixed_at = (fix.fixed_at_millis * 1_000 - EPOCH_SHIFT_MICROS).to_be_bytes();
    field(into, 1_i32.to_be_bytes());
    field(into, device_id.to_be_bytes());
    field(into, fixed_at);
    field(into, (f64::from(fix.lat_e7) / 1e7).to_be_bytes());
    field(into, (f64::from(fix.lon_e7) / 1e7).to_be_bytes());
    for tenths in [fix.accuracy_dm, fix.altitude_dm, fix.heading_ddeg, fix.speed_dmps] {
        #[expect(clippy::cast_possible_truncation, reason = "float4 is what the column has")]
        let rounded = (f64::from(tenths) / 10.0) as f32;
        field(into, rounded.to_be_bytes());
    }
    field(into, fixed_at);
}

fn field<const BYTES: usize>(into: &mut Vec<u8>, value: [u8; BYTES]) {
    into.extend_from_slice(&i32::try_from(BYTES).unwrap_or_default().to_be_bytes());
    into.extend_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Mode};
    use clap::Parser;

    #[test]
    fn the_file_holds_whole_streams_of_the_size_that_was_asked() {
        let out = std::env::temp_dir().join(format!("fleetwire-rows-{}", std::process::id()));
        let name = out.to_str().unwrap();
        let line = ["loadgen", "rows", "--batches", "5", "--batch-size", "10", "--per-copy", "20", "--devices", "3"];
        let Mode::Rows(args) = Cli::parse_from(line.into_iter().chain(["--out", name])).mode else {
            panic!("rows expected");
        };
        let written = write(&args).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        std::fs::remove_file(&out).unwrap();
        let row = 2 + 4 * 10 + 4 + 4 * 4 + 5 * 8;
        assert_eq!(written.rows, 50);
        assert_eq!(written.stream_bytes, [21 + 20 * row, 21 + 20 * row, 21 + 10 * row]);
        assert_eq!(bytes.len(), written.stream_bytes.iter().sum::<usize>());
        let second = &bytes[written.stream_bytes[0]..];
        assert!(second.starts_with(b"PGCOPY\n"));
    }

    #[test]
    fn a_row_is_what_postgresql_reads() {
        let fix = Fix {
            fixed_at_millis: 946_684_801_000,
            lat_e7: 15_000_000,
            lon_e7: -5_000_000,
            accuracy_dm: 50,
            altitude_dm: 0,
            heading_ddeg: 0,
            speed_dmps: 5,
        };
        let mut row = Vec::new();
        write_row(&mut row, 9, &fix);
        assert_eq!(row[..10], [0, 10, 0, 0, 0, 4, 0, 0, 0, 1]);
        assert_eq!(row[10..22], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(row[26..34], 1_000_000_i64.to_be_bytes());
        assert_eq!(row[38..46], 1.5_f64.to_be_bytes());
        assert_eq!(row[50..58], (-0.5_f64).to_be_bytes());
        assert_eq!(row[86..90], 0.5_f32.to_be_bytes());
    }
}
