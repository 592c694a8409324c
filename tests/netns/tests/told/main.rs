//! Who is told of what happens, end to end: hooks, webhooks, e-mail, and `uplinkctl notify-test`.

mod common;
mod hooks;
mod mail;
mod orders;
mod servers;

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
        hooks {
            each_event_reaches_a_hook_that_has_no_rights,
            one_that_hangs_delays_nobody_and_is_killed,
            what_others_could_have_written_is_not_run,
            home_assistant_is_told_by_the_example,
        }
        servers {
            news_of_an_outage_leave_when_a_line_is_back,
            what_is_secret_is_shown_nowhere,
            only_who_has_shown_a_good_certificate_is_told,
        }
        mail {
            a_letter_is_handed_over_and_again_when_it_was_not_taken,
        }
        orders {
            a_test_shows_what_came_of_each,
            another_file_tells_others,
        }
    };
    harness::run(tests)
}
