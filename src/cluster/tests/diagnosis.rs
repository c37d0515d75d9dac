//! What follows from probes, with findings and time passed in.

use super::*;
use crate::endpoint::{Finding, Standing};

fn diagnose(bench: &Bench, cluster: &Handle, place: usize, finding: Option<Finding>) -> bool {
    cluster.diagnose(&cluster.members()[place].endpoint, finding, bench.now)
}

#[test]
fn who_fails_its_probes_is_out_until_it_passes_them_or_has_none() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    assert!(!diagnose(&bench, &cluster, 1, Some(Finding::Passing)), "it serves already");
    assert!(diagnose(&bench, &cluster, 1, Some(Finding::Failing)));
    assert!(!diagnose(&bench, &cluster, 1, Some(Finding::Failing)), "no news");
    assert_eq!(bench.serving(&cluster), [1, 3]);
    let next = bench.cluster(&[1, 2, 3, 4], Some(&cluster));
    assert_eq!(bench.serving(&next), [1, 3, 4], "a new list does not change what was found");
    assert!(diagnose(&bench, &next, 1, Some(Finding::Passing)));
    assert_eq!(bench.serving(&next), [1, 2, 3, 4]);
    assert!(diagnose(&bench, &next, 0, Some(Finding::Failing)));
    assert!(diagnose(&bench, &next, 0, None), "nobody asks any more");
    assert_eq!(bench.serving(&next), [1, 2, 3, 4]);
}

#[test]
fn who_passes_its_probes_again_starts_slowly() {
    let mut bench = Bench::with("slow_start={window='30s'}");
    let cluster = bench.cluster(&[1, 2], None);
    diagnose(&bench, &cluster, 0, Some(Finding::Failing));
    bench.now += Duration::from_secs(60);
    diagnose(&bench, &cluster, 0, Some(Finding::Passing));
    let percent = cluster.percent(&cluster.members()[0], bench.now);
    assert_eq!((percent, cluster.percent(&cluster.members()[1], bench.now)), (10, 100));
    let counts = bench.counts(&cluster, 110);
    assert_eq!(counts, [(1, 10), (2, 100)].into());
}

#[test]
fn who_is_out_for_its_probes_has_no_trial_and_leaves_room_for_no_ejection() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    let length = bench.fail(&cluster, 2).unwrap();
    diagnose(&bench, &cluster, 1, Some(Finding::Failing));
    bench.now += length;
    assert_eq!(bench.serving(&cluster), [1, 3], "no request is risked");
    // Of two that are left one may be out, and then none.
    assert!(bench.fail(&cluster, 1).is_some());
    assert_eq!(bench.fail(&cluster, 3), None);
    diagnose(&bench, &cluster, 1, Some(Finding::Passing));
    assert_eq!(bench.serving(&cluster), [2, 3], "its trial went well");
}

#[test]
fn an_ejection_that_ends_early_ends_for_good() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    let endpoint = Arc::clone(&cluster.members()[1].endpoint);
    assert!(!cluster.return_early(&endpoint, bench.now), "it is not out");
    bench.fail(&cluster, 2);
    assert!(cluster.return_early(&endpoint, bench.now));
    assert_eq!((endpoint.standing(), bench.serving(&cluster)), (Standing::Eligible, vec![1, 2, 3]));
    let second = bench.fail(&cluster, 2).unwrap();
    assert!(second >= bench.settings.ejection.base * 2, "twice in a row");
}
