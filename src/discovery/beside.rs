//! Documents beside the file: which stand there now, and which count. Those that stand there count if they are good together with the
//! file; if not, the last good ones do, whole. Pure: who reads them and who goes by them is elsewhere.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::config::{self, Config, Documents};
use crate::table;

/// Of what is wrong with documents so much is told; `lictor check --kv` says all of it.
const PROBLEMS: usize = 20;

/// The file and the documents beside it.
#[derive(Debug)]
pub(super) struct Beside {
    file: Arc<Config>,
    /// What stands there now, if it does not count.
    refused: Option<Documents>,
    /// What counts; none before anything did.
    good: Option<Arc<Documents>>,
    facts: Option<Arc<table::Beside>>,
}

impl Beside {
    /// The file, and documents of before the start, if they are still good: they are joined with it at once, but known only if nothing
    /// better is to be had.
    pub(super) fn new(file: &Arc<Config>, before: Option<&Arc<Documents>>) -> Self {
        let facts = file.kv.as_ref().map(|kv| table::Beside { prefix: kv.prefix.clone(), ..table::Beside::default() });
        let mut beside = Beside { file: Arc::clone(file), refused: None, good: None, facts: facts.map(Arc::new) };
        let Some(prefix) = beside.facts.as_ref().map(|facts| facts.prefix.clone()) else { return beside };
        beside.good = before.filter(|before| before.keys().all(|key| key.starts_with(&prefix))).cloned();
        beside
    }

    /// What to go by from the start on.
    pub(super) fn first(&mut self) -> Arc<Config> {
        let Some(good) = &self.good else { return Arc::clone(&self.file) };
        match self.file.with_documents(good) {
            Ok(config) => Arc::new(config),
            Err(refusal) => {
                let problems = refusal.first(PROBLEMS);
                error!(
                    error = problems,
                    "the documents from before the start do not go with the file, and are not used"
                );
                self.good = None;
                Arc::clone(&self.file)
            }
        }
    }

    /// How it is; none if there is no place for documents.
    pub(super) fn facts(&self) -> Option<&Arc<table::Beside>> {
        self.facts.as_ref()
    }

    /// What counts, or would if nothing better were to be had.
    pub(super) fn good(&self) -> Option<&Arc<Documents>> {
        self.good.as_ref()
    }

    /// Takes over what stands there now; what to go by from now on, if it is good.
    pub(super) fn hear(&mut self, documents: Documents) -> Option<Arc<Config>> {
        let is_same = self.good.as_deref() == Some(&documents);
        let joined = self.file.with_documents(&documents);
        self.note(|facts| (facts.unread, facts.from_disk) = (None, false));
        match joined {
            Ok(config) => {
                self.take(documents, is_same);
                Some(Arc::new(config))
            }
            Err(refusal) => {
                self.refuse(documents, &refusal);
                None
            }
        }
    }

    /// Goes by the documents of before the start for want of better ones; true if it does from now on.
    pub(super) fn fall_back(&mut self) -> bool {
        let is_needed = self.good.is_some() && self.facts.as_ref().is_some_and(|facts| !facts.is_known());
        if let (true, Some(good)) = (is_needed, self.good.clone()) {
            self.note(|facts| {
                (facts.generation, facts.from_disk) = (1, true);
                facts.keys = good.keys().cloned().collect();
            });
            warn!(documents = good.len(), "the documents from before the start count until good ones are read");
        }
        is_needed
    }

    /// They cannot be read, for this reason.
    pub(super) fn miss(&mut self, why: String) {
        self.note(|facts| facts.unread = Some(why));
        self.fall_back();
    }

    /// They can be read again, and are what they were.
    pub(super) fn confirm(&mut self) {
        self.note(|facts| facts.unread = None);
    }

    /// Goes on with another file; what to go by from now on, or what keeps the two from going together. It may be what was missing for the
    /// documents that stand there now.
    pub(super) fn rebase(&mut self, file: &Arc<Config>) -> Result<Arc<Config>, config::Error> {
        let now = self.refused.as_ref().and_then(|refused| file.with_documents(refused).ok());
        let config = match (&now, &self.good) {
            (Some(config), _) => config.clone(),
            (None, Some(good)) => file.with_documents(good)?,
            (None, None) => (**file).clone(),
        };
        self.file = Arc::clone(file);
        if now.is_some()
            && let Some(documents) = self.refused.take()
        {
            self.take(documents, false);
        }
        Ok(Arc::new(config))
    }

    fn take(&mut self, documents: Documents, is_same: bool) {
        let keys: Vec<String> = documents.keys().cloned().collect();
        self.note(|facts| {
            facts.generation += u64::from(!is_same || !facts.is_known());
            facts.keys.clone_from(&keys);
            facts.refused = None;
        });
        if !is_same && let Some(facts) = &self.facts {
            info!(
                prefix = facts.prefix,
                documents = keys.len(),
                generation = facts.generation,
                "documents are in force"
            );
        }
        self.refused = None;
        if !is_same || self.good.is_none() {
            self.good = Some(Arc::new(documents));
        }
    }

    fn refuse(&mut self, documents: Documents, refusal: &config::Error) {
        let problems = refusal.first(PROBLEMS);
        error!(error = problems, "documents are not taken over; the last good ones stay");
        self.note(|facts| {
            facts.refusals += 1;
            facts.refused = Some(problems.clone());
        });
        self.refused = Some(documents);
        self.fall_back();
    }

    fn note(&mut self, change: impl FnOnce(&mut table::Beside)) {
        if let Some(facts) = &mut self.facts {
            change(Arc::make_mut(facts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    const ROUTE: &str = "[[routes]]\nhost='shop'\ncluster='web'";

    fn file(more: &str) -> Arc<Config> {
        let text = format!(
            "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[kv]\nprefix='l/'\n[clusters.web]\nendpoints=['127.0.0.1:1']\n{more}"
        );
        Arc::new(parse(&text, &Environment::default()).unwrap())
    }

    fn documents(text: &str) -> Documents {
        Documents::from([("l/a".to_owned(), text.as_bytes().to_vec())])
    }

    fn facts(beside: &Beside) -> &table::Beside {
        beside.facts().unwrap()
    }

    #[test]
    fn good_documents_count_and_bad_ones_leave_the_last_good_ones() {
        let mut beside = Beside::new(&file(""), None);
        assert!(!facts(&beside).is_known());
        assert_eq!(beside.hear(documents(ROUTE)).unwrap().routes.len(), 1);
        assert_eq!((facts(&beside).generation, &facts(&beside).keys[..]), (1, &["l/a".to_owned()][..]));
        assert!(beside.hear(documents("[[routes]]\ncluster='wbe'")).is_none());
        let refused = facts(&beside);
        assert_eq!((refused.generation, refused.refusals), (1, 1));
        assert!(refused.refused.as_ref().unwrap().contains("kv l/a:2: routes[0].cluster: no cluster \"wbe\""));
        assert_eq!(beside.good().map(|good| &**good), Some(&documents(ROUTE)));
        assert!(beside.hear(documents(ROUTE)).is_some());
        let good = facts(&beside);
        assert_eq!((good.generation, good.refusals, &good.refused), (1, 1, &None), "the same as before");
        assert_eq!(beside.hear(Documents::new()).unwrap().routes.len(), 0);
        assert_eq!(facts(&beside).generation, 2);
    }

    #[test]
    fn bad_documents_at_the_start_are_not_known_documents() {
        let mut beside = Beside::new(&file(""), None);
        assert!(beside.hear(documents("[[routes]")).is_none());
        assert!(!facts(&beside).is_known());
    }

    #[test]
    fn another_file_goes_on_with_the_last_good_documents_or_not_at_all() {
        let mut beside = Beside::new(&file(""), None);
        beside.hear(documents(ROUTE)).unwrap();
        let routes = beside.rebase(&file("[[routes]]\nhost='other'\ncluster='web'")).unwrap().routes.len();
        assert_eq!(routes, 2);
        let refusal = beside.rebase(&file(ROUTE)).unwrap_err().to_string();
        assert!(refusal.contains("kv l/a:1: routes[0]: takes the same requests as routes[0] of the file"), "{refusal}");
        // What was refused is forgotten.
        assert_eq!(beside.hear(documents(&format!("{ROUTE}\npath='/x'"))).unwrap().routes.len(), 2);
    }

    #[test]
    fn a_file_may_bring_what_the_documents_lack() {
        let mut beside = Beside::new(&file(""), None);
        assert!(beside.hear(documents("[[routes]]\ncluster='db'")).is_none());
        let config = beside.rebase(&file("[clusters.db]\nendpoints=['127.0.0.1:2']")).unwrap();
        assert_eq!(config.routes.len(), 1);
        let good = facts(&beside);
        assert_eq!((good.generation, &good.refused), (1, &None));
    }

    #[test]
    fn documents_of_before_the_start_count_until_others_are_read() {
        let before = Arc::new(documents(ROUTE));
        let mut beside = Beside::new(&file(""), Some(&before));
        assert_eq!(beside.first().routes.len(), 1, "what they name is asked for at once");
        assert!(!facts(&beside).is_known());
        beside.miss("nobody answers".to_owned());
        assert!(facts(&beside).from_disk && facts(&beside).is_known());
        assert_eq!(facts(&beside).unread.as_deref(), Some("nobody answers"));
        assert!(!beside.fall_back(), "they do already");
        assert!(beside.hear(documents(ROUTE)).is_some());
        assert!(!facts(&beside).from_disk && facts(&beside).unread.is_none());

        let mut beside = Beside::new(&file(""), Some(&before));
        assert!(beside.hear(documents("[[routes]")).is_none());
        assert!(facts(&beside).is_known() && facts(&beside).refused.is_some(), "they are the last good ones");

        let mut beside = Beside::new(&file(""), Some(&before));
        assert!(beside.hear(documents(ROUTE)).is_some());
        assert_eq!((facts(&beside).generation, facts(&beside).from_disk), (1, false));
    }

    #[test]
    fn documents_of_before_the_start_that_do_not_fit_any_more_are_none() {
        let before = Arc::new(documents(ROUTE));
        let mut beside = Beside::new(&file(ROUTE), Some(&before));
        assert_eq!(beside.first().routes.len(), 1);
        assert!(!beside.fall_back() && !facts(&beside).is_known());
        let elsewhere = Arc::new(Documents::from([("other/a".to_owned(), Vec::new())]));
        assert!(Beside::new(&file(""), Some(&elsewhere)).good().is_none());
    }

    #[test]
    fn where_there_is_no_place_for_documents_a_file_is_a_file() {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'";
        let file = Arc::new(parse(text, &Environment::default()).unwrap());
        let mut beside = Beside::new(&file, None);
        assert!(beside.facts().is_none() && beside.rebase(&file).is_ok());
    }
}
