//! What a run says: a table for each scenario, and what should hold and does not.

use std::fmt::Write;
use std::time::Duration;

use crate::Options;
use crate::origin::{Health, MEAN_WORK, WORKERS};
use crate::scenario::{Claim, ENDPOINTS, Scenario};
use crate::world::Tally;

/// What policies that look at the load have to win at the 99th percentile, where one endpoint in twenty is slow.
const LEAST_FACTOR: f64 = 3.0;
/// How far the simulation may be from the formula: several times what chance alone does at 100,000 requests.
const TOLERANCE: f64 = 0.1;
/// An endpoint's even share of all attempts.
const EVEN_SHARE: f64 = 1.0 / ENDPOINTS as f64;

/// What came out under each policy of one scenario.
#[derive(Debug, Default)]
pub struct Findings(Vec<(&'static str, Figures)>);

/// What is read off a tally.
#[derive(Debug)]
struct Figures {
    mean: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    /// Of all attempts, in the order of addresses.
    shares: Vec<f64>,
    failed: f64,
    left: f64,
}

impl Figures {
    fn of(mut tally: Tally) -> Self {
        tally.waited.sort_unstable();
        let count = tally.waited.len();
        let at = |part: f64| milliseconds(tally.waited[((count - 1) as f64 * part) as usize]);
        let attempts: u64 = tally.attempts.iter().sum();
        Figures {
            mean: milliseconds(tally.waited.iter().sum()) / count as f64,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            shares: tally.attempts.iter().map(|one| *one as f64 / attempts as f64).collect(),
            failed: tally.failed as f64 / count as f64,
            left: tally.left as f64 / count as f64,
        }
    }

    /// Of the endpoints that are well, on average.
    fn share_of_well(&self, scenario: &Scenario) -> f64 {
        let is_well = |(_, health): &(&f64, &Health)| **health == Health::Well;
        let shares: Vec<f64> =
            self.shares.iter().zip(&scenario.endpoints).filter(is_well).map(|(one, _)| *one).collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    }
}

impl Findings {
    /// Takes the tally of a policy.
    pub fn add(&mut self, policy: &'static str, tally: Tally) {
        self.0.push((policy, Figures::of(tally)));
    }

    /// As text.
    pub fn table(&self, scenario: &Scenario, options: &Options) -> String {
        let mut text = format!(
            "{}: {} requests at {:.0} a second, seed {}\n{:<18}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            scenario.title,
            options.requests,
            scenario.rate,
            options.seed,
            "",
            "mean ms",
            "p50",
            "p99",
            "p99.9",
            "slow %",
            "failing",
            "cold",
            "well",
            "failed %",
            "left %"
        );
        for (policy, figures) in &self.0 {
            let share = |ailments: &[Health]| match scenario.place(ailments) {
                Some(place) => format!("{:.2}", figures.shares[place] * 100.0),
                None => "–".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{policy:<18}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>9}{:>9}{:>9}{:>9.2}{:>9.3}{:>9.3}",
                figures.mean,
                figures.p50,
                figures.p99,
                figures.p999,
                share(&[Health::Slow, Health::Waiting]),
                share(&[Health::Failing]),
                share(&[Health::Cold]),
                figures.share_of_well(scenario) * 100.0,
                figures.failed * 100.0,
                figures.left * 100.0
            );
        }
        for policy in ["p2c", "ewma"] {
            let _ = writeln!(text, "p99, round_robin / {policy}: {:.1}", self.factor(policy));
        }
        if scenario.claim == Claim::AgreesWithTheory {
            let _ = writeln!(text, "mean of `random` by Erlang's formula: {:.1} ms", expected(scenario));
        }
        text.push('\n');
        text
    }

    /// What has to hold in this scenario and does not.
    pub fn wrong(&self, scenario: &Scenario) -> Vec<String> {
        match scenario.claim {
            Claim::KeepsClear => {
                let factors = ["p2c", "ewma"].map(|policy| (policy, self.factor(policy)));
                let low = factors.iter().filter(|(_, factor)| factor.is_nan() || *factor < LEAST_FACTOR);
                let low =
                    low.map(|(policy, factor)| format!("{policy} beats round_robin at p99 only {factor:.1} times"));
                low.chain(self.0.iter().filter_map(|(policy, _)| self.attracted(policy, scenario))).collect()
            }
            Claim::FailureDoesNotAttract => self.attracted("ewma", scenario).into_iter().collect(),
            Claim::AgreesWithTheory => {
                let found = self.of("random").map_or(f64::NAN, |figures| figures.mean);
                let expected = expected(scenario);
                let is_near = (found / expected - 1.0).abs() <= TOLERANCE;
                let wrong = || format!("random takes {found:.1} ms on average, by the formula {expected:.1}");
                (!is_near).then(wrong).into_iter().collect()
            }
            Claim::None => Vec::new(),
        }
    }

    /// What is wrong if more than its share of attempts goes to the endpoint that fails.
    fn attracted(&self, policy: &str, scenario: &Scenario) -> Option<String> {
        let share = self.of(policy)?.shares[scenario.place(&[Health::Failing])?];
        let percent = share * 100.0;
        (share > EVEN_SHARE)
            .then(|| format!("{}: {policy} gives {percent:.1} % to the failing endpoint", scenario.title))
    }

    /// How many times longer than under this policy a client waits under `round_robin`, at the 99th percentile.
    fn factor(&self, policy: &str) -> f64 {
        let p99 = |policy| self.of(policy).map_or(f64::NAN, |figures| figures.p99);
        p99("round_robin") / p99(policy)
    }

    fn of(&self, policy: &str) -> Option<&Figures> {
        self.0.iter().find(|(name, _)| *name == policy).map(|(_, figures)| figures)
    }
}

/// What a request takes on average where each of the endpoints is an M/M/c queue, as under `random` where all are well, in
/// milliseconds: its own time, and Erlang's C for the time in the queue.
fn expected(scenario: &Scenario) -> f64 {
    let workers = f64::from(WORKERS);
    let work = milliseconds(MEAN_WORK);
    let load = scenario.rate / ENDPOINTS as f64 * work / 1_000.0;
    // Erlang's B for one worker after another, which stays within what a float can hold.
    let blocked = (1..=WORKERS).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked));
    let waits = blocked / (1.0 - load / workers * (1.0 - blocked));
    work + waits * work / (workers - load)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
