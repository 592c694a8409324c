//! The dashboard in a real browser, on the real daemon. What happens in the browser is in `browser.mjs`, which
//! tells us what to do to the network meanwhile.

mod followers;
mod stage;

use std::process::ExitCode;

use anyhow::Result;
use uplinkd_lab::harness;
use uplinkd_netns_tests::config;

use stage::{play, play_demo, play_with};

fn main() -> ExitCode {
    let tests: &[harness::Test] = &[
        ("a_token_opens_it_and_a_wrong_one_does_not", || {
            play("token")
        }),
        ("a_cut_line_is_seen_without_asking", || play("failover")),
        ("where_a_connection_would_go_is_told", || play("explain")),
        ("orders_are_carried_out_and_what_they_say_is_text", || {
            play("orders")
        }),
        ("a_file_is_tried_confirmed_and_taken_back", || play("trial")),
        ("whoever_may_only_read_is_told_so", || play("reader")),
        ("everybody_can_use_it_light_dark_and_on_a_phone", || {
            play("everybody")
        }),
        ("the_demonstration_has_switches", play_demo),
        ("it_is_small_and_quick", small_and_quick),
        (
            "a_hundred_pages_that_follow_cost_little",
            followers::cost_little,
        ),
    ];
    harness::run(tests)
}

/// Four uplinks of two families, as many as most routers will ever have.
fn small_and_quick() -> Result<()> {
    play_with("weight", 4, &config(&[4, 3, 2, 1]))
}
