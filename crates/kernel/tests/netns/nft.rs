//! Our nft table as nft and the kernel take it: put, read, altered by others, removed.

use uplinkd_kernel::{Kernel, Look, nft::render};
use uplinkd_model::{
    Nat, Outcome, Reserve, Slot, Step,
    kernel_state::NftState,
    nft::{NftTable, NftUplink},
};

use crate::common::{done, execute, in_netns, look, nft, refusal, sh};

/// An uplink's part, with the marks of the default reserve.
pub(crate) fn uplink(slot: u16, interface: &str, nat: Nat, addresses: &[&str]) -> NftUplink {
    let reserve = Reserve::default();
    NftUplink {
        slot,
        interface: interface.to_owned(),
        mark_out: reserve.mark_out(Slot(slot)),
        mark_in: reserve.mark_in(Slot(slot)),
        nat,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

/// A table with the names and the mask of the default reserve.
pub(crate) fn table(uplinks: Vec<NftUplink>) -> NftTable {
    let reserve = Reserve::default();
    NftTable {
        pin_mask: reserve.mark_pin_mask(),
        name: reserve.nft_table,
        uplinks,
    }
}

fn full() -> NftTable {
    let source = Nat::Source("203.0.113.9".parse().unwrap());
    table(vec![
        uplink(1, "wan1", Nat::Masquerade, &["192.0.2.9", "2001:db8::9"]),
        uplink(2, "eth0.7", source, &["198.51.100.9"]),
        uplink(3, "a;b}#", Nat::None, &[]),
    ])
}

fn state(kernel: &mut Kernel) -> NftState {
    let look = Look {
        nft: true,
        ..look()
    };
    kernel.observe(&look).unwrap().nft.unwrap()
}

#[test]
fn every_shape_of_table_loads() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let none = uplink(1, "wan1", Nat::None, &[]);
        let six = uplink(1, "wan1", Nat::None, &["2001:db8::9"]);
        for shape in [
            table(Vec::new()),
            table(vec![none]),
            table(vec![six]),
            full(),
            table(
                (1..=15)
                    .map(|s| uplink(s, &format!("w{s}"), Nat::Masquerade, &[]))
                    .collect(),
            ),
        ] {
            done(&mut kernel, [Step::SetNft(shape.clone())]);
            assert_eq!(state(&mut kernel), NftState::Holds(shape.clone()));
            // What is listed can be loaded again, so that a person can save and restore it.
            nft(&format!("flush ruleset\n{}", sh("nft list ruleset")));
            nft(&format!("flush ruleset\n{}", render(&shape).unwrap()));
        }
    });
}

#[test]
fn the_table_comes_is_altered_and_goes() {
    in_netns(|| {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Kernel::open()
                .unwrap()
                .with_state_dir(Some(dir.path().to_owned()))
        };
        let mut kernel = open();
        assert_eq!(state(&mut kernel), NftState::Absent);
        nft("table inet other { chain c { }\n }");
        done(&mut kernel, [Step::SetNft(full()), Step::SetNft(full())]);
        assert_eq!(state(&mut kernel), NftState::Holds(full()));

        // After a restart the file tells what was put; without it nothing is believed.
        assert_eq!(state(&mut open()), NftState::Holds(full()));
        let forgetful = state(&mut Kernel::open().unwrap());
        assert!(
            matches!(forgetful, NftState::Altered { .. }),
            "{forgetful:?}"
        );

        sh("nft add rule inet uplinkd postrouting counter accept");
        let NftState::Altered { found } = state(&mut kernel) else {
            panic!("not seen");
        };
        assert!(found.contains("`counter accept`"), "{found}");
        done(&mut kernel, [Step::SetNft(full())]);
        assert_eq!(state(&mut kernel), NftState::Holds(full()));

        sh("nft delete element inet uplinkd nat4 { wan1 }");
        assert!(matches!(state(&mut open()), NftState::Altered { .. }));

        let delete = Step::DeleteNft {
            name: "uplinkd".to_owned(),
        };
        done(&mut kernel, [delete.clone()]);
        assert_eq!(execute(&mut kernel, [delete]), [Outcome::AlreadySo]);
        assert_eq!(state(&mut kernel), NftState::Absent);
        assert!(sh("nft list tables").contains("table inet other"));
    });
}

#[test]
fn what_cannot_be_put_leaves_the_old_table_in_place() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        done(&mut kernel, [Step::SetNft(full())]);
        let before = sh("nft list ruleset");
        let bad = table(vec![uplink(1, "a\"b", Nat::None, &[])]);
        let outcomes = execute(&mut kernel, [Step::SetNft(bad)]);
        assert!(refusal(&outcomes[0]).1.contains("not an interface name"));
        // `hook` is a word of nft's own language, so that nft itself refuses it as a name.
        let bad = NftTable {
            name: "hook".to_owned(),
            ..full()
        };
        let outcomes = execute(&mut kernel, [Step::SetNft(bad)]);
        assert!(
            refusal(&outcomes[0]).1.contains("nft refused: "),
            "{outcomes:?}"
        );
        assert_eq!(sh("nft list ruleset"), before);
    });
}
