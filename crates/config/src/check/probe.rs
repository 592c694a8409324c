//! How uplinks are watched: `[probe]` for all, `[uplink.NAME.probe]` for one.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use toml::Spanned;
use uplinkd_model::{Family, Gateway, ProbeSpec, Profile, Target};

use crate::{
    check::{
        bounded,
        duration::{self, Limits},
        quality, target, word,
    },
    diagnostic::Diagnostic,
    keys,
    parsed::Field,
    raw::RawProbe,
    reader::Found,
};

type Spans = BTreeMap<Field, Range<usize>>;

const INTERVAL: Limits = Limits {
    least: Duration::from_millis(10),
    most: Duration::from_secs(3600),
    hint: "\"1s\" is the default; shorter finds failures sooner, longer costs less traffic",
};
const BURST: Limits = Limits {
    least: Duration::from_millis(10),
    most: Duration::from_secs(3600),
    hint: "\"70ms\" is the default; it is used for seconds only, after an answer is missed",
};
const WINDOW: Limits = Limits {
    least: Duration::from_secs(1),
    most: Duration::from_secs(3600),
    hint: "\"10s\" is the default; a longer window judges more calmly",
};
const HOLD: Limits = Limits {
    least: Duration::ZERO,
    most: Duration::from_secs(24 * 3600),
    hint: "\"0s\" is the default; `damping` holds back lines that fail again and again",
};
const DAMPING: Limits = Limits {
    least: Duration::from_secs(1),
    most: Duration::from_secs(24 * 3600),
    hint: "\"60s\" is the default; \"off\" lets a line return whenever it works",
};
const TIMEOUT: Limits = Limits {
    least: Duration::from_millis(10),
    most: Duration::from_secs(60),
    hint: "\"1s\" is the default; slow lines such as satellites may need \"2s\"",
};

/// What uplinks get that do not say otherwise.
pub(super) struct Defaults {
    spec: ProbeSpec,
    spans: Spans,
    /// Whether every value could be read; combinations are judged only then.
    is_sound: bool,
}

/// How an uplink is watched, both families.
pub(super) struct Spec(ProbeSpec);

impl Spec {
    /// How one family of it is: by the targets of that family, and with the quorum that they can
    /// reach.
    pub(super) fn of(&self, family: Family) -> ProbeSpec {
        of_family(&self.0, family)
    }
}

fn of_family(spec: &ProbeSpec, family: Family) -> ProbeSpec {
    let mut own = spec.clone();
    own.targets.retain(|target| target.concerns(family));
    own.quorum = own.quorum.min(own.deciding().max(1));
    own
}

/// What is asked where the file does not say: two providers of resolvers, each by both families.
const TARGETS: [&str; 4] = [
    "1.1.1.1",
    "8.8.8.8",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
];

impl Defaults {
    /// Checks `[probe]`.
    pub(super) fn check(raw: &RawProbe, found: &mut Found) -> Self {
        let addresses = TARGETS.iter().filter_map(|a| a.parse().ok());
        let built_in = Self {
            spec: ProbeSpec {
                targets: [Target::Gateway]
                    .into_iter()
                    .chain(addresses.map(Target::Icmp))
                    .collect(),
                ..ProbeSpec::default()
            },
            spans: Spans::new(),
            is_sound: true,
        };
        built_in.overlaid(raw, "[probe]", &[Family::V4, Family::V6], found)
    }

    /// Checks `[uplink.NAME.probe]` and lays it over the defaults. `whose` names the uplink, and
    /// `families` are those that it is used for.
    pub(super) fn with(
        &self,
        raw: &RawProbe,
        whose: &str,
        gateways: [Gateway; 2],
        families: &[Family],
        spans: &mut Spans,
        found: &mut Found,
    ) -> Option<Spec> {
        let own = self.overlaid(raw, whose, families, found);
        for gateway in gateways {
            if let (Gateway::Address(gateway), Some(targets)) = (gateway, &raw.targets) {
                target::warn_of_gateway(gateway, targets, whose, found);
            }
        }
        spans.extend(own.spans);
        own.is_sound.then_some(Spec(own.spec))
    }

    fn overlaid(
        &self,
        raw: &RawProbe,
        whose: &str,
        families: &[Family],
        found: &mut Found,
    ) -> Self {
        let Self {
            spec,
            spans,
            is_sound,
        } = self;
        let (mut spec, mut spans, mut is_sound) = (spec.clone(), spans.clone(), *is_sound);
        let what = |key: &str| format!("the {key} of {whose}");
        if let Some(texts) = &raw.targets {
            let targets = target::check_all(texts, whose, found);
            is_sound &= texts.is_complete && targets.len() == texts.items.len();
            spec.targets = targets;
            spans.insert(Field::Targets, texts.span.clone());
        }
        if let Some(raw) = &raw.profile {
            let words = Profile::ALL.map(|p| (p.as_str(), p));
            let profile = word(raw, &words, &what("profile"), "", found);
            is_sound &= profile.is_some();
            if let Some(profile) = profile {
                let (targets, quorum) = (spec.targets, spec.quorum);
                spec = ProbeSpec {
                    targets,
                    quorum,
                    ..profile.spec()
                };
            }
        }
        let mut set = |field, span, is_good: bool| {
            spans.insert(field, span);
            is_sound &= is_good;
        };
        if let Some(raw) = &raw.quorum {
            let hint = "1 is enough where the targets are reliable ones";
            let quorum = bounded(raw, keys::QUORUM, &what("quorum"), hint, found);
            set(Field::Quorum, raw.span(), quorum.is_some());
            spec.quorum = quorum.unwrap_or(spec.quorum);
        }
        if let Some(raw) = &raw.interval {
            let interval = duration::check(raw, &INTERVAL, &what("interval"), found);
            set(Field::Interval, raw.span(), interval.is_some());
            spec.interval = interval.unwrap_or(spec.interval);
        }
        if let Some(raw) = &raw.timeout {
            let timeout = duration::check(raw, &TIMEOUT, &what("timeout"), found);
            set(Field::Timeout, raw.span(), timeout.is_some());
            spec.timeout = timeout.unwrap_or(spec.timeout);
        }
        if let Some(raw) = &raw.fall {
            let hint = "it counts lost answers in a row; 3 is the default";
            let fall = bounded(raw, keys::STREAK, &what("fall"), hint, found);
            set(Field::Fall, raw.span(), fall.is_some());
            spec.fall = fall.unwrap_or(spec.fall);
        }
        if let Some(raw) = &raw.rise {
            let hint = "it counts answers in a row; 5 is the default";
            let rise = bounded(raw, keys::STREAK, &what("rise"), hint, found);
            set(Field::Rise, raw.span(), rise.is_some());
            spec.rise = rise.unwrap_or(spec.rise);
        }
        let mut time = |raw: &Option<Spanned<String>>, limits, key, value: &mut Duration| {
            if let Some(raw) = raw {
                let read = duration::check(raw, limits, &what(key), found);
                is_sound &= read.is_some();
                *value = read.unwrap_or(*value);
            }
        };
        time(&raw.burst, &BURST, "burst", &mut spec.burst);
        time(&raw.window, &WINDOW, "window", &mut spec.window);
        time(&raw.hold, &HOLD, "hold", &mut spec.hold);
        match &raw.damping {
            Some(raw) if raw.get_ref() == quality::OFF => spec.damping = None,
            Some(_) => {
                let mut half_life = spec.damping.unwrap_or_default();
                time(&raw.damping, &DAMPING, "damping", &mut half_life);
                spec.damping = Some(half_life);
            }
            None => {}
        }
        if let Some(raw) = &raw.tcp_sign {
            spec.tcp_sign = *raw.get_ref();
        }
        if let Some(raw) = &raw.loss {
            let limits = quality::loss(raw, spec.loss, whose, found);
            is_sound &= limits.is_some();
            spec.loss = limits.unwrap_or(spec.loss);
        }
        if let Some(raw) = &raw.rtt {
            let limits = quality::rtt(raw, spec.rtt, spec.timeout, whose, found);
            is_sound &= limits.is_some();
            spec.rtt = limits.unwrap_or(spec.rtt);
        }
        if raw.interval.is_some() && raw.burst.is_none() {
            // Whoever asks oftener than a burst does means it.
            spec.burst = spec.burst.min(spec.interval);
        }
        let is_combination_new = raw.targets.is_some() || raw.quorum.is_some();
        if is_sound && is_combination_new {
            quorum_within_reach(&spec, &spans, whose, families, found);
        }
        Self {
            spec,
            spans,
            is_sound,
        }
    }
}

/// A quorum that no set of answers can fulfil, in any family that is used, was not meant so. In a
/// family that has fewer deciding targets than another all of them must answer.
fn quorum_within_reach(
    spec: &ProbeSpec,
    spans: &Spans,
    whose: &str,
    families: &[Family],
    found: &mut Found,
) {
    let own = families.iter().map(|family| of_family(spec, *family));
    let counts: Vec<_> = own
        .filter(|own| !own.targets.is_empty())
        .map(|own| own.deciding())
        .collect();
    // Without targets the link alone decides, and the quorum has no say.
    let Some(deciding) = counts.iter().copied().max() else {
        return;
    };
    if spec.quorum <= deciding {
        return;
    }
    let of_family = if counts.len() > 1 && spec.deciding() > deciding {
        " of one family"
    } else {
        ""
    };
    let noun = if deciding == 1 {
        format!("target{of_family} decides")
    } else {
        format!("targets{of_family} decide")
    };
    let message = format!(
        "the quorum of {whose} is {}, but only {deciding} {noun}",
        spec.quorum
    );
    let span = spans.get(&Field::Quorum).or(spans.get(&Field::Targets));
    let hint = if spec.deciding() < spec.targets.len() {
        "lower the quorum or add targets; the gateway does not decide beside other targets"
    } else {
        "lower the quorum or add targets"
    };
    let mut diagnostic = Diagnostic::error(span.cloned().unwrap_or(0..0), message)
        .label("can never be reached")
        .hint(hint);
    if let (Some(_), Some(targets)) = (spans.get(&Field::Quorum), spans.get(&Field::Targets)) {
        diagnostic = diagnostic.note(targets.clone(), "the targets");
    }
    found.push(diagnostic);
}
