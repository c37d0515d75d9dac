//! Latencies in little memory: a log-linear histogram, 32 linear steps within each power of two, so a quantile is at most
//! 3 % off. The idea is HdrHistogram's, without its options.

/// Bits of a value kept beside its magnitude; 5 gives steps of 1/32.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
/// Enough for every `u64`.
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;

/// Counts of values by magnitude.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.count += 1;
    }

    /// The smallest value of the bucket below which `share` (0 to 1) of all values lie; 0 where there is none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return floor_of(index);
            }
        }
        0
    }
}

fn bucket_of(value: u64) -> usize {
    let magnitude = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    ((magnitude as usize) << STEP_BITS) + (value >> magnitude) as usize
}

fn floor_of(index: usize) -> u64 {
    let magnitude = (index >> STEP_BITS).saturating_sub(1);
    ((index - (magnitude << STEP_BITS)) as u64) << magnitude
}
