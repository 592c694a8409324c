//! Budgets: limits, periods, what becomes of a line at its limit.

use uplinkd_model::{
    Permille,
    budget::{AtLimit, Budget, Period},
};

use crate::shown;

fn budget(lines: &str) -> Option<Budget> {
    let text = format!(
        "[uplink.isp1]\ninterface = \"eth1\"\n[uplink.isp1.budget]\nlimit = \"50GB\"\n{lines}"
    );
    let parsed = uplinkd_config::parse("u.toml", &text);
    parsed
        .unwrap_or_else(|_| panic!("{}", shown(&text)))
        .uplinks()[0]
        .budget
        .clone()
}

#[test]
fn a_limit_is_enough() {
    let usual = Budget {
        limit: 50_000_000_000,
        period: Period::Month(1),
        warn_at: vec![Permille(750), Permille(950)],
        at_limit: AtLimit::LastResort,
    };
    assert_eq!(budget(""), Some(usual.clone()));
    let written =
        "period = \"month\"\nreset_day = 31\nwarn_at = [\"95%\", \"50%\"]\nat_limit = \"off\"\n";
    let expected = Budget {
        period: Period::Month(31),
        warn_at: vec![Permille(500), Permille(950)],
        at_limit: AtLimit::Off,
        ..usual
    };
    assert_eq!(budget(written), Some(expected));
    let period = |lines| budget(lines).unwrap().period;
    assert_eq!(period("period = \"week\""), Period::Week);
    assert_eq!(period("period = \"day\""), Period::Day);
    assert_eq!(
        period("period = { rolling = \"30d\" }"),
        Period::Rolling(30)
    );
    assert_eq!(budget("warn_at = []").unwrap().warn_at, []);
}

#[test]
fn budgets_that_make_no_sense() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
[uplink.isp1.budget]
limit = "50"
period = "year"
reset_day = 32
warn_at = ["most"]
at_limit = "stop"
[uplink.isp2]
interface = "eth2"
budget = { period = "week", reset_day = 3 }
[uplink.isp3]
interface = "eth3"
budget = { limit = "1GB", period = { rolling = "1h" } }
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the limit of uplink `isp1` cannot be `50`
 --> u.toml:5:9
  |
5 | limit = "50"
  |         ^^^^ not a number of bytes
  |
  = hint: write bytes with a unit: "500MB", "50GB", "1.5TB", or "50GiB" in powers of 1024

error: the period of the budget of uplink `isp1` cannot be `year`
 --> u.toml:6:10
  |
6 | period = "year"
  |          ^^^^^^ no such word
  |
  = hint: write "month" or "week" or "day" or `{ rolling = "30d" }`

error: the reset day of uplink `isp1` must be 1 to 31, not 32
 --> u.toml:7:13
  |
7 | reset_day = 32
  |             ^^ not in 1 to 31

error: the part of its budget at which uplink `isp1` is told of cannot be `most`
 --> u.toml:8:12
  |
8 | warn_at = ["most"]
  |            ^^^^^^ not a part in percent
  |
  = hint: write "0.1%" to "100%", or "off" for no limit

error: `at_limit` of uplink `isp1` cannot be `stop`
 --> u.toml:9:12
  |
9 | at_limit = "stop"
  |            ^^^^^^ no such word
  |
  = hint: write "last-resort" or "off" or "keep"

error: the budget of uplink `isp2` has no limit
  --> u.toml:12:1
   |
12 | budget = { period = "week", reset_day = 3 }
   | ^^^^^^ `limit` is missing
   |
   = hint: add `limit = "50GB"`

error: uplink `isp2` has a reset day without a month
  --> u.toml:12:41
   |
12 | budget = { period = "week", reset_day = 3 }
   |                                         ^ only a month begins on a day that you choose
   |
   = hint: remove it, or set `period = "month"`

error: the period of the budget of uplink `isp3` must be 1day to 1year, not `1h`
  --> u.toml:15:48
   |
15 | budget = { limit = "1GB", period = { rolling = "1h" } }
   |                                                ^^^^ not in 1day to 1year
   |
   = hint: "30d" is usual; whole days are counted
"#);
}

#[test]
fn a_group_without_budgets_has_nothing_to_use_up() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
[group.video]
tiers = [["isp1"]]
while_budget = true
[[policy]]
use = "video"
"#;
    insta::assert_snapshot!(shown(text), @r#"
warning: no uplink of group `video` has a budget
 --> u.toml:6:16
  |
6 | while_budget = true
  |                ^^^^ nothing can be used up
  |
  = hint: remove it, or add `[uplink.NAME.budget]` to one of them
"#);
}
