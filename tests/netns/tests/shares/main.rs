//! Who carries how much of what, end to end: limits of groups, with real packets on lines that get
//! worse and better again.

mod budget;
mod common;
mod follow;
mod limits;

use std::process::ExitCode;

use uplinkd_lab::harness;

/// The tests of some modules, under the modules' names.
macro_rules! tests {
    ($($module:ident { $($test:ident,)* })*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test)),*),*]
    };
}

fn main() -> ExitCode {
    let tests: &[harness::Test] = tests! {
        budget {
            every_byte_counts_over_stops_and_kills,
            at_its_limit_a_line_is_the_last_resort,
            a_line_that_is_off_carries_nothing_even_alone,
            a_group_uses_a_line_while_there_is_budget,
        }
        follow {
            shares_follow_the_rates_of_the_lines,
            a_full_tier_overflows_and_comes_back,
            new_connections_leave_a_line_that_becomes_slower,
        }
        limits {
            a_lossy_line_serves_downloads_and_no_calls,
        }
    };
    harness::run(tests)
}
