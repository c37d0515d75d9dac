//! The room `cluster` as far as workers meet there: verdicts change standings and make lists with the book open, and picks go by a
//! list that may be older.
//!
//! The book and the endpoints are the product's. The list is modelled by what `ArcSwap` promises: whoever loads it gets one that
//! was stored, whole. So are the few steps of `Cluster` and `Handle` that touch both, without the rest of what they do.

// For what the test counts; what it has to order is loom's.
use std::sync::atomic::AtomicU32 as Count;

use loom::sync::{Arc, Mutex};

use crate::endpoint::atomic::{AtomicU32, Ordering};
use crate::endpoint::{Endpoint, Standing};
use crate::in_every_order;
use book::Book;

#[path = "../../src/cluster/book.rs"]
mod book;

const LIMIT: u32 = 3;

/// What clusters of one name share.
struct Lasting {
    book: Book,
    endpoints: [Endpoint; 2],
}

/// A cluster of one table.
struct Cluster {
    lasting: Arc<Lasting>,
    generation: u64,
    candidates: Mutex<Arc<List>>,
    ejections: Count,
}

/// A list of candidates.
#[derive(Clone, Debug, Default, PartialEq)]
struct List {
    stamp: u64,
    eligible: Vec<usize>,
}

impl Cluster {
    fn first() -> Self {
        Cluster::build(&Arc::new(Lasting { book: Book::default(), endpoints: Default::default() }))
    }

    /// `Cluster::build`: made before anybody else can see it, but not before others can change standings.
    fn build(lasting: &Arc<Lasting>) -> Self {
        let cluster = Cluster {
            generation: lasting.book.generation(),
            lasting: Arc::clone(lasting),
            candidates: Mutex::default(),
            ejections: Count::new(0),
        };
        let list = {
            let _book = lasting.book.open();
            cluster.list()
        };
        cluster.store(list);
        cluster
    }

    /// `Candidates::sort`.
    fn list(&self) -> List {
        let is_eligible = |place: &usize| self.lasting.endpoints[*place].standing() == Standing::Eligible;
        List { stamp: self.lasting.book.stamp(self.generation), eligible: (0..2).filter(is_eligible).collect() }
    }

    fn store(&self, list: List) {
        *self.candidates.lock().unwrap() = Arc::new(list);
    }

    fn load(&self) -> Arc<List> {
        Arc::clone(&self.candidates.lock().unwrap())
    }

    fn sort(&self) {
        let _book = self.lasting.book.open();
        self.store(self.list());
    }

    /// `Attempt::judge` and `Cluster::eject`.
    fn fail(&self, place: usize) {
        let endpoint = &self.lasting.endpoints[place];
        if endpoint.failed() < LIMIT {
            return;
        }
        let _book = self.lasting.book.open();
        if endpoint.standing() == Standing::Ejected {
            return;
        }
        self.ejections.fetch_add(1, Ordering::Relaxed);
        endpoint.stand(Standing::Ejected);
        self.store(self.list());
    }

    fn fail_often(&self, place: usize) {
        (0..LIMIT).for_each(|_| self.fail(place));
    }

    /// `Cluster::readmit`.
    fn readmit(&self, place: usize) {
        let endpoint = &self.lasting.endpoints[place];
        let _book = self.lasting.book.open();
        if endpoint.standing() == Standing::Eligible {
            return;
        }
        endpoint.succeeded();
        endpoint.stand(Standing::Eligible);
        self.store(self.list());
    }

    /// `Handle::begin`, by a policy that takes the first.
    fn pick(&self) -> Option<usize> {
        let first = *self.load().eligible.first()?;
        if self.lasting.endpoints[first].standing() == Standing::Eligible {
            return Some(first);
        }
        self.sort();
        self.load().eligible.first().copied()
    }

    fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }
}

#[test]
fn failures_at_once_eject_once() {
    let make = || {
        let cluster = Cluster::first();
        cluster.fail(0);
        cluster
    };
    let fail: fn(&Cluster) = |cluster| cluster.fail(0);
    in_every_order(make, &[fail; 3], |cluster| {
        assert_eq!((cluster.ejections(), &cluster.load().eligible[..]), (1, &[1][..]));
    });
}

#[test]
fn the_list_holds_every_change_however_they_fall_together() {
    let make = || {
        let cluster = Cluster::first();
        cluster.fail_often(1);
        cluster
    };
    let steps: [fn(&Cluster); 3] = [|cluster| cluster.fail_often(0), |cluster| cluster.readmit(1), Cluster::sort];
    in_every_order(make, &steps, |cluster| {
        let list = cluster.load();
        assert_eq!((&list.eligible[..], list.stamp), (&[1][..], 5), "the last one that was made");
    });
}

#[test]
fn whoever_knows_of_an_ejection_does_not_pick_that_endpoint() {
    struct Known {
        cluster: Cluster,
        ejected: AtomicU32,
    }
    let steps: [fn(&Known); 2] = [
        |known| {
            known.cluster.fail_often(0);
            known.ejected.store(1, Ordering::Release);
        },
        |known| {
            let is_known = known.ejected.load(Ordering::Acquire) == 1;
            let picked = known.cluster.pick();
            assert!(picked == Some(1) || picked == Some(0) && !is_known, "{picked:?}, known: {is_known}");
        },
    ];
    let make = || Known { cluster: Cluster::first(), ejected: AtomicU32::new(0) };
    in_every_order(make, &steps, |known| assert_eq!(known.cluster.pick(), Some(1)));
}

#[test]
fn an_ejection_under_the_old_table_holds_under_the_new_one() {
    struct Tables {
        old: Cluster,
        new: Mutex<Option<Cluster>>,
    }
    let steps: [fn(&Tables); 2] = [
        |tables| tables.old.fail_often(0),
        |tables| {
            let new = Cluster::build(&tables.old.lasting);
            assert!(new.pick().is_some());
            *tables.new.lock().unwrap() = Some(new);
        },
    ];
    let make = || Tables { old: Cluster::first(), new: Mutex::new(None) };
    in_every_order(make, &steps, |tables| {
        let new = tables.new.lock().unwrap().take().unwrap();
        assert_eq!(new.pick(), Some(1), "its list may be from before, but not its pick");
        assert!(new.load().stamp > tables.old.load().stamp, "rankings are heard by the newest list");
        tables.old.sort();
        assert_eq!(tables.old.load().stamp, 0, "which an old table's never is again");
    });
}
