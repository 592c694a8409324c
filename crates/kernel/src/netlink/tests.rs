//! Tests of the transport against the running kernel; none needs a right or leaves a trace.

use super::*;

#[test]
fn batches_are_cut_by_count_and_by_bytes() {
    let small = Message::new(1, 0, &[0; 12]);
    let large = Message::new(1, 0, &[0; BATCH_BYTES_MAX / 2]);
    assert_eq!(batch_length(&vec![small.clone(); 300]), BATCH_MESSAGES_MAX);
    assert_eq!(batch_length(&[large.clone(), large.clone(), small]), 1);
    assert_eq!(
        batch_length(&[Message::new(1, 0, &[0; 2 * BATCH_BYTES_MAX])]),
        1
    );
}

#[test]
fn every_message_of_a_large_request_gets_its_own_answer() {
    // RTM_DELRULE for priorities that nobody has: refused without an effect, root or not.
    let messages: Vec<_> = (0..450)
        .map(|n| {
            Message::new(33, 0, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).u32(6, 3_000_000_000 + n)
        })
        .collect();
    let mut socket = Socket::open(Protocol::Route).unwrap();
    let results = socket.request(&messages).unwrap();
    assert_eq!(results.len(), messages.len());
    for result in results {
        let errno = result.unwrap_err().errno;
        assert!([libc::ENOENT, libc::EPERM].contains(&errno), "{errno}");
    }
}

#[test]
fn the_loopback_interface_is_found_by_dump_and_by_question() {
    let mut socket = Socket::open(Protocol::Route).unwrap();
    let links = socket.dump(Message::new(18, 0, &[0; 16])).unwrap();
    assert!(
        links
            .iter()
            .any(|l| find(&l.body[16..], 3) == Some(b"lo\0".as_slice()))
    );
    let lo = socket
        .ask(Message::new(18, 0, &[0; 16]).str(3, "lo"))
        .unwrap();
    assert_eq!(find(&lo.body[16..], 3), Some(b"lo\0".as_slice()));
    let missing = socket.ask(Message::new(18, 0, &[0; 16]).str(3, "nosuch0"));
    assert_eq!(missing.unwrap_err().errno, libc::ENODEV);
}
