//! Targets of all kinds, asked by the real daemon over real packets: each answers on a line that is
//! well, fails for the right reason, is asked over its own line only, and tells the truth while that
//! is out of service.

use std::process::ExitCode;

mod commands;
mod common;
mod connections;
mod far;
mod neighbours;
mod pages;
mod services;

/// Tests with their paths as names.
macro_rules! tests {
    ($($module:ident: $($test:ident)*;)*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test),)*)*]
    };
}

fn main() -> ExitCode {
    // They wait for answers that may be asked for seldom.
    uplinkd_lab::harness::run_together(
        tests! {
            services:
                a_tcp_port_that_is_closed
                a_tcp_port_by_ipv6
                a_name_server_that_knows_less_than_it_should
                a_name_server_by_tcp_and_ipv6
                the_providers_own_resolver
                a_name_outlives_its_resolver
                an_echo_of_a_name;
            commands:
                a_program_that_fails_and_one_that_hangs;
            neighbours:
                a_gateway_that_drops_echoes
                a_gateway_that_drops_echoes_by_ipv6
                a_gateway_that_is_gone;
            connections:
                connections_that_send_again_are_a_sign
                nothing_stays_behind_a_daemon_that_was_killed
                without_the_right_to_watch_it_runs_on;
            pages:
                a_page_that_is_another_one
                a_certificate_of_somebody_else
                a_certificate_that_nobody_trusts;
        },
        4,
    )
}
