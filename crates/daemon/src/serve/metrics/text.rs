//! The text format of Prometheus, as far as it is needed to print what is known already. (`prometheus-client`
//! writes OpenMetrics, whose names of counters `promtool check metrics` refuses.)

use std::fmt::Write as _;

/// What begins every name.
const PREFIX: &str = "uplinkd_";

/// The kinds of figures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// A text that grows. Samples follow the family that they belong to.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins the samples of a name.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(
            self.0,
            "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}"
        );
    }

    /// One figure.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.0, "{PREFIX}{name}");
        for (index, (label, text)) in labels.iter().enumerate() {
            let sign = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{sign}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line_or_itself() {
        let mut text = Text::default();
        text.family("x_total", Kind::Counter, "Things.");
        text.sample("x_total", &[("a", "q\"\\\n"), ("b", "é")], 1.5);
        text.sample("x_total", &[], 2.0);
        assert_eq!(
            text.finish(),
            "# HELP uplinkd_x_total Things.\n# TYPE uplinkd_x_total counter\n\
             uplinkd_x_total{a=\"q\\\"\\\\\\n\",b=\"é\"} 1.5\nuplinkd_x_total 2\n"
        );
    }
}
