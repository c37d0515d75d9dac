//! Average and time are one word: a sample of one worker cannot be lost to another's.

use super::latency::{Latency, Tick};
use crate::in_every_order;

const NOW: Tick = Tick(0);
const DECAY: f32 = 10_000.0;

#[test]
fn of_two_samples_at_once_the_later_answer_counts() {
    let observe: [fn(&Latency); 2] =
        [|latency| latency.observe(0.5, NOW, DECAY), |latency| latency.observe(2.0, NOW, DECAY)];
    in_every_order(Latency::default, &observe, |latency| assert_eq!(latency.read(NOW, DECAY), Some(2.0)));
}

#[test]
fn waiting_in_vain_cannot_hide_an_answer_that_took_longer() {
    let make = || {
        let latency = Latency::default();
        latency.observe(0.5, NOW, DECAY);
        latency
    };
    let steps: [fn(&Latency); 3] = [
        |latency| latency.observe_at_least(1.0, NOW, DECAY),
        |latency| latency.observe(2.0, NOW, DECAY),
        |latency| latency.observe(0.25, NOW, DECAY),
    ];
    in_every_order(make, &steps, |latency| assert_eq!(latency.read(NOW, DECAY), Some(2.0)));
}
