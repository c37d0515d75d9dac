//! The table: one row for each run, and whether the promise was kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::load::{End, Sample};
use crate::run::{FAULT, Observed, RATE};
use crate::scenario::{Fault, Promise, Scenario};

const BEGIN: &str = "<!-- faults: begin -->";
const STOP: &str = "<!-- faults: end -->";
const HEAD: &str = "\
| fault | endpoints | requests | failed | p50 ms | p99 ms | max ms | out after | attempts | of its share | back after | promised | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";
/// What retries may add to the attempts: `retry.budget` of all requests so far, and ten a second for the ten seconds that it
/// looks back; the figures are read a moment apart.
const BUDGET: (f64, f64) = (0.2, 105.0);

/// A run in words.
pub struct Row {
    text: String,
    /// What was promised and is not so.
    pub broken: Vec<String>,
}

/// What is read out of the requests.
struct Figures {
    failed: usize,
    kinds: BTreeMap<String, usize>,
    wrong: Vec<String>,
    p50: Duration,
    p99: Duration,
    max: Duration,
    p99_during: Duration,
    due_during: usize,
    due_until_healed: usize,
}

pub fn row(scenario: &Scenario, endpoints: usize, observed: &Observed) -> Row {
    let figures = Figures::of(observed);
    let promise = scenario.promise(endpoints);
    let share = figures.due_during as f64 * scenario.fault.ill(endpoints) as f64 / endpoints as f64;
    let mut broken = broken(&promise, &figures, observed);
    let most = share + BUDGET.0 * figures.due_until_healed as f64 + BUDGET.1;
    if scenario.fault != Fault::Crowd && observed.attempts > most {
        broken.push(format!("{} attempts at the ill, and the budget allows {most:.0}", observed.attempts));
    }
    let kinds: Vec<String> = figures.kinds.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
    let failed = if kinds.is_empty() { "0".to_owned() } else { format!("{} ({})", figures.failed, kinds.join(", ")) };
    let attempts = match scenario.fault {
        Fault::Crowd => "– | –".to_owned(),
        _ => format!("{:.0} | {:.0} %", observed.attempts, 100.0 * observed.attempts / share),
    };
    let text = format!(
        "| {} | {endpoints} | {} | {failed} | {} | {} | {} | {} | {attempts} | {} | {} | {} |",
        scenario.name,
        observed.samples.len(),
        milliseconds(figures.p50),
        milliseconds(figures.p99),
        milliseconds(figures.max),
        seconds(observed.ejected),
        seconds(observed.back),
        in_words(&promise),
        if broken.is_empty() { "kept" } else { "**broken**" },
    );
    Row { text, broken }
}

impl Figures {
    fn of(observed: &Observed) -> Figures {
        let all = &observed.samples;
        let during: Vec<&Sample> =
            all.iter().filter(|sample| (observed.fault..observed.healed).contains(&sample.due)).collect();
        let mut kinds = BTreeMap::new();
        for sample in all.iter().filter(|sample| !sample.end.is_good()) {
            *kinds.entry(sample.end.name()).or_default() += 1;
        }
        let wrong = all.iter().filter_map(|sample| match &sample.end {
            End::Wrong(what) => Some(what.clone()),
            _ => None,
        });
        Figures {
            failed: kinds.values().sum(),
            kinds,
            wrong: wrong.collect(),
            p50: quantile(all.iter(), 0.5),
            p99: quantile(all.iter(), 0.99),
            max: quantile(all.iter(), 1.0),
            p99_during: quantile(during.iter().copied(), 0.99),
            due_during: during.len(),
            due_until_healed: all.iter().filter(|sample| sample.due < observed.healed).count(),
        }
    }
}

/// Exact: of so few requests all are known.
fn quantile<'a>(samples: impl Iterator<Item = &'a Sample>, share: f64) -> Duration {
    let mut times: Vec<Duration> = samples.map(|sample| sample.took).collect();
    times.sort();
    let place = ((times.len() as f64 * share).ceil() as usize).max(1);
    times.get(place - 1).copied().unwrap_or_default()
}

fn broken(promise: &Promise, figures: &Figures, observed: &Observed) -> Vec<String> {
    let mut broken: Vec<String> = figures.wrong.iter().map(|what| format!("a wrong answer: {what}")).collect();
    if !observed.lives {
        broken.push("lictor has ended".to_owned());
    }
    if !observed.window {
        broken.push("the operator's window did not answer".to_owned());
    }
    if promise.failed.is_some_and(|most| figures.failed > most) {
        broken.push(format!("{} failed: {:?}", figures.failed, figures.kinds));
    }
    for (what, most, was) in
        [("p99", promise.p99, figures.p99), ("p99 during the fault", promise.p99_during, figures.p99_during)]
    {
        if most.is_some_and(|most| was > most) {
            broken.push(format!("{what} was {} ms", milliseconds(was)));
        }
    }
    if promise.back.is_some_and(|most| observed.back.is_none_or(|back| back > most)) {
        broken.push(format!("back after {} s", seconds(observed.back)));
    }
    if promise.cpu.is_some_and(|most| observed.cpu > most) {
        broken.push(format!("{:.2} s of CPU time", observed.cpu));
    }
    broken
}

fn in_words(promise: &Promise) -> String {
    let mut words = Vec::new();
    let in_seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    words.extend(promise.failed.map(|most| format!("≤ {most} failed")));
    words.extend(promise.p99.map(|most| format!("p99 < {}", in_seconds(most))));
    words.extend(promise.p99_during.map(|most| format!("p99 during it < {}", in_seconds(most))));
    words.extend(promise.back.map(|most| format!("back < {}", in_seconds(most))));
    words.extend(promise.cpu.map(|most| format!("CPU < {most} s more")));
    if words.is_empty() { "–".to_owned() } else { words.join(", ") }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e3)
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or("–".to_owned(), |time| format!("{:.2}", time.as_secs_f64()))
}

impl Row {
    pub fn print(&self) {
        println!("{}", self.text);
        for what in &self.broken {
            println!("  broken: {what}");
        }
    }
}

/// Rows under their head, and what they were measured with.
pub fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{RATE} requests a second for each endpoint, fault at {} s. Times in seconds, but for the percentiles.\n\n{HEAD}",
        FAULT.as_secs()
    );
    for row in rows {
        let _ = writeln!(table, "{}", row.text);
    }
    table
}

pub fn print_head() {
    print!("{HEAD}");
}

/// Puts the table where the last one was.
pub fn write(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(STOP).unwrap();
    std::fs::write(&path, format!("{before}{BEGIN}\n{table}{STOP}{after}")).unwrap();
}
