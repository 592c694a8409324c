//! ARP on Ethernet (RFC 826): making a question, and knowing its answer.

use std::net::Ipv4Addr;

use super::Mac;

/// Its number among the protocols of Ethernet.
pub(super) const PROTOCOL: u16 = 0x0806;
/// The Ethernet header and the message.
const LENGTH: usize = 14 + 28;
const EVERYBODY: Mac = [0xff; 6];
/// Ethernet, IPv4, and how long addresses of both are.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Who asks for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) own: Mac,
    pub(super) sender: Ipv4Addr,
    pub(super) target: Ipv4Addr,
}

/// The bytes of a question to everybody on the link.
pub(super) fn frame(question: Question) -> [u8; LENGTH] {
    let Question {
        own,
        sender,
        target,
    } = question;
    let parts = [
        &EVERYBODY[..],
        &own,
        &PROTOCOL.to_be_bytes(),
        &KINDS,
        &[0, 1],
        &own,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    ];
    let mut frame = [0; LENGTH];
    let mut rest = &mut frame[..];
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    frame
}

/// Whether a frame answers a question: it is from the one who was asked for, and to us.
pub(super) fn answers(frame: &[u8], question: Question) -> bool {
    // Short frames are filled up to 60 bytes.
    let Some(frame) = frame.get(..LENGTH) else {
        return false;
    };
    let (kind, message) = (&frame[12..14], &frame[14..]);
    let (operation, sender, receiver) = (&message[6..8], &message[14..18], &message[18..28]);
    kind == PROTOCOL.to_be_bytes()
        && message[..6] == KINDS
        && operation == [0, 2]
        && sender == question.target.octets()
        && receiver[..6] == question.own
        && receiver[6..] == question.sender.octets()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUESTION: Question = Question {
        own: [2, 0, 0, 0, 0, 1],
        sender: Ipv4Addr::new(192, 0, 2, 2),
        target: Ipv4Addr::new(192, 0, 2, 1),
    };
    const GATEWAY: Mac = [2, 0, 0, 0, 0, 9];

    fn reply() -> [u8; LENGTH] {
        let mut reply = frame(Question {
            own: GATEWAY,
            sender: QUESTION.target,
            target: QUESTION.sender,
        });
        reply[..6].copy_from_slice(&QUESTION.own);
        reply[21] = 2;
        reply[32..38].copy_from_slice(&QUESTION.own);
        reply
    }

    #[test]
    fn a_question_is_what_arping_sends() {
        // `arping -c1 -I eth0 192.0.2.1` from 192.0.2.2.
        let arping = "ffffffffffff020000000001080600010800060400010200000000\
                      01c0000202000000000000c0000201";
        let hex: String = frame(QUESTION).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, arping);
    }

    #[test]
    fn the_answer_of_the_one_who_was_asked_for_counts() {
        assert!(answers(&reply(), QUESTION));
        let filled = [&reply()[..], &[0; 18]].concat();
        assert!(answers(&filled, QUESTION));
        assert!(!answers(&frame(QUESTION), QUESTION));
        let other = Question {
            target: Ipv4Addr::new(192, 0, 2, 3),
            ..QUESTION
        };
        assert!(!answers(&reply(), other));
        let elsewhere = Question {
            own: GATEWAY,
            ..QUESTION
        };
        assert!(!answers(&reply(), elsewhere));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!answers(&bytes, QUESTION));
        }

        /// Only Ethernet's own addresses and the answering one's may be anything.
        #[test]
        fn a_changed_answer_is_none(at in 12_usize..LENGTH, bit in 0_u32..8) {
            let mut bad = reply();
            bad[at] ^= 1_u8 << bit;
            prop_assert_eq!(answers(&bad, QUESTION), (22..28).contains(&at));
        }
    }
}
