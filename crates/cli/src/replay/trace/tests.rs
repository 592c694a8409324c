use super::*;

/// Every line of these texts, or what is wrong.
fn read(texts: &[&str]) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..texts.len())
        .map(|n| dir.path().join(format!("{n}.csv")))
        .collect();
    for (path, text) in paths.iter().zip(texts) {
        fs::write(path, text).unwrap();
    }
    let trace = Trace::find(&[dir.path().to_owned()]).unwrap();
    let mut reader = trace.read("test");
    let mut lines = Vec::new();
    let folder = format!("{}/", dir.path().display());
    loop {
        match reader.next() {
            Ok(Some(line)) => lines.push(format!(
                "{} {} {} {:?}",
                line.time.as_secs_f64(),
                line.uplink,
                line.family,
                line.seen
            )),
            Ok(None) => return Ok(lines),
            Err(error) => return Err(error.to_string().replace(&folder, "")),
        }
    }
}

fn sample(line: &str) -> String {
    read(&[line]).unwrap().remove(0)
}

#[test]
fn a_header_may_name_the_columns_in_any_order_or_be_absent() {
    let plain = "1.5,isp1,192.0.2.1,12.5\n";
    let named = "rtt_ms,other,target,uplink,time\n12.5,x,192.0.2.1,isp1,1.5\n";
    let expected = "1.5 isp1 IPv4 Sample { target: \"192.0.2.1\", rtt: Some(12.5ms) }";
    assert_eq!(read(&[plain]).unwrap(), [expected]);
    assert_eq!(read(&[named]).unwrap(), [expected]);
}

#[test]
fn every_word_for_a_lost_answer_is_known() {
    for word in ["", "-", "timeout", "Timeout", "U", "u"] {
        let line = sample(&format!("1,isp1,a.example,{word}\n"));
        assert!(line.contains("rtt: None"), "`{word}`: {line}");
    }
    assert!(sample("1,isp1,a.example\n").contains("rtt: None"));
}

#[test]
fn times_are_seconds_or_rfc_3339() {
    for time in [
        "1764345602.25",
        "2025-11-28T16:00:02.25Z",
        "2025-11-28T17:00:02.25+01:00",
    ] {
        let line = sample(&format!("{time},isp1,a.example,1\n"));
        assert!(line.starts_with("1764345602.25 "), "{time}: {line}");
    }
}

#[test]
fn the_family_is_the_columns_or_the_targets() {
    assert!(sample("1,isp1,2001:db8::1,1\n").contains("IPv6"));
    assert!(sample("1,isp1,icmp:2001:db8::1,1\n").contains("IPv6"));
    assert!(sample("1,isp1,gateway,1,6\n").contains("IPv6"));
    assert!(sample("1,isp1,gateway,1\n").contains("IPv4"));
}

#[test]
fn what_the_daemon_writes_is_read() {
    use uplinkd_model::{UplinkName, record};
    let row = |seen| {
        let row = record::Row {
            time: Duration::from_secs(1),
            uplink: UplinkName::new("isp1").ok(),
            family: Some(Family::V6),
            seen,
        };
        sample(&format!("{}\n{row}\n", COLUMNS.join(",")))
    };
    let counters = Counters {
        rx_packets: 1,
        tx_packets: 2,
        rx_bytes: 3,
        tx_bytes: 4,
    };
    assert!(row(record::Seen::Counted(counters)).contains("tx_bytes: 4"));
    let event = row(record::Seen::Event("down: \"a\", b".to_owned()));
    assert!(
        event.contains(r#"IPv6 Event("down: \"\"a\"\", b")"#),
        "{event}"
    );
}

#[test]
fn garbage_is_told_with_its_line() {
    let good = "1,isp1,a,1\n";
    let long = format!("{good}{}\n", "x".repeat(5000));
    for (text, said) in [
        ("1,isp1\n", "0.csv:1: 2 columns where time,uplink"),
        ("1,isp1,a,soon\n", "0.csv:1: `soon` is no round-trip time"),
        ("1,isp1,a,-5\n", "`-5` is no round-trip time"),
        ("1,isp1,a,NaN\n", "`NaN` is no round-trip time"),
        ("yesterday,isp1,a,1\n", "`yesterday` is no time"),
        ("-1,isp1,a,1\n", "`-1` is no time since the epoch"),
        ("inf,isp1,a,1\n", "`inf` is no time since the epoch"),
        ("1,,a,1\n", "the uplink is missing"),
        ("1,isp1,,1\n", "the target is missing"),
        ("1,isp1,a,1,5\n", "the family is 4 or 6, not `5`"),
        ("1,isp1,,,,1,x,3,4\n", "tx_packets is no number: `x`"),
        ("time,uplink,rtt_ms\n", "0.csv:1: the header lacks target"),
        (
            "# a note\n\n1,isp1,a,\x1b[31m\n",
            "0.csv:3: `\\u{1b}[31m` is no",
        ),
        (long.as_str(), "0.csv:2: the line is longer than 4096 bytes"),
        (
            "100,isp1,a,1\n50,isp1,a,1\n",
            "0.csv:2: time goes back by 50 s",
        ),
    ] {
        let error = read(&[text]).unwrap_err();
        assert!(error.contains(said), "{text:?}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.csv"), b"1,isp1,\xff\xfe,1\n").unwrap();
    let trace = Trace::find(&[dir.path().to_owned()]).unwrap();
    let error = trace.read("test").next().unwrap_err().to_string();
    assert!(error.contains("a.csv:1: the line is not text"), "{error}");
}

#[test]
fn half_a_line_at_the_end_is_passed_over_and_one_in_the_middle_is_not() {
    assert_eq!(read(&["1,isp1,a,1\n2,is"]).unwrap().len(), 1);
    assert_eq!(read(&["1,isp1,a,1\n2,isp1,a,1"]).unwrap().len(), 2);
    assert!(read(&["1,isp1,a,1\n2,is\n3,isp1,a,1\n"]).is_err());
}

#[test]
fn files_of_a_folder_follow_each_other() {
    let header = "time,uplink,target,rtt_ms\n";
    let (one, two) = (format!("{header}1,a,b,1\n"), format!("{header}2,a,b,1\n"));
    assert_eq!(read(&[&one, &two]).unwrap().len(), 2);
    assert!(read(&[&two, "1000,a,b,1\n", &one]).is_err());
}

#[test]
fn what_cannot_be_read_twice_is_refused() {
    let error = Trace::find(&[PathBuf::from("/dev/null")]).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let error = Trace::find(&[dir.path().to_owned()]).unwrap_err();
    assert!(error.to_string().contains("no recording"), "{error}");
    let error = Trace::find(&[dir.path().join("missing")]).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
}
