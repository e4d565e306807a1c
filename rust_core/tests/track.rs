//! Tracks: documents that others can read, and ascending time whatever way the fixes are spread over segments.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use fleetwire_core::fix::NONE_I32;
use fleetwire_core::packed;
use fleetwire_core::pg_array::{ArrayError, INT2_OID};
use fleetwire_core::track::{Format, SegmentArrays, TrackError, TrackWriter};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOON_MILLIS: i64 = 1_763_726_400_000;

/// What `array_send()` gives for `int2[]`.
fn int2(values: &[Option<i16>]) -> Vec<u8> {
    let mut out = Vec::new();
    let length = u32::try_from(values.len()).unwrap();
    for word in [1, u32::from(values.contains(&None)), INT2_OID, length, 1] {
        out.extend(word.to_be_bytes());
    }
    for value in values {
        match value {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                out.extend(2_i32.to_be_bytes());
                out.extend(value.to_be_bytes());
            }
        }
    }
    out
}

/// What `record_send()` gives for `packed_int4`.
fn int4(values: &[i32]) -> Vec<u8> {
    let mut field = Vec::new();
    packed::push(&mut field, values.iter().copied());
    field.split_off(4)
}

/// Pushes a segment of these times, its latitudes telling the fixes apart.
fn push(track: &mut TrackWriter, times: &[i64]) -> Result<String, TrackError> {
    let first_at_millis = times[0];
    let offset_millis: Vec<i32> = times.iter().map(|time| i32::try_from(time - first_at_millis).unwrap()).collect();
    let places: Vec<i32> = times.iter().map(|time| i32::try_from(time - NOON_MILLIS).unwrap()).collect();
    let (offset_millis, places) = (int4(&offset_millis), int4(&places));
    let out = track.push(first_at_millis, &bare(&offset_millis, &places))?;
    Ok(String::from_utf8(out).unwrap())
}

fn bare<'a>(offset_millis: &'a [u8], places: &'a [u8]) -> SegmentArrays<'a> {
    SegmentArrays {
        offset_millis,
        lat_e7: places,
        lon_e7: places,
        altitude_dm: None,
        speed_cmps: None,
        heading_cdeg: None,
        accuracy_dm: None,
        battery_permille: None,
    }
}

fn finish(track: &mut TrackWriter) -> String {
    String::from_utf8(track.finish()).unwrap()
}

fn whole(format: Format, device: &str, segments: &[&[i64]]) -> String {
    let mut track = TrackWriter::new(format, device, i64::MIN, i64::MAX);
    let mut text: String = segments.iter().map(|times| push(&mut track, times).unwrap()).collect();
    text.push_str(&finish(&mut track));
    text
}

proptest! {
    #[test]
    fn time_ascends_however_fixes_are_stored(
        steps in proptest::collection::btree_set(0_i64..500, 0..60),
        rows in proptest::collection::vec(0_usize..7, 60),
        (from, to) in (-10_i64..300, 200_i64..510),
    ) {
        let mut segments: Vec<Vec<i64>> = vec![Vec::new(); 7];
        for (step, row) in steps.iter().zip(rows) {
            segments[row].push(NOON_MILLIS + step);
        }
        segments.retain(|times| !times.is_empty());
        segments.sort();
        let span = NOON_MILLIS + from..=NOON_MILLIS + to;
        let mut track = TrackWriter::new(Format::Csv, "a", *span.start(), *span.end());
        let mut sent = 0;
        let mut text = String::new();
        for times in &segments {
            text.push_str(&push(&mut track, times).unwrap());
            let settled = steps.iter().filter(|step| {
                let time = NOON_MILLIS + **step;
                span.contains(&time) && time < times[0]
            });
            sent = settled.count();
            prop_assert_eq!(text.lines().count(), 1 + sent, "all that no later segment can precede");
        }
        text.push_str(&finish(&mut track));
        let written: Vec<i64> =
            text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
        let expected: Vec<i64> = steps.iter().map(|step| NOON_MILLIS + step).filter(|time| span.contains(time)).collect();
        prop_assert!(sent <= expected.len());
        prop_assert_eq!(written, expected);
    }
}

#[test]
fn segments_merged_meanwhile_are_read_again_from_where_the_text_ends() {
    let at = |steps: &[i64]| steps.iter().map(|step| NOON_MILLIS + step).collect::<Vec<_>>();
    let all = whole(Format::Csv, "a", &[&at(&[0, 2, 3, 4, 5, 6])]);
    let mut track = TrackWriter::new(Format::Csv, "a", i64::MIN, i64::MAX);
    let mut text = push(&mut track, &at(&[0, 5])).unwrap();
    text.push_str(&push(&mut track, &at(&[2, 3])).unwrap());
    // 0 is sent; 4 and 6 are not read yet.
    assert_eq!(track.rewind(), NOON_MILLIS + 2);
    assert_eq!(track.rewind(), NOON_MILLIS + 2);
    // Everything is one segment by now.
    text.push_str(&push(&mut track, &at(&[0, 2, 3, 4, 5, 6])).unwrap());
    text.push_str(&finish(&mut track));
    assert_eq!(text, all);
}

#[test]
fn geojson_is_read_by_others() {
    let name = "L\u{fc}beck \"7\"";
    let read: Value =
        serde_json::from_str(&whole(Format::GeoJson, name, &[&[NOON_MILLIS, NOON_MILLIS + 2_500]])).unwrap();
    assert_eq!(read["type"], "FeatureCollection");
    let features = read["features"].as_array().unwrap();
    assert_eq!(features.len(), 2);
    let expected = json!({
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [0.000_25, 0.000_25]},
        "properties": {"device": name, "timestamp": NOON_MILLIS + 2_500, "time": "2025-11-21T12:00:02.500Z"},
    });
    assert_eq!(features[1], expected);
}

#[test]
fn members_are_shown_in_the_units_of_the_wire() {
    let offset_millis = int4(&[0, 1_000]);
    let places = int4(&[481_371_540, 481_371_541]);
    let altitude_dm = int4(&[5_190, NONE_I32]);
    let speed_cmps = int2(&[Some(1_340), Some(0)]);
    let heading_cdeg = int2(&[Some(-8_900), Some(-18_000)]);
    let battery_permille = int2(&[None, Some(1_000)]);
    let arrays = SegmentArrays {
        altitude_dm: Some(&altitude_dm),
        speed_cmps: Some(&speed_cmps),
        heading_cdeg: Some(&heading_cdeg),
        battery_permille: Some(&battery_permille),
        ..bare(&offset_millis, &places)
    };
    let mut track = TrackWriter::new(Format::Csv, "a,b", 0, i64::MAX);
    let mut text = String::from_utf8(track.push(NOON_MILLIS, &arrays).unwrap()).unwrap();
    text.push_str(&finish(&mut track));
    let expected = concat!(
        "device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m,battery\n",
        "\"a,b\",1763726400000,48.137154,48.137154,519,13.4,271,,\n",
        "\"a,b\",1763726401000,48.1371541,48.1371541,,0,180,,1\n",
    );
    assert_eq!(text, expected);
    let mut track = TrackWriter::new(Format::GeoJson, "a", 0, i64::MAX);
    let mut text = String::from_utf8(track.push(NOON_MILLIS, &arrays).unwrap()).unwrap();
    text.push_str(&finish(&mut track));
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["features"][0]["geometry"]["coordinates"], json!([48.137_154, 48.137_154, 519]));
    assert_eq!(read["features"][0]["properties"]["heading"], 271);
}

#[test]
fn gpx_is_one_track() {
    let text = whole(Format::Gpx, "<7>", &[&[NOON_MILLIS], &[NOON_MILLIS + 1]]);
    assert!(text.contains("<trk><name>&lt;7&gt;</name><trkseg>"));
    assert_eq!(text.matches("<trkpt ").count(), 2);
    assert!(text.contains("<time>2025-11-21T12:00:00.001Z</time></trkpt>"));
    assert!(text.ends_with("</trkseg></trk></gpx>\n"));
}

#[test]
fn an_empty_track_is_a_document() {
    let read: Value = serde_json::from_str(&whole(Format::GeoJson, "a", &[])).unwrap();
    assert_eq!(read, json!({"type": "FeatureCollection", "features": []}));
    assert!(whole(Format::Gpx, "a", &[]).ends_with("<name>a</name><trkseg>\n</trkseg></trk></gpx>\n"));
    assert_eq!(whole(Format::Csv, "a", &[]).lines().count(), 1);
}

#[test]
fn what_does_not_fit_is_refused_and_the_track_goes_on() {
    let mut track = TrackWriter::new(Format::Csv, "a", 0, i64::MAX);
    push(&mut track, &[NOON_MILLIS]).unwrap();
    assert_eq!(push(&mut track, &[NOON_MILLIS - 1]), Err(TrackError::Order));
    let (one, two) = (int4(&[0]), int4(&[0, 86_400_000]));
    let mut refused = |arrays| track.push(NOON_MILLIS + 5, &arrays).unwrap_err();
    assert_eq!(refused(bare(&two, &one)), TrackError::Offset);
    assert_eq!(refused(bare(&one, &two)), TrackError::Entries { column: "lat_e7", entries: 2, fixes: 1 });
    let unreadable = TrackError::Column { column: "lat_e7", fault: ArrayError::Length };
    assert_eq!(refused(bare(&one, &[])), unreadable);
    push(&mut track, &[NOON_MILLIS + 1]).unwrap();
    assert_eq!(finish(&mut track).lines().count(), 1);
    assert_eq!((finish(&mut track).as_str(), push(&mut track, &[NOON_MILLIS + 2])), ("", Err(TrackError::Finished)));
}

#[test]
fn formats_have_names() {
    assert_eq!(Format::named("gpx"), Some(Format::Gpx));
    assert_eq!(Format::named("kml"), None);
}
