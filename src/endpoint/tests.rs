//! What an endpoint knows of itself. Its lock-free parts are tried in every order by `tests/interleavings`.
use super::*;

#[test]
fn an_attempt_is_in_flight_until_its_guard_is_dropped() {
    let ledger = Ledger::new(Instant::now());
    let endpoint = Arc::new(Endpoint::new(Address::from(([127, 0, 0, 1], 80)), &Ids::default(), &ledger));
    let first = endpoint.begin();
    let second = endpoint.begin();
    assert_eq!((endpoint.in_flight(), endpoint.ended()), (2, 0));
    drop(first);
    assert_eq!((second.endpoint().in_flight(), endpoint.ended()), (1, 1));
}

const DECAY: f32 = 10_000.0;

fn at(millisecond: u32) -> Tick {
    Tick(u64::from(millisecond) * 1_000_000)
}

fn average(latency: &Latency, millisecond: u32) -> f32 {
    latency.read(at(millisecond), DECAY).unwrap()
}

#[test]
fn a_peak_counts_at_once_and_is_forgotten_slowly() {
    let latency = Latency::default();
    assert_eq!(latency.read(at(0), DECAY), None);
    latency.observe(0.01, at(0), DECAY);
    latency.observe(1.0, at(1), DECAY);
    assert_eq!(average(&latency, 1), 1.0);
    latency.observe(0.01, at(1), DECAY);
    assert_eq!(average(&latency, 1), 1.0, "no time has passed in which to learn better");
    latency.observe(0.01, at(10_001), DECAY);
    assert!((0.36..0.39).contains(&average(&latency, 10_001)), "1/e of the peak is left after the decay time");
}

#[test]
fn an_average_without_samples_fades() {
    let latency = Latency::default();
    latency.observe(1.0, at(0), DECAY);
    assert!(average(&latency, 100_000) < 1e-4);
}

#[test]
fn waiting_in_vain_can_only_make_it_worse() {
    let latency = Latency::default();
    latency.observe_at_least(0.5, at(0), DECAY);
    assert_eq!(latency.read(at(0), DECAY), None);
    latency.observe(1.0, at(0), DECAY);
    latency.observe_at_least(0.5, at(0), DECAY);
    assert_eq!(average(&latency, 0), 1.0);
    latency.observe_at_least(3.0, at(0), DECAY);
    assert_eq!(average(&latency, 0), 3.0);
}

#[test]
fn the_clock_may_wrap_and_step_back_a_little() {
    let latency = Latency::default();
    latency.observe(1.0, at(u32::MAX), DECAY);
    assert!(average(&latency, 9_999) < 0.4);
    assert_eq!(average(&latency, u32::MAX - 5), 1.0);
}

#[test]
fn an_endpoint_has_departed_since_it_first_did_until_it_is_back() {
    let (opened, second) = (Instant::now(), Duration::from_secs(1));
    let endpoint = Endpoint::new(Address::from(([127, 0, 0, 1], 80)), &Ids::default(), &Ledger::new(opened));
    assert_eq!(endpoint.departed(), None);
    for seconds in [0, 3, 5] {
        endpoint.depart(opened + second * seconds);
        endpoint.depart(opened + second * (seconds + 1));
        assert_eq!(endpoint.departed(), Some(opened + second * seconds));
        endpoint.arrive();
        assert_eq!(endpoint.departed(), None);
    }
}
