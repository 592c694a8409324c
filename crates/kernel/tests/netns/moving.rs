//! The router's own flows move to another uplink although answers are on their way.

use std::{net::UdpSocket, time::Duration};

use uplinkd_kernel::Kernel;
use uplinkd_model::{Connection, Family, Nat, Reserve, Rule, Slot, Step};

use crate::{
    common::{OURS, done, in_netns, sh},
    packets::{lead_by_marks, net, socket, uplinks},
};

const OWN: [&str; 2] = ["100.64.1.2:6000", "[2001:db8:1::2]:6000"];
const PEER: [&str; 2] = ["203.0.113.1:900", "[2001:db8:ffff::1]:900"];
/// An answer goes out, and another one this much later.
const LATE: Duration = Duration::from_millis(300);

/// What ends a connection.
#[derive(Clone, Copy, Debug)]
enum Way {
    Flush,
    Move,
    Delete,
}

#[test]
fn a_flow_of_the_router_moves_although_answers_are_on_their_way() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        let mut table = uplinks([Nat::Masquerade; 2]);
        for uplink in &mut table.uplinks {
            uplink.nat6 = Nat::Masquerade;
        }
        done(&mut kernel, [Step::SetNft(table)]);
        let reserve = Reserve::default();
        let marks = reserve.marks();
        for isp in &net.isp {
            for peer in PEER {
                // Answers every packet, and once more while it is on its way.
                isp.run(move || {
                    let socket = UdpSocket::bind(peer).unwrap();
                    std::thread::spawn(move || {
                        while let Ok((_, from)) = socket.recv_from(&mut [0; 9]) {
                            socket.send_to(b"!", from).unwrap();
                            std::thread::sleep(LATE);
                            socket.send_to(b"!", from).unwrap();
                        }
                    });
                });
            }
        }
        for (family, (own, peer)) in [Family::V4, Family::V6]
            .into_iter()
            .zip(OWN.into_iter().zip(PEER))
        {
            for way in [Way::Flush, Way::Move, Way::Delete] {
                sh("conntrack -F");
                let socket = socket(own);
                let exchange = |socket: &UdpSocket| {
                    socket.send_to(b"?", peer).unwrap();
                    socket.recv_from(&mut [0; 9]).unwrap();
                };
                let connections = |kernel: &mut Kernel| -> Vec<Connection> {
                    let all = kernel.connections(marks.all(), 100).unwrap().list;
                    all.into_iter()
                        .filter(|c| c.original.protocol == 17 && c.original.family() == family)
                        .collect()
                };
                exchange(&socket);
                let before = connections(&mut kernel);
                assert_eq!(before.len(), 1, "{before:?}");
                assert_eq!(before[0].mark, reserve.mark_out(Slot(1)).value);

                // The better way is the other one now; an answer by the old one is on its way.
                let to_wan2 = Rule::lookup(family, 2200, reserve.table_service(Slot(2)), OURS);
                done(&mut kernel, [Step::AddRule(to_wan2.clone())]);
                let mark = reserve.mark_out(Slot(1));
                let step = match way {
                    Way::Flush => Step::FlushConnections {
                        mark,
                        family: Some(family),
                    },
                    Way::Move => Step::MoveConnections { mark, family },
                    Way::Delete => Step::DeleteConnections(vec![before[0].original]),
                };
                done(&mut kernel, [step]);
                std::thread::sleep(LATE * 2);
                let meanwhile = connections(&mut kernel);
                match way {
                    // So it would be.
                    Way::Flush => {
                        let marks: Vec<u32> = meanwhile.iter().map(|c| c.mark).collect();
                        assert_eq!(marks, [reserve.mark_in(Slot(1)).value], "{own}");
                        sh("conntrack -F");
                    }
                    Way::Move | Way::Delete => assert_eq!(meanwhile, [], "{own}, {way:?}"),
                }
                exchange(&socket);
                let after = connections(&mut kernel);
                assert_eq!(after.len(), 1, "{after:?}");
                assert_eq!(after[0].original, before[0].original);
                assert_eq!(after[0].mark, reserve.mark_out(Slot(2)).value);
                done(&mut kernel, [Step::DeleteRule(to_wan2)]);
                std::thread::sleep(LATE * 2);
            }
        }
    });
}
