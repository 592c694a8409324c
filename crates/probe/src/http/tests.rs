use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::LocalSet,
};
use uplinkd_model::Host;

use super::*;

fn page(statuses: &[u16], body: Option<&str>) -> Page {
    Page {
        is_secure: false,
        host: Host::Name("a.example".to_owned()),
        port: 80,
        path: "/".to_owned(),
        statuses: statuses.to_vec(),
        body: body.map(str::to_owned),
        certificate_name: None,
        authorities: None,
    }
}

/// What is said of a server that answers with these bytes, whatever it is asked.
fn answered(answer: &[u8], page: &Page) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    LocalSet::new().block_on(&runtime.unwrap(), async {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let answer = answer.to_vec();
        tokio::task::spawn_local(async move {
            let mut question = [0; 1024];
            assert!(theirs.read(&mut question).await.unwrap() > 0);
            // Whoever has heard enough may be gone.
            let _ = theirs.write_all(&answer).await;
            let _ = theirs.shutdown().await;
        });
        ask(ours, page).await
    })
}

#[test]
fn a_status_is_good_where_it_is_wanted() {
    let of = |statuses: &[u16], status| judge(&page(statuses, None), status, None);
    assert_eq!(of(&[], 200), Ok(()));
    assert_eq!(of(&[], 204), Ok(()));
    assert_eq!(of(&[204], 204), Ok(()));
    assert_eq!(of(&[204], 200).unwrap_err(), "HTTP status 200");
    assert_eq!(of(&[], 503).unwrap_err(), "HTTP status 503");
    assert_eq!(of(&[302], 302), Ok(()));
    assert!(of(&[], 511).unwrap_err().starts_with("captive portal"));
}

#[test]
fn a_redirect_to_another_host_is_a_captive_portal() {
    let to = |location| judge(&page(&[], None), 302, Some(location)).unwrap_err();
    assert_eq!(
        to("http://login.hotel/?x=1"),
        "captive portal: redirected to login.hotel"
    );
    assert_eq!(
        to("//login.hotel/"),
        "captive portal: redirected to login.hotel"
    );
    // The near misses: the same host by another scheme, in other letters, or by a path alone.
    for same in [
        "https://a.example/",
        "http://A.Example:8080/x",
        "/login",
        "login",
        "?",
    ] {
        assert_eq!(to(same), format!("HTTP status 302: redirected to {same}"));
    }
    // A server that has shown a good certificate is no portal.
    let secure = Page {
        is_secure: true,
        ..page(&[], None)
    };
    let told = judge(&secure, 302, Some("https://b.example/")).unwrap_err();
    assert_eq!(told, "redirected to another host, b.example");
}

#[test]
fn a_page_is_held_against_its_status_and_its_text() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well";
    assert_eq!(answered(answer, &page(&[], None)), Ok(()));
    assert_eq!(answered(answer, &page(&[200], Some("is well"))), Ok(()));
    let missing = answered(answer, &page(&[], Some("is bad"))).unwrap_err();
    assert_eq!(missing, "the page does not contain \"is bad\"");
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nall is\r\n5\r\n well\r\n0\r\n\r\n";
    assert_eq!(answered(chunked, &page(&[], Some("is well"))), Ok(()));
}

#[test]
fn what_is_no_answer_says_so() {
    let of = |answer: &[u8]| answered(answer, &page(&[], Some("x"))).unwrap_err();
    assert!(of(b"SSH-2.0-OpenSSH_9.2\r\n").starts_with("the answer is no HTTP: "));
    assert_eq!(of(b""), "the connection ended before the answer");
    let endless = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'a'; 100_000]].concat();
    assert!(of(&endless).ends_with("head is too large"));
}

#[test]
fn a_body_without_end_is_read_only_so_far() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    let long = [&head[..], &vec![b'a'; BODY_MAX], b"needle"].concat();
    let told = answered(&long, &page(&[], Some("needle"))).unwrap_err();
    assert_eq!(told, "the page does not contain \"needle\"");
    let near = [
        &head[..],
        &vec![b'a'; BODY_MAX - 6],
        b"needle",
        &[b'a'; 999],
    ]
    .concat();
    assert_eq!(answered(&near, &page(&[], Some("needle"))), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_answer_is_too_much(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = answered(&bytes, &page(&[], Some("x")));
    }

    #[test]
    fn a_changed_answer_is_good_only_with_the_text_in_it(at in 0_usize..52, to in any::<u8>()) {
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well".to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        if answered(&bytes, &page(&[200], Some("well"))).is_ok() {
            prop_assert!(contains(&bytes, "well") && contains(&bytes, "200"));
        }
    }

    #[test]
    fn no_location_is_too_much(location in "\\PC{0,60}", status in 300_u16..400) {
        prop_assert!(judge(&page(&[], None), status, Some(&location)).is_err());
    }
}
