//! Whether every thread comes to what is due: what makes a watchdog's word worth something, since the thread that gives it may be well
//! while no other is.

use std::sync::Arc;
use std::time::Duration;

/// Of threads with how late each is, what is wrong with the first that is later than this, or that there are fewer than there should be.
pub(super) fn first(late: Vec<(Arc<str>, Duration)>, threads: usize, longer: Duration) -> Option<String> {
    let there = late.len();
    if let Some((thread, late)) = late.into_iter().find(|(_, late)| *late > longer) {
        return Some(format!("{thread} stands still for {late:?}"));
    }
    (there < threads).then(|| format!("{there} of {threads} threads are there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stands_still_or_has_ended_is_no_secret() {
        let threads = |seconds: &[u64]| -> Vec<(Arc<str>, Duration)> {
            let late = |(place, late): (usize, &u64)| (format!("worker-{place}").into(), Duration::from_secs(*late));
            seconds.iter().enumerate().map(late).collect()
        };
        let longer = Duration::from_secs(15);
        assert_eq!(first(threads(&[0, 15, 0]), 3, longer), None);
        assert_eq!(first(threads(&[0, 16, 0]), 3, longer).unwrap(), "worker-1 stands still for 16s");
        assert_eq!(first(threads(&[0, 0]), 3, longer).unwrap(), "2 of 3 threads are there");
    }
}
