//! Lists that serve in turn.

use super::*;

const TWO: &str = "failover=[{datacenter='dc2'}]";
const HOLD: Duration = Duration::from_secs(30);

/// Two lists: the ports from 20 on are the second's, and from 30 on the third's.
fn lists(ports: &[u16]) -> Vec<Listed> {
    ports.iter().map(|port| Listed { level: (port / 10).saturating_sub(1) as u8, ..listed(*port) }).collect()
}

/// The same, with these critical.
fn critical(ports: &[u16], out: &[u16]) -> Vec<Listed> {
    let mut lists = lists(ports);
    for listed in &mut lists {
        let port = listed.address.to_string().rsplit_once(':').unwrap().1.parse().unwrap();
        listed.status = if out.contains(&port) { Status::Critical } else { Status::Passing };
    }
    lists
}

const ALL: [u16; 8] = [10, 11, 12, 13, 20, 21, 22, 23];

#[test]
fn the_second_list_serves_when_the_first_has_too_few_and_the_first_when_it_has_had_enough_for_a_while() {
    let mut bench = Bench::with(TWO);
    let first = bench.cluster_of(lists(&ALL), None);
    assert_eq!((bench.serving(&first), first.level()), (vec![10, 11, 12, 13], Some(0)));
    let half = bench.cluster_of(critical(&ALL, &[10, 11]), Some(&first));
    assert_eq!(bench.serving(&half), [12, 13]);
    let few = bench.cluster_of(critical(&ALL, &[10, 11, 12]), Some(&half));
    assert_eq!((bench.serving(&few), few.level()), (vec![20, 21, 22, 23], Some(1)));
    assert!(!few.is_panicking());
    let back = bench.cluster_of(critical(&ALL, &[10]), Some(&few));
    assert_eq!(bench.serving(&back), [20, 21, 22, 23], "not yet");
    bench.now += HOLD;
    assert_eq!((bench.serving(&back), back.level()), (vec![11, 12, 13], Some(0)), "no other list had to come");
}

#[test]
fn a_list_that_is_empty_or_not_there_yet_has_too_few() {
    let mut bench = Bench::with(TWO);
    let second = bench.cluster_of(lists(&ALL[4..]), None);
    assert_eq!((bench.serving(&second), second.level()), (ALL[4..].to_vec(), Some(1)));
    let nobody = bench.cluster_of(Vec::new(), Some(&second));
    assert!(bench.begin(&nobody).is_none() && nobody.level().is_none());
    let first = bench.cluster_of(lists(&ALL[..4]), Some(&nobody));
    assert_eq!(bench.serving(&first), ALL[..4]);
}

#[test]
fn who_is_ejected_is_missed_as_well_and_one_trial_each_brings_a_list_back() {
    let mut bench = Bench::with(&format!("{TWO}\nejection={{max_percent=100}}"));
    let cluster = bench.cluster_of(lists(&[10, 11, 20, 21]), None);
    for port in [10, 11] {
        bench.fail(&cluster, port);
    }
    assert_eq!((bench.serving(&cluster), cluster.level()), (vec![20, 21], Some(1)));
    bench.now += Duration::from_secs(60);
    let mut trials = [bench.begin(&cluster).unwrap(), bench.begin(&cluster).unwrap()];
    assert_eq!(trials.each_ref().map(port), [10, 11], "they are not forgotten");
    assert_eq!(port(&bench.begin(&cluster).unwrap()) / 10, 2);
    for trial in &mut trials {
        trial.judge(Outcome::Success, bench.now);
    }
    assert_eq!(bench.serving(&cluster), [20, 21]);
    bench.now += HOLD;
    assert_eq!(bench.serving(&cluster), [10, 11]);
}

#[test]
fn a_list_that_does_not_serve_has_no_trials() {
    let mut bench = Bench::with(TWO);
    let cluster = bench.cluster_of(lists(&[10, 11, 20, 21]), None);
    cluster.try_eject(&cluster.members()[3].endpoint, Reason::Connect, bench.now).unwrap();
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.serving(&cluster), [10, 11]);
    assert_eq!(cluster.members()[3].endpoint.standing(), Standing::Probation);
}

#[test]
fn if_no_list_has_enough_all_serve_and_only_then_there_can_be_a_panic() {
    let mut bench = Bench::with(&format!("{TWO}\npanic_percent=60"));
    let half = bench.cluster_of(critical(&ALL, &[10, 11]), None);
    assert_eq!((bench.serving(&half), half.is_panicking()), (vec![12, 13], false), "the second list is whole");
    let few = critical(&ALL, &[10, 11, 12, 20, 21, 22]);
    let panic = bench.cluster_of(few.clone(), Some(&half));
    assert_eq!((bench.serving(&panic), panic.is_panicking(), panic.level()), (ALL.to_vec(), true, None));
    let mut bench = Bench::with(TWO);
    let together = bench.cluster_of(few, None);
    assert_eq!((bench.serving(&together), together.is_panicking()), (vec![13, 23], false));
    let counts = bench.counts(&together, 4000);
    assert!(counts.values().all(|count| (1800..2200).contains(count)), "by what each list has left: {counts:?}");
}

#[test]
fn a_retry_that_has_tried_all_of_its_list_goes_on_to_the_next() {
    let mut bench = Bench::with("failover=[{datacenter='dc2'},{datacenter='dc3'}]");
    let cluster = bench.cluster_of(lists(&[10, 20, 30]), None);
    let first = bench.begin(&cluster).unwrap();
    let second = bench.begin_after(&cluster, &[first.endpoint().id()]).unwrap();
    let third = bench.begin_after(&cluster, &[first.endpoint().id(), second.endpoint().id()]).unwrap();
    assert_eq!([&first, &second, &third].map(port), [10, 20, 30]);
}

#[test]
fn a_key_has_a_home_on_each_list() {
    let mut bench = Bench::with(&format!("{TWO}\npolicy='consistent_hash'\nhash={{load_factor=0}}"));
    let mut homes = |list: Vec<Listed>, previous: Option<&Handle>| {
        let cluster = bench.cluster_of(list, previous.map(|previous| &**previous));
        let home = |key: u64| {
            let request = Request { key: Some(key), ..request(bench.now) };
            port(&cluster.begin(&request, &mut fastrand::Rng::with_seed(key)).unwrap())
        };
        let homes: Vec<u16> = (0..100).map(|key| home(mix(key))).collect();
        bench.now += HOLD;
        (homes, cluster)
    };
    let (near, first) = homes(lists(&ALL), None);
    let (far, second) = homes(critical(&ALL, &ALL[..4]), Some(&first));
    assert!(near.iter().all(|port| *port < 20) && far.iter().all(|port| *port >= 20));
    let (_, third) = homes(lists(&ALL), Some(&second));
    assert_eq!(homes(lists(&ALL), Some(&third)).0, near);
    assert_eq!(homes(critical(&ALL, &ALL[..4]), None).0, far);
}

#[test]
fn a_whole_list_that_comes_later_does_not_start_slowly() {
    let bench = Bench::with(&format!("{TWO}\nslow_start={{window='30s'}}"));
    let first = bench.cluster_of(lists(&[10, 11]), None);
    let both = bench.cluster_of(lists(&[10, 11, 20]), Some(&first));
    let more = bench.cluster_of(lists(&[10, 11, 20, 21]), Some(&both));
    let percents = |cluster: &Handle| -> Vec<u32> {
        cluster.members().iter().map(|member| cluster.percent(member, bench.now)).collect()
    };
    assert_eq!((percents(&both), percents(&more)), (vec![100; 3], vec![100, 100, 100, 10]));
}

#[test]
fn what_each_list_has_is_shown() {
    let bench = Bench::with(TWO);
    let cluster = bench.cluster_of(critical(&ALL, &[10, 11, 12]), None);
    let shown: Vec<_> =
        cluster.levels().into_iter().map(|level| (level.name, level.endpoints, level.percent)).collect();
    assert_eq!(shown, [("web".to_owned(), 4, 25.0), ("web@dc2".to_owned(), 4, 100.0)]);
    assert_eq!(Bench::with("").cluster(&[1], None).levels(), []);
}

#[test]
fn other_lists_than_before_begin_anew() {
    let mut bench = Bench::with(TWO);
    let first = bench.cluster_of(critical(&ALL, &ALL[..4]), None);
    assert_eq!(first.level(), Some(1));
    bench.settings = Bench::with("failover=[{datacenter='dc3'}]").settings;
    let second = bench.cluster_of(lists(&ALL), Some(&first));
    assert_eq!(second.level(), Some(0), "nobody was sent away from here");
}
