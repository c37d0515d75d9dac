//! The lock-free parts once more, under loom: it runs a model again and again, each time with the threads' steps in another
//! order, and with every value that a relaxed read may see, until there is no other order left.
//!
//! The files that are tried are the product's own, included here with other atomics under them. What is around them in the
//! product (the list that is read, the steps of an attempt) is a model in the test, and says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(dead_code, missing_docs, reason = "only what threads share is tried here")]

mod cluster;
mod endpoint;

use loom::sync::Arc;
use loom::thread;

/// Runs these steps at once, in every order, and `check` when all have ended.
fn in_every_order<T: Sync + Send + 'static>(
    make: impl Fn() -> T + Sync + Send + 'static,
    steps: &[fn(&T)],
    check: fn(&T),
) {
    let steps = steps.to_vec();
    loom::model(move || {
        let shared = Arc::new(make());
        let (last, others) = steps.split_last().expect("steps");
        let spawn = |step: &fn(&T)| {
            let (step, shared) = (*step, Arc::clone(&shared));
            thread::spawn(move || step(&shared))
        };
        let threads: Vec<_> = others.iter().map(spawn).collect();
        last(&shared);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        check(&shared);
    });
}
