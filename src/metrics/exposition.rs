//! Families as text: Prometheus' format 0.0.4, and OpenMetrics 1.0, which has room for exemplars. Which of the two is for whoever asks
//! to say (RFC 9110 section 12.5.1); who says nothing gets the former.
//!
//! The former is written by the `prometheus` crate, the latter here, from the same families: its counters have other names, its
//! bounds are always written as fractions, more is escaped, and it has an end. The crate's families have no room for exemplars, so
//! those go beside.

use std::collections::BTreeMap;
use std::fmt::Write;

use prometheus::TextEncoder;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// All figures of one moment.
#[derive(Debug, Default)]
pub struct Scrape {
    families: Vec<MetricFamily>,
    exemplars: Exemplars,
}

/// Examples by their family, the place of the series in it, and the place of the bucket.
pub(super) type Exemplars = BTreeMap<(&'static str, usize, usize), Exemplar>;

/// One of those that a bucket has counted, by which somebody can look at it more closely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: u128,
    /// In the unit of the bounds.
    pub(super) value: f64,
    /// Seconds since 1970.
    pub(super) time: f64,
}

/// How figures are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What a name ends in if it has a unit.
const UNITS: [&str; 2] = ["seconds", "bytes"];

impl Scrape {
    pub(super) fn new(families: Vec<MetricFamily>, exemplars: Exemplars) -> Self {
        Scrape { families, exemplars }
    }

    /// The same with others.
    pub fn with(mut self, families: impl IntoIterator<Item = MetricFamily>) -> Self {
        self.families.extend(families);
        self
    }

    /// As text, in the order of names; families without a series are left out.
    pub fn write(mut self, format: Format) -> String {
        self.families.retain(|family| !family.get_metric().is_empty());
        self.families.sort_by(|a, b| a.name().cmp(b.name()));
        match format {
            Format::Text => text(&self.families),
            Format::OpenMetrics => self.open_metrics(),
        }
    }

    fn open_metrics(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            // A string takes what is written into it.
            let _ = self.family(&mut text, family);
        }
        text + "# EOF\n"
    }

    fn family(&self, text: &mut String, family: &MetricFamily) -> std::fmt::Result {
        let whole = family.name();
        let (name, kind) = match family.get_field_type() {
            MetricType::COUNTER => (whole.strip_suffix("_total").unwrap_or(whole), "counter"),
            MetricType::HISTOGRAM => (whole, "histogram"),
            // What is always 1, for what its labels say.
            _ => whole.strip_suffix("_info").map_or((whole, "gauge"), |name| (name, "info")),
        };
        writeln!(text, "# TYPE {name} {kind}")?;
        if let Some(unit) = UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_')))
        {
            writeln!(text, "# UNIT {name} {unit}")?;
        }
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        escape(text, family.help());
        text.push('\n');
        for (place, metric) in family.get_metric().iter().enumerate() {
            match family.get_field_type() {
                MetricType::COUNTER => line(text, whole, (metric.get_label(), None), metric.get_counter().get_value())?,
                MetricType::HISTOGRAM => self.histogram(text, (whole, place), metric)?,
                _ => line(text, whole, (metric.get_label(), None), metric.get_gauge().get_value())?,
            }
        }
        Ok(())
    }

    fn histogram(&self, text: &mut String, (name, series): (&str, usize), metric: &Metric) -> std::fmt::Result {
        let (labels, histogram) = (metric.get_label(), metric.get_histogram());
        let buckets = histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        let all = histogram.get_sample_count();
        let part = format!("{name}_bucket");
        for (place, (bound, count)) in buckets.chain([(f64::INFINITY, all)]).enumerate() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") };
            line(text, &part, (labels, Some(&bound)), count as f64)?;
            if let Some(Exemplar { trace, value, time }) = self.exemplars.get(&(name, series, place)) {
                text.pop();
                writeln!(text, " # {{trace_id=\"{trace:032x}\"}} {value} {time:.3}")?;
            }
        }
        line(text, &format!("{name}_sum"), (labels, None), histogram.get_sample_sum())?;
        line(text, &format!("{name}_count"), (labels, None), all as f64)
    }
}

/// Text format 0.0.4.
fn text(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(families, &mut text) {
        // Only a family without a name or a series is refused, and there is none.
        tracing::error!(%error, "metrics could not be encoded");
    }
    text
}

impl Format {
    /// The one that an `Accept` header prefers, or all of them if there are several.
    pub fn preferred<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
        let (mut text, mut open, mut any) = (None, None, None);
        for range in accept.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse::<f64>().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let best = match kind.as_str() {
                // Another version is another format.
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => &mut open,
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => &mut text,
                "text/*" | "*/*" => &mut any,
                _ => continue,
            };
            *best = Some(best.map_or(weight, |best: f64| best.max(weight)));
        }
        match open {
            Some(weight) if weight > 0.0 && weight >= text.or(any).unwrap_or(0.0) => Format::OpenMetrics,
            _ => Format::Text,
        }
    }

    /// The value of `Content-Type`; Prometheus 3 refuses a scrape without the right one.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

fn line(text: &mut String, name: &str, (labels, bound): (&[LabelPair], Option<&str>), value: f64) -> std::fmt::Result {
    text.push_str(name);
    let labels = labels.iter().map(|pair| (pair.name(), pair.value()));
    let mut mark = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        text.push(mark);
        text.push_str(name);
        text.push_str("=\"");
        escape(text, value);
        text.push('"');
        mark = ',';
    }
    if mark == ',' {
        text.push('}');
    }
    match value {
        f64::INFINITY => writeln!(text, " +Inf"),
        f64::NEG_INFINITY => writeln!(text, " -Inf"),
        value => writeln!(text, " {value}"),
    }
}

/// Adds text in which quotes, backslashes and line feeds cannot stand as they are.
fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str(r#"\""#),
            '\n' => text.push_str(r"\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::proto::{Bucket, Histogram};

    use super::super::family::{counter, family, gauge, labelled};
    use super::*;

    fn scrape() -> Scrape {
        let labels = || vec![("cluster", "a\"b\\c\nd".to_owned())];
        let mut times = Histogram::default();
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        times.set_bucket([(0.5, 2), (1.0, 3)].map(bucket).into());
        times.set_sample_count(4);
        times.set_sample_sum(3.25);
        let mut series = labelled(vec![("route", "r".to_owned())]);
        series.set_histogram(times);
        let families = vec![
            gauge("x_open", "Open \"now\".", [(vec![], f64::INFINITY)]),
            counter("x_bytes_total", "Bytes.", [(labels(), 7.0)]),
            family("x_seconds", "Times.", MetricType::HISTOGRAM, vec![series]),
            gauge("x_build_info", "What runs.", [(vec![("version", "1".to_owned())], 1.0)]),
            gauge("x_nobody", "Nobody.", []),
        ];
        let exemplar = Exemplar { trace: 0xAB, value: 0.75, time: 1_700_000_000.25 };
        Scrape::new(families, BTreeMap::from([(("x_seconds", 0, 1), exemplar)]))
    }

    #[test]
    fn openmetrics_is_as_its_standard_says() {
        let expected = r##"# TYPE x_build info
# HELP x_build What runs.
x_build_info{version="1"} 1
# TYPE x_bytes counter
# UNIT x_bytes bytes
# HELP x_bytes Bytes.
x_bytes_total{cluster="a\"b\\c\nd"} 7
# TYPE x_open gauge
# HELP x_open Open \"now\".
x_open +Inf
# TYPE x_seconds histogram
# UNIT x_seconds seconds
# HELP x_seconds Times.
x_seconds_bucket{route="r",le="0.5"} 2
x_seconds_bucket{route="r",le="1.0"} 3 # {trace_id="000000000000000000000000000000ab"} 0.75 1700000000.250
x_seconds_bucket{route="r",le="+Inf"} 4
x_seconds_sum{route="r"} 3.25
x_seconds_count{route="r"} 4
# EOF
"##;
        assert_eq!(scrape().write(Format::OpenMetrics), expected);
    }

    #[test]
    fn whoever_asks_says_which_format() {
        let preferred = |accept: &str| Format::preferred(std::iter::once(accept));
        for prometheus in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            "application/openmetrics-text",
            "text/plain; q=0.2, Application/OpenMetrics-Text; Q=0.2",
        ] {
            assert_eq!(preferred(prometheus), Format::OpenMetrics, "{prometheus}");
        }
        for plain in [
            "*/*",
            "text/html, text/plain",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.1,text/plain;q=0.9",
            "application/openmetrics-text;q=1.x,text/plain;q=0.1",
            "",
            ";;=,,",
        ] {
            assert_eq!(preferred(plain), Format::Text, "{plain}");
        }
        assert_eq!(Format::preferred(std::iter::empty()), Format::Text);
    }
}
