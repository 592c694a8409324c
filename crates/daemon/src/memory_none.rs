//! In place of `memory`, in a daemon that is built without history: for small routers.

use std::{path::Path, time::Duration};

use uplinkd_api::{ApiError, BudgetStatus, History, HistoryQuery, Report, ReportQuery};
use uplinkd_config::History as Wanted;
use uplinkd_core::{Controller, Time};
use uplinkd_kernel::Kernel;
use uplinkd_model::notice::Notice;
use uplinkd_web::{Answer, Refused};

use crate::meter::Meter;

/// Remembers nothing.
#[derive(Debug)]
pub(crate) struct Memory;

/// Reads nothing.
pub(crate) enum Reader {}

impl Reader {
    pub(crate) fn trouble(&self) -> Option<String> {
        match *self {}
    }
}

impl Memory {
    pub(crate) fn new(_: &Path) -> Self {
        Self
    }

    pub(crate) fn set(&mut self, _: Wanted, _: &Controller, _: Time) {}

    pub(crate) fn wait(&self, _: Time) -> Option<Duration> {
        None
    }

    pub(crate) fn end_slot(&mut self, meter: &mut Meter, _: &Controller, _: &mut Kernel, _: Time) {
        drop(meter.take_slots(0));
    }

    pub(crate) fn told(&mut self, _: &Notice, _: Time) {}

    pub(crate) fn stop(&mut self, _: Time) {}

    pub(crate) fn reader(&self) -> Option<Reader> {
        None
    }

    pub(crate) fn query(&self, _: HistoryQuery, reply: Answer<History>) {
        let _ = reply.send(Err(none()));
    }

    pub(crate) fn report(
        &self,
        _: ReportQuery,
        _: Vec<(String, BudgetStatus)>,
        reply: Answer<Report>,
    ) {
        let _ = reply.send(Err(none()));
    }
}

fn none() -> Refused {
    let error = ApiError::new("this uplinkd was built without history");
    Refused::NotFound(error.with_hint("build it with its feature `history`"))
}
