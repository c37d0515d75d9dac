//! Which of several clusters takes a request: by weight, and where the route says so always the same for the same client.
//!
//! A client's point lies between 0 and 1, and clusters have their parts of that line in the order of the file. So whoever is with
//! the first one stays there while its part grows, which is how a canary is let out; and every process agrees.

use http::request;

use super::affinity;
use crate::balance::mix;
use crate::config::{Forward, Target};
use crate::message::Sender;

/// So that clients who go to the same cluster do not also go to the same endpoint, where that is chosen by the same hash.
const SALT: u64 = 0x5d1f_3c5a_9e37_79b9;

/// Where on the line the request is: fixed by what the route goes by, or by chance where there is no such thing.
pub fn point(forward: &Forward, (head, sender): (&request::Parts, Sender<'_>), rng: &mut fastrand::Rng) -> u64 {
    let cohort = cohort(forward, (head, sender));
    cohort.map_or_else(|| rng.u64(..), |cohort| mix(cohort ^ SALT))
}

/// What fixes a request's point, if it has what the route goes by.
pub fn cohort(forward: &Forward, (head, sender): (&request::Parts, Sender<'_>)) -> Option<u64> {
    forward.split_by.as_ref().and_then(|by| affinity::value(by, head, sender))
}

/// The place of the cluster that has the point. If it has nobody who can serve, another one by the weights of the others; if none
/// has, the first after all.
pub fn choose(targets: &[Target], mut point: u64, mut can_serve: impl FnMut(usize) -> bool) -> usize {
    let chosen = draw(targets, point, &[]);
    if can_serve(chosen) {
        return chosen;
    }
    let mut out = vec![chosen];
    while out.len() < targets.len() {
        point = mix(point);
        let next = draw(targets, point, &out);
        if can_serve(next) {
            return next;
        }
        out.push(next);
    }
    chosen
}

fn draw(targets: &[Target], point: u64, out: &[usize]) -> usize {
    let left = || targets.iter().enumerate().filter(|(place, _)| !out.contains(place));
    let total: u64 = left().map(|(_, target)| u64::from(target.weight)).sum();
    let mut at = ((u128::from(point) * u128::from(total)) >> 64) as u64;
    let found = left().find(|(_, target)| {
        let weight = u64::from(target.weight);
        let is_here = at < weight;
        at = at.saturating_sub(weight);
        is_here
    });
    // Those without a weight have no part of the line: in their order.
    found.or_else(|| left().next()).map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(weights: &[u32]) -> Vec<Target> {
        weights
            .iter()
            .map(|weight| Target { cluster: "c".into(), weight: *weight, terms: None, rewrite: None })
            .collect()
    }

    fn all(weights: &[u32], can_serve: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..10_000).map(|_| choose(&targets(weights), rng.u64(..), &can_serve)).collect()
    }

    fn count(chosen: &[usize], place: usize) -> usize {
        chosen.iter().filter(|chosen| **chosen == place).count()
    }

    #[test]
    fn clusters_have_their_share() {
        let chosen = all(&[1, 3, 0], |_| true);
        assert!((2300..2700).contains(&count(&chosen, 0)) && count(&chosen, 2) == 0, "{}", count(&chosen, 0));
    }

    #[test]
    fn whoever_is_with_the_first_stays_while_its_part_grows() {
        let (before, after) = (all(&[5, 95], |_| true), all(&[1, 4], |_| true));
        assert!(before.iter().zip(&after).all(|(before, after)| *before == 1 || *after == 0));
        assert!(count(&after, 0) > 3 * count(&before, 0));
    }

    #[test]
    fn who_cannot_serve_is_made_up_for_by_the_others_by_weight() {
        let chosen = all(&[2, 1, 1], |place| place != 0);
        assert!((4700..5300).contains(&count(&chosen, 1)), "{}", count(&chosen, 1));
        let (before, after) = (all(&[2, 1, 1], |_| true), chosen);
        assert!(before.iter().zip(&after).all(|(before, after)| *before == 0 || before == after), "others stay");
        assert!(all(&[1, 0, 0], |place| place != 0).iter().all(|place| *place == 1), "a reserve has no weight");
        assert_eq!(count(&all(&[0, 1], |_| false), 1), 10_000);
    }
}
