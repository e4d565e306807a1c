//! Bodies made to hurt: they cost time and memory in proportion to their own length, at most.

use std::time::Duration;

use crate::{code, read_json, read_msgpack};

/// Runs in a thread, so that a hang fails the test instead of stopping it.
fn within_seconds(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "a test owns its threads")]
    let worker = std::thread::spawn(move || {
        work();
        done.send(()).ok();
    });
    let result = finished.recv_timeout(Duration::from_secs(20));
    if !matches!(result, Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
        worker.join().unwrap();
    }
    result.expect("the body takes too long");
}

#[test]
fn an_integer_of_millions_of_digits_is_a_number_out_of_range() {
    within_seconds(|| {
        let digits = "9".repeat(4_000_000);
        for (number, code) in [
            (digits.clone(), "latitude_not_finite"),
            (format!("-{digits}"), "latitude_not_finite"),
            (format!("0.{digits}"), "accepted"),
            (format!("91.{digits}"), "latitude_range"),
            (format!("1e{digits}"), "latitude_not_finite"),
            (format!("1e-{digits}"), "accepted"),
            (format!("{digits}e-4000000"), "accepted"),
            ("18446744073709551616".into(), "latitude_range"),
        ] {
            let body = format!(r#"[{{"x":{number},"timestamp":1763768400000,"latitude":{number},"longitude":0}}]"#);
            let batch = read_json(body).unwrap();
            let told = batch.rejects.first().map_or("accepted".to_owned(), fleetwire_core::reject::Reject::code);
            assert_eq!(told, code, "{}...", &number[..20.min(number.len())]);
        }
    });
}

#[test]
fn nesting_of_a_million_levels_is_refused_at_once() {
    within_seconds(|| {
        assert_eq!(code(&read_json("[".repeat(1_000_000))), "json_depth");
        assert_eq!(code(&read_json(r#"{"a":"#.repeat(1_000_000))), "json_depth");
        assert_eq!(code(&read_json(format!(r#"[{{"latitude":{}"#, "[".repeat(1_000_000)))), "json_depth");
        assert_eq!(code(&read_msgpack(vec![0x91; 1_000_000])), "msgpack_depth");
        assert_eq!(code(&read_msgpack(vec![0x81; 1_000_000])), "msgpack_depth");
    });
}

#[test]
fn a_claimed_length_is_not_believed() {
    within_seconds(|| {
        for body in [
            b"\xdd\xff\xff\xff\xff".as_slice(),
            b"\xdf\xff\xff\xff\xff",
            b"\x81\xa5fixes\xdd\xff\xff\xff\xff\x80",
            b"\x91\xdf\xff\xff\xff\xff\xc0\xc0",
            b"\x81\xa1x\xdd\xff\xff\xff\xff\xc0",
            b"\x81\xdb\xff\xff\xff\xffkey",
            b"\x81\xa1x\xc6\xff\xff\xff\xff",
            b"\x81\xa1x\xc9\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(code(&read_msgpack(body)), "msgpack_syntax", "{body:x?}");
        }
    });
}

#[test]
fn a_million_fixes_are_not_read() {
    within_seconds(|| {
        assert_eq!(code(&read_json(format!("[{}0]", "0,".repeat(5_000_000)))), "batch_too_large");
        let mut body = b"\xdd\x00\x4c\x4b\x40".to_vec();
        body.resize(body.len() + 5_000_000, 0x80);
        assert_eq!(code(&read_msgpack(body)), "batch_too_large");
    });
}

#[test]
fn keys_that_are_no_strings_are_skipped_with_their_values() {
    let fix = b"\xa9timestamp\xb42025-11-21T23:40:00Z\xa8latitude\x01\xa9longitude\x02";
    for stranger in
        [b"\x05\xc0".as_slice(), b"\xc0\x92\x01\x02", b"\xc4\x08latitude\x07", b"\xa1\xff\xd4\x01\x02", b"\x90\x80"]
    {
        let body = [b"\x91\x84".as_slice(), fix, stranger].concat();
        let batch = read_msgpack(&body).unwrap();
        assert_eq!(batch.columns.lat_e7, [10_000_000], "{stranger:x?}");
    }
}
