//! The API of the real daemon: whether it is what its document says, and who gets in.

mod document;
mod doors;
mod request;

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
        doors {
            groups_of_the_process_decide_over_the_socket,
            a_reload_opens_and_closes_tcp_at_once,
            a_daemon_does_not_start_with_tokens_that_others_can_read,
        }
        document {
            the_daemon_does_what_its_document_says,
        }
    };
    harness::run(tests)
}
