//! What is known of whether somebody may call us, and what follows from it. Pure: time is passed in.
//!
//! A verdict counts for a moment, so that many connections cost one question and a change is felt at once. If there is no answer any
//! more, the last one counts for a while (`grace`); if there never was one, that is a no.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer saves another question. Whoever may not call us any more is refused that much later at most.
const FRESH: Duration = Duration::from_millis(500);
/// How long nobody is asked again after there was no answer, for whoever comes then would only wait for the same.
const PAUSE: Duration = Duration::from_secs(1);

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) reason: Arc<str>,
    pub(super) heard: Instant,
}

/// What is known of one caller.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    verdict: Option<Verdict>,
    /// When there was no answer, and why, if that was later than the verdict.
    silence: Option<(Instant, Arc<str>)>,
    /// Counts questions that have come to their end.
    pub(super) turns: u64,
}

/// What is to be done with somebody who comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It may come in.
    Admit,
    /// It may not, and why.
    Refuse(Arc<str>),
    /// Nobody could say, and why.
    Unanswered(Arc<str>),
    /// That is to be asked.
    Ask,
}

impl Standing {
    /// For somebody who comes now.
    pub(super) fn decide(&self, now: Instant, grace: Duration) -> Decision {
        let is_since = |then: Instant, length: Duration| now.saturating_duration_since(then) < length;
        match (&self.verdict, &self.silence) {
            (Some(verdict), None) if is_since(verdict.heard, FRESH) => verdict.decision(),
            (_, Some((since, _))) if is_since(*since, PAUSE) => self.conclude(now, grace),
            _ => Decision::Ask,
        }
    }

    /// For somebody who has waited for an answer, if there is to be no other question.
    pub(super) fn conclude(&self, now: Instant, grace: Duration) -> Decision {
        match (&self.verdict, &self.silence) {
            (Some(verdict), None) => verdict.decision(),
            (Some(verdict), Some(_)) if now.saturating_duration_since(verdict.heard) < grace => verdict.decision(),
            (_, Some((_, why))) => Decision::Unanswered(Arc::clone(why)),
            (None, None) => Decision::Unanswered("nobody was asked".into()),
        }
    }

    /// By the last answer alone, where that still counts.
    pub(super) fn last(&self, now: Instant, grace: Duration) -> Option<Decision> {
        let verdict = self.verdict.as_ref()?;
        (now.saturating_duration_since(verdict.heard) < grace).then(|| verdict.decision())
    }

    /// Takes an answer, or why there was none. True if from now on another answer than before holds.
    pub(super) fn hear(&mut self, answer: Result<(bool, Arc<str>), Arc<str>>, now: Instant) -> bool {
        self.turns += 1;
        match answer {
            Ok((allowed, reason)) => {
                let is_news = self.verdict.as_ref().is_none_or(|known| known.allowed != allowed);
                self.verdict = Some(Verdict { allowed, reason, heard: now });
                self.silence = None;
                is_news
            }
            Err(why) => {
                self.silence = Some((now, why));
                false
            }
        }
    }

    /// True if the last word was a no. Silence is none: connections that stand are not to depend on whether somebody can be asked.
    pub(super) fn is_revoked(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| !verdict.allowed)
    }

    /// When it was asked last; none if it never was.
    pub(super) fn asked(&self) -> Option<Instant> {
        let heard = self.verdict.as_ref().map(|verdict| verdict.heard);
        heard.max(self.silence.as_ref().map(|(since, _)| *since))
    }
}

impl Verdict {
    fn decision(&self) -> Decision {
        if self.allowed { Decision::Admit } else { Decision::Refuse(Arc::clone(&self.reason)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn yes() -> Result<(bool, Arc<str>), Arc<str>> {
        Ok((true, "yes".into()))
    }

    fn no() -> Result<(bool, Arc<str>), Arc<str>> {
        Ok((false, "no".into()))
    }

    fn silence() -> Result<(bool, Arc<str>), Arc<str>> {
        Err("away".into())
    }

    #[test]
    fn a_verdict_saves_questions_for_a_moment_whichever_it_is() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        assert_eq!(standing.decide(now, GRACE), Decision::Ask);
        assert!(standing.hear(yes(), now), "the first is news");
        assert_eq!(standing.decide(now + FRESH / 2, GRACE), Decision::Admit);
        assert_eq!(standing.decide(now + FRESH, GRACE), Decision::Ask);
        assert!(!standing.hear(yes(), now + FRESH));
        assert!(standing.hear(no(), now + FRESH * 2));
        assert_eq!(standing.decide(now + FRESH * 2, GRACE), Decision::Refuse("no".into()));
        assert_eq!(standing.decide(now + FRESH * 3, GRACE), Decision::Ask);
        assert!(standing.is_revoked());
    }

    #[test]
    fn without_any_answer_it_is_a_no() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        assert_eq!(standing.conclude(now, GRACE), Decision::Unanswered("nobody was asked".into()));
        standing.hear(silence(), now);
        assert_eq!(standing.conclude(now, GRACE), Decision::Unanswered("away".into()));
        assert_eq!(standing.decide(now + PAUSE / 2, GRACE), Decision::Unanswered("away".into()), "not asked at once");
        assert_eq!(standing.decide(now + PAUSE, GRACE), Decision::Ask);
        assert!(!standing.is_revoked());
    }

    #[test]
    fn the_last_answer_counts_for_a_while_in_silence_and_no_longer() {
        for (answer, expected) in [(yes(), Decision::Admit), (no(), Decision::Refuse("no".into()))] {
            let (mut standing, now) = (Standing::default(), Instant::now());
            standing.hear(answer, now);
            for seconds in [1, 30, 59] {
                let later = now + Duration::from_secs(seconds);
                assert_eq!(standing.decide(later, GRACE), Decision::Ask);
                standing.hear(silence(), later);
                assert_eq!(standing.conclude(later, GRACE), expected);
            }
            standing.hear(silence(), now + GRACE);
            assert_eq!(standing.conclude(now + GRACE, GRACE), Decision::Unanswered("away".into()));
            let turns = standing.turns;
            standing.hear(yes(), now + GRACE * 2);
            assert_eq!((standing.decide(now + GRACE * 2, GRACE), standing.turns), (Decision::Admit, turns + 1));
        }
    }

    #[test]
    fn silence_revokes_nothing_and_does_not_make_a_no_a_yes() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.hear(yes(), now);
        standing.hear(silence(), now + GRACE * 10);
        assert!(!standing.is_revoked());
        standing.hear(no(), now + GRACE * 11);
        standing.hear(silence(), now + GRACE * 12);
        assert!(standing.is_revoked());
        assert_eq!(standing.asked(), Some(now + GRACE * 12));
    }
}
