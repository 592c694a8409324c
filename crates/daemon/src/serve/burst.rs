//! One round of questions to all targets of an uplink, for somebody who waits.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use uplinkd_api::{Probed, ProbedFamily, ProbedTarget};
use uplinkd_core::{Controller, LineSnapshot, ProbeId, TargetSnapshot};
use uplinkd_model::{Family, Health, UplinkName};
use uplinkd_web::Answer;

/// A round that is under way.
#[derive(Debug)]
pub(crate) struct Burst {
    uplink: UplinkName,
    deadline: Instant,
    questions: BTreeMap<ProbeId, Question>,
    answer: Answer<Probed>,
}

#[derive(Debug)]
struct Question {
    family: Family,
    target: String,
    result: Option<Result<Duration, String>>,
}

impl Burst {
    /// A round in which nothing is asked yet.
    pub(crate) fn new(uplink: UplinkName, deadline: Instant, answer: Answer<Probed>) -> Self {
        Self {
            uplink,
            deadline,
            questions: BTreeMap::new(),
            answer,
        }
    }

    /// Notes a question.
    pub(crate) fn asks(&mut self, probe: ProbeId, family: Family, target: String) {
        let question = Question {
            family,
            target,
            result: None,
        };
        self.questions.insert(probe, question);
    }

    /// Notes what came of one, if it is of this round.
    pub(crate) fn hears(&mut self, probe: ProbeId, result: &Result<Duration, String>) {
        if let Some(question) = self.questions.get_mut(&probe) {
            question.result.get_or_insert_with(|| result.clone());
        }
    }

    /// Whether nothing more is to be waited for.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.deadline || self.questions.values().all(|q| q.result.is_some())
    }

    /// When nothing more is waited for.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Tells whoever waits.
    pub(crate) fn answer(self, controller: &Controller) {
        let snapshot = controller.snapshot();
        let lines = snapshot.lines.iter();
        let own = lines.filter(|l| l.name == self.uplink && !l.absent);
        let families: Vec<_> = own.map(|line| self.family(line, controller)).collect();
        let probed = Probed {
            uplink: self.uplink.to_string(),
            up: !families.is_empty() && families.iter().all(|f| f.up),
            families,
        };
        // Whoever asked may be gone.
        let _ = self.answer.send(Ok(probed));
    }

    fn family(&self, line: &LineSnapshot, controller: &Controller) -> ProbedFamily {
        let targets: Vec<_> = line.targets.iter().map(|t| self.target(t, line)).collect();
        let uplink = controller.config().uplink(&line.name);
        let quorum = uplink.and_then(|u| Some(u.access(line.family)?.probe.quorum));
        let deciding = || targets.iter().filter(|t| t.decides);
        let quorum = quorum.unwrap_or(1).min(deciding().count());
        let answering = deciding().filter(|t| t.rtt_ms.is_some()).count();
        ProbedFamily {
            family: line.family,
            // A line without a target that decides is judged by its link.
            up: answering >= quorum && (quorum > 0 || line.health != Health::Down),
            quorum,
            health: line.health,
            reason: line.reason.to_string(),
            targets,
        }
    }

    fn target(&self, target: &TargetSnapshot, line: &LineSnapshot) -> ProbedTarget {
        let name = target.target.to_string();
        let mut questions = self.questions.values();
        let own = questions.find(|q| q.family == line.family && q.target == name);
        let (rtt, problem) = match own.map(|q| &q.result) {
            Some(Some(Ok(rtt))) => (Some(*rtt), None),
            Some(Some(Err(why))) => (None, Some(why.clone())),
            Some(None) => (None, Some("no answer".to_owned())),
            None if target.address.is_none() && line.health == Health::Down => {
                (None, Some(format!("not asked: {}", line.reason)))
            }
            None => (
                None,
                Some("not asked now, or asked a moment ago".to_owned()),
            ),
        };
        ProbedTarget {
            address: target.address,
            decides: target.decides,
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            problem,
            target: name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_over_with_the_last_answer_or_with_its_time() {
        let (answer, _waits) = tokio::sync::oneshot::channel();
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let uplink = UplinkName::new("isp1").unwrap();
        let mut burst = Burst::new(uplink, later, answer);
        burst.asks(ProbeId(7), Family::V4, "gateway".to_owned());
        burst.asks(ProbeId(8), Family::V4, "icmp:1.1.1.1".to_owned());
        burst.hears(ProbeId(7), &Ok(Duration::from_millis(1)));
        burst.hears(ProbeId(9), &Ok(Duration::from_millis(1)));
        assert!(!burst.is_over(now), "one is not of this round");
        assert!(burst.is_over(later));
        burst.hears(ProbeId(8), &Err("refused".to_owned()));
        assert!(burst.is_over(now));
    }
}
