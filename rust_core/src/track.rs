//! A device's history as a document, in order of time, written while its segments are read.
//!
//! Segments come ascending by their first fix but may reach into one another: late fixes are stored in rows of their
//! own. A fix is held back until the next segment starts after it, so memory holds what overlaps and not the history.

mod csv;
mod geojson;
mod gpx;
mod iso_time;

use thiserror::Error;

use crate::fix::{DAY_MILLIS, Fix, NONE_I16, NONE_I32};
use crate::packed;
use crate::pg_array::{ArrayError, read_int2};

/// How a track is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A `FeatureCollection` of Points.
    GeoJson,
    /// GPX 1.1, one track of one segment.
    Gpx,
    /// A header and a line per fix.
    Csv,
    /// The same, with no name that a spreadsheet takes for a formula.
    CsvSpreadsheet,
}

/// Columns of a stored segment as `record_send()` (`packed_int4`, see packed.rs) and `array_send()` (`int2[]`) give them.
#[derive(Clone, Copy, Debug)]
pub struct SegmentArrays<'a> {
    /// `packed_int4`, milliseconds from the segment's start.
    pub offset_millis: &'a [u8],
    /// `packed_int4`, 1e-7 degrees.
    pub lat_e7: &'a [u8],
    /// `packed_int4`, 1e-7 degrees.
    pub lon_e7: &'a [u8],
    /// `packed_int4`, decimetres.
    pub altitude_dm: Option<&'a [u8]>,
    /// `int2[]`, centimetres per second.
    pub speed_cmps: Option<&'a [u8]>,
    /// `int2[]`, 0.01 degrees from -18,000.
    pub heading_cdeg: Option<&'a [u8]>,
    /// `int2[]`, decimetres.
    pub accuracy_dm: Option<&'a [u8]>,
    /// `int2[]`, thousandths.
    pub battery_permille: Option<&'a [u8]>,
}

/// Why a segment cannot be written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TrackError {
    /// A column cannot be read.
    #[error("column {column}: {fault}")]
    Column {
        /// Its name in `track_segment`.
        column: &'static str,
        /// What is wrong with it.
        fault: ArrayError,
    },
    /// A column has another number of entries than `offset_millis`.
    #[error("column {column} has {entries} entries for {fixes} fixes")]
    Entries {
        /// Its name in `track_segment`.
        column: &'static str,
        /// Its entries.
        entries: usize,
        /// Entries of `offset_millis`.
        fixes: usize,
    },
    /// A time outside the segment's day, or NULL.
    #[error("offset_millis has an entry outside the segment's day")]
    Offset,
    /// A segment starts before the one pushed last.
    #[error("segments must ascend by first_at")]
    Order,
    /// The document is closed.
    #[error("the track is finished")]
    Finished,
}

/// Writes one track.
#[derive(Debug)]
pub struct TrackWriter {
    layout: Layout,
    from_millis: i64,
    to_millis: i64,
    stage: Stage,
    last_first_at_millis: i64,
    /// Ascending; no fix of it can be sent yet.
    held: Vec<Fix>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is sent.
    Fresh,
    /// The head of the document is sent, but no fix.
    Headed,
    /// Some fixes are sent.
    Filled,
    Finished,
}

#[derive(Debug)]
enum Layout {
    GeoJson(geojson::Layout),
    Gpx(gpx::Layout),
    Csv(csv::Layout),
}

impl Format {
    /// The format of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "geojson" => Some(Self::GeoJson),
            "gpx" => Some(Self::Gpx),
            "csv" => Some(Self::Csv),
            "csv-spreadsheet" => Some(Self::CsvSpreadsheet),
            _ => None,
        }
    }
}

impl TrackWriter {
    /// A track of `device` from `from_millis` to `to_millis`, both inclusive.
    pub fn new(format: Format, device: &str, from_millis: i64, to_millis: i64) -> Self {
        let layout = match format {
            Format::GeoJson => Layout::GeoJson(geojson::Layout::new(device)),
            Format::Gpx => Layout::Gpx(gpx::Layout::new(device)),
            Format::Csv => Layout::Csv(csv::Layout::new(device, false)),
            Format::CsvSpreadsheet => Layout::Csv(csv::Layout::new(device, true)),
        };
        let stage = Stage::Fresh;
        Self { layout, from_millis, to_millis, stage, last_first_at_millis: i64::MIN, held: Vec::new() }
    }

    /// Takes one segment and returns what no later segment can precede. After an error the track is as before.
    ///
    /// # Errors
    /// The segment cannot be read or is out of order, or the track is finished.
    pub fn push(&mut self, first_at_millis: i64, arrays: &SegmentArrays<'_>) -> Result<Vec<u8>, TrackError> {
        if self.stage == Stage::Finished {
            return Err(TrackError::Finished);
        }
        if first_at_millis < self.last_first_at_millis {
            return Err(TrackError::Order);
        }
        let fixes = arrays.fixes(first_at_millis)?;
        self.last_first_at_millis = first_at_millis;
        let mut out = Vec::new();
        self.write_head(&mut out);
        let settled = self.held.partition_point(|fix| fix.fixed_at_millis < first_at_millis);
        self.write_held(&mut out, settled);
        let span = self.from_millis..=self.to_millis;
        self.held.extend(fixes.filter(|fix| span.contains(&fix.fixed_at_millis)));
        // Two ascending runs at most: the sort finds and merges them.
        self.held.sort_by_key(|fix| fix.fixed_at_millis);
        Ok(out)
    }

    /// Forgets what was not sent yet and returns the time from which to read again: segments that were merged since
    /// the last one pushed begin and end elsewhere. What is pushed next may begin before that time; its fixes from there
    /// on are taken.
    pub fn rewind(&mut self) -> i64 {
        // Every fix before the start of the segment pushed last has been sent, and none from there on.
        self.from_millis = self.from_millis.max(self.last_first_at_millis);
        self.last_first_at_millis = i64::MIN;
        self.held.clear();
        self.from_millis
    }

    /// The rest and the document's end; nothing when called again.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.stage == Stage::Finished {
            return out;
        }
        self.write_head(&mut out);
        self.write_held(&mut out, self.held.len());
        match &self.layout {
            Layout::GeoJson(layout) => layout.tail(&mut out),
            Layout::Gpx(layout) => layout.tail(&mut out),
            Layout::Csv(_) => {}
        }
        self.stage = Stage::Finished;
        out
    }

    fn write_head(&mut self, out: &mut Vec<u8>) {
        if self.stage != Stage::Fresh {
            return;
        }
        self.stage = Stage::Headed;
        match &self.layout {
            Layout::GeoJson(layout) => layout.head(out),
            Layout::Gpx(layout) => layout.head(out),
            Layout::Csv(layout) => layout.head(out),
        }
    }

    fn write_held(&mut self, out: &mut Vec<u8>, count: usize) {
        for fix in self.held.drain(..count) {
            match &mut self.layout {
                Layout::GeoJson(layout) => layout.fix(out, &fix, self.stage == Stage::Headed),
                Layout::Gpx(layout) => layout.fix(out, &fix),
                Layout::Csv(layout) => layout.fix(out, &fix),
            }
            self.stage = Stage::Filled;
        }
    }
}

impl SegmentArrays<'_> {
    pub(crate) fn fixes(&self, first_at_millis: i64) -> Result<impl Iterator<Item = Fix>, TrackError> {
        let offset_millis = int4("offset_millis", self.offset_millis)?;
        if offset_millis.iter().any(|offset| !(0..DAY_MILLIS).contains(&i64::from(*offset))) {
            return Err(TrackError::Offset);
        }
        let fixes = offset_millis.len();
        let lat_e7 = same_length("lat_e7", int4("lat_e7", self.lat_e7)?, fixes)?;
        let lon_e7 = same_length("lon_e7", int4("lon_e7", self.lon_e7)?, fixes)?;
        let altitude_dm =
            self.altitude_dm.map_or_else(|| Ok(vec![NONE_I32; fixes]), |bytes| int4("altitude_dm", bytes))?;
        let altitude_dm = same_length("altitude_dm", altitude_dm, fixes)?;
        let speed_cmps = optional_int2("speed_cmps", self.speed_cmps, fixes)?;
        let heading_cdeg = optional_int2("heading_cdeg", self.heading_cdeg, fixes)?;
        let accuracy_dm = optional_int2("accuracy_dm", self.accuracy_dm, fixes)?;
        let battery_permille = optional_int2("battery_permille", self.battery_permille, fixes)?;
        let places = offset_millis.into_iter().zip(lat_e7).zip(lon_e7).zip(altitude_dm);
        let motions = speed_cmps.into_iter().zip(heading_cdeg).zip(accuracy_dm).zip(battery_permille);
        Ok(places.zip(motions).map(move |((((offset, lat_e7), lon_e7), altitude_dm), motion)| {
            let (((speed_cmps, heading_cdeg), accuracy_dm), battery_permille) = motion;
            let fixed_at_millis = first_at_millis.saturating_add(offset.into());
            Fix {
                fixed_at_millis,
                lat_e7,
                lon_e7,
                altitude_dm,
                speed_cmps,
                heading_cdeg,
                accuracy_dm,
                battery_permille,
            }
        }))
    }
}

fn int4(column: &'static str, bytes: &[u8]) -> Result<Vec<i32>, TrackError> {
    packed::read(bytes).map_err(|fault| TrackError::Column { column, fault })
}

fn optional_int2(column: &'static str, bytes: Option<&[u8]>, fixes: usize) -> Result<Vec<i16>, TrackError> {
    let Some(bytes) = bytes else { return Ok(vec![NONE_I16; fixes]) };
    same_length(column, read_int2(bytes).map_err(|fault| TrackError::Column { column, fault })?, fixes)
}

fn same_length<T>(column: &'static str, values: Vec<T>, fixes: usize) -> Result<Vec<T>, TrackError> {
    let entries = values.len();
    if entries == fixes { Ok(values) } else { Err(TrackError::Entries { column, entries, fixes }) }
}
