//! How soon an endpoint begins to answer: an exponentially weighted moving average that jumps to a peak at once and forgets it
//! slowly, after Finagle's Peak EWMA. Average and time are one word, so that workers need no lock.

use super::atomic::{AtomicU64, Ordering};

/// A moment, in nanoseconds since the cluster's ledger was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(pub u64);

impl Tick {
    /// Seconds since an earlier one.
    pub fn since(self, earlier: Tick) -> f32 {
        self.0.saturating_sub(earlier.0) as f32 * 1e-9
    }

    /// For the memory: milliseconds, which wrap after seven weeks, as a difference survives.
    fn milliseconds(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }
}

/// The average so far; none before the first sample.
// The upper half is the average in seconds as a float's bits, the lower its tick.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

/// Least that anything takes: an average of zero would mean that there is none.
const LEAST: f32 = 1e-6;

impl Latency {
    /// The average in seconds as of now, a little less the longer ago the last sample was. `decay`, in milliseconds, is the
    /// time in which it falls to 1/e.
    pub fn read(&self, now: Tick, decay: f32) -> Option<f32> {
        decayed(self.0.load(Ordering::Relaxed), now, decay).map(|(average, _)| average)
    }

    /// Takes a sample in seconds: a higher one at once, a lower one by as much as time has passed since the last.
    pub fn observe(&self, sample: f32, now: Tick, decay: f32) {
        let sample = sample.max(LEAST);
        self.update(|word| match decayed(word, now, decay) {
            Some((average, kept)) if average > sample => Some(pack(average + sample * (1.0 - kept), now)),
            _ => Some(pack(sample, now)),
        });
    }

    /// Forgets what was, and begins with this sample in seconds.
    pub fn restart(&self, sample: f32, now: Tick) {
        self.0.store(pack(sample.max(LEAST), now), Ordering::Relaxed);
    }

    /// Notes that an answer took at least this long, in seconds, without having come. That is no answer: whoever has never
    /// given one has still given none.
    pub fn observe_at_least(&self, sample: f32, now: Tick, decay: f32) {
        self.update(|word| {
            let (average, _) = decayed(word, now, decay)?;
            (average < sample).then(|| pack(sample, now))
        });
    }

    fn update(&self, next: impl FnMut(u64) -> Option<u64>) {
        // Refused only where there is nothing to change.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

fn pack(average: f32, now: Tick) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(now.milliseconds())
}

/// What is left of the average, and the share of it that is left.
fn decayed(word: u64, now: Tick, decay: f32) -> Option<(f32, f32)> {
    if word == 0 {
        return None;
    }
    let average = f32::from_bits((word >> 32) as u32);
    // Another worker may have been a moment ahead.
    let passed = (now.milliseconds().wrapping_sub(word as u32) as i32).max(0);
    let kept = if passed == 0 { 1.0 } else { (-(passed as f32) / decay).exp() };
    Some((average * kept, kept))
}
