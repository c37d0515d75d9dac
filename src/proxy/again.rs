//! Attempts after the first: whether there is a point in another, when, and what came of them all.

use std::time::{Duration, Instant};

use super::answer::Refusal;
use super::attempt::{Failed, Outgoing};
use super::forward::Guard;
use super::journey::{Answered, Journey};
use super::{flags, retry};
use crate::cluster::{Permit, Purpose};
use crate::endpoint::Id;
use crate::message::Upload;

impl Journey<'_> {
    /// Further attempts after one that failed, as far as there is a point in them.
    pub(super) async fn again(
        &self,
        mut failed: Failed,
        (outgoing, mut upload): (&Outgoing, Upload),
        (mut tried, mut began): (Vec<Id>, Instant),
        permit: Option<&Permit>,
    ) -> Result<Answered, Refusal> {
        while let Some(guard) = self.retry(&failed, outgoing, &upload, &tried).await {
            failed.give_up(&mut upload).await;
            upload.rewind();
            began = Instant::now();
            let (next, before) = (guard.attempt().endpoint().id(), tried.len());
            let (sent, guard) = self.attempt(guard, outgoing, &mut upload, (&mut tried, began)).await;
            failed = match self.conclude(sent, guard, outgoing) {
                Ok(done) => {
                    self.count_retried(tried.len().max(before + 1), true);
                    return Ok(done);
                }
                Err(failed) => *failed,
            };
            if tried.len() == before {
                tried.push(next);
            }
        }
        self.count_retried(tried.len(), false);
        failed.teach(permit, began);
        match failed {
            Failed::Error(error) => {
                self.received.set(upload.received());
                Err(Refusal::Upstream(error))
            }
            Failed::Answer(answer, guard) => Ok((answer, guard)),
        }
    }

    /// The next attempt, if there is to be one, after the time that it takes for others to get out of the way.
    async fn retry(&self, failed: &Failed, outgoing: &Outgoing, upload: &Upload, tried: &[Id]) -> Option<Guard> {
        let settings = &self.entry.retry;
        let now = Instant::now();
        let pause = self.pause(failed, tried);
        let refused = match retry::refusal(failed, &outgoing.method, failed.upload(upload), settings) {
            Some(why) => Some(why),
            None if tried.len() > settings.attempts as usize => Some("attempts"),
            None if pause.is_none() => Some("no_other_endpoint"),
            None if self.deadline.is_some_and(|deadline| now + pause.unwrap_or_default() >= deadline) => {
                Some("deadline")
            }
            None if !self.entry.cluster.may_retry(now) => Some("budget"),
            None => None,
        };
        if let Some(why) = refused {
            if let Some(flag) = flags::of_no_retry(why, settings) {
                self.page.borrow_mut().flag(flag);
            }
            self.entry.attempts.no_retry(why);
            return None;
        }
        self.entry.attempts.retry(failed.reason());
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            tokio::time::sleep(pause).await;
        }
        self.pick(tried, Instant::now(), Purpose::Retry)
    }

    /// How long to wait before another attempt; none if that would have to be longer than anybody waits.
    fn pause(&self, failed: &Failed, tried: &[Id]) -> Option<Duration> {
        let settings = &self.entry.retry;
        let pause = match failed {
            // Nobody's failure.
            Failed::Error(error) if retry::blame(error).is_none() => Duration::ZERO,
            _ => retry::backoff(settings, tried.len() - 1, &mut self.worker.rng.borrow_mut()),
        };
        let Failed::Answer(answer, _) = failed else { return Some(pause) };
        if self.entry.cluster.has_untried(tried) || self.entry.cluster.has_reserve(tried) {
            return Some(pause);
        }
        // It has answered, and would answer the same; unless it says itself when that will be otherwise.
        let asked = retry::retry_after(answer.fields.get("retry-after"))?;
        (self.deadline.is_some() || asked <= settings.backoff_max).then(|| pause.max(asked))
    }

    pub(super) fn count_retried(&self, attempts: usize, succeeded: bool) {
        if attempts > 1 {
            self.entry.attempts.retried(succeeded);
        }
    }
}
