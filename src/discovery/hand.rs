//! What operators have done by hand, for as long as it holds. It goes by cluster and address, not by who is on a list now: an endpoint
//! that leaves and comes back while it holds is still under it. It is not written down, and a new process begins without any.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use crate::endpoint::{Address, Measure, What};
use crate::table::{ByCluster, Deed, Order, Refused, Table};

/// What may hold at once, over all endpoints: more than any person keeps in mind, and little enough to be shown whole.
const MOST: usize = 1_000;

/// All that holds.
#[derive(Debug, Default)]
pub(super) struct Done {
    measures: Arc<ByCluster>,
    /// When the next of it ends.
    next: Option<Instant>,
}

impl Done {
    /// As it is to stand in a table.
    pub(super) fn measures(&self) -> &Arc<ByCluster> {
        &self.measures
    }

    /// When some of it ends by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Does as it is told, or says why not; true if that changes what holds.
    pub(super) fn obey(&mut self, order: &Order, table: &Table, now: Instant) -> Result<bool, Refused> {
        let is_held = self.held(&order.cluster, &order.endpoint).is_some();
        if !is_held {
            let cluster = table.find_cluster(&order.cluster).ok_or(Refused::NoCluster)?;
            let mut members = cluster.members().iter();
            members.find(|member| *member.endpoint.address() == order.endpoint).ok_or(Refused::NoEndpoint)?;
        }
        match &order.deed {
            Deed::Take { what, length, note } => {
                let is_new = self
                    .held(&order.cluster, &order.endpoint)
                    .is_none_or(|held| !held.iter().any(|measure| measure.what.is_like(*what)));
                if is_new && self.count() >= MOST {
                    return Err(Refused::Full(MOST));
                }
                let until = length.map(|length| now + length);
                let measure = Measure { what: *what, until, by: Arc::clone(&order.by), note: note.clone() };
                self.change(order, *what, Some(measure));
                Ok(true)
            }
            Deed::TakeBack(what) => Ok(self.change(order, *what, None)),
        }
    }

    /// Lets go of what has ended; true if there was any.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let has_ended = |measure: &Measure| measure.until.is_some_and(|until| until <= now);
        let mut all = ByCluster::clone(&self.measures);
        for (cluster, measures) in &mut all {
            let measures = Arc::make_mut(measures);
            for (endpoint, held) in measures.iter_mut() {
                for over in held.iter().filter(|measure| has_ended(measure)) {
                    info!(%cluster, %endpoint, what = over.what.name(), by = %over.by, "what was done by hand is over");
                }
                *held = held.iter().filter(|measure| !has_ended(measure)).cloned().collect();
            }
            measures.retain(|_, held| !held.is_empty());
        }
        self.store(all);
        true
    }

    /// Puts a measure in place of what is like it, or takes that away; true if anything is another thing than before.
    fn change(&mut self, order: &Order, what: What, measure: Option<Measure>) -> bool {
        let mut all = ByCluster::clone(&self.measures);
        let measures = Arc::make_mut(all.entry(Arc::clone(&order.cluster)).or_default());
        let held = measures.entry(order.endpoint.clone()).or_default();
        let others = held.iter().filter(|other| !other.what.is_like(what)).cloned();
        let next: Vec<Measure> = others.chain(measure).collect();
        let changed = **held != *next;
        *held = next.into();
        measures.retain(|_, held| !held.is_empty());
        self.store(all);
        changed
    }

    fn store(&mut self, mut all: ByCluster) {
        all.retain(|_, measures| !measures.is_empty());
        let each = all.values().flat_map(|measures| measures.values()).flat_map(|held| held.iter());
        self.next = each.filter_map(|measure| measure.until).min();
        self.measures = Arc::new(all);
    }

    fn held(&self, cluster: &str, endpoint: &Address) -> Option<&Arc<[Measure]>> {
        self.measures.get(cluster)?.get(endpoint)
    }

    fn count(&self) -> usize {
        self.measures.values().flat_map(|measures| measures.values()).map(|held| held.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::cluster::Own;
    use crate::config;
    use crate::metrics::Metrics;
    use crate::table::{Builder, Facts, channel};

    const MINUTE: Duration = Duration::from_secs(60);

    fn table(done: &Done) -> Table {
        let text =
            "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.web]\nendpoints=['127.0.0.1:1','127.0.0.1:2']";
        let config = config::parse(text, &config::Environment::default()).unwrap();
        let builder = Builder::new(1, Own { seed: 1, secret: [0; 32] }, &Arc::new(Metrics::new(1)));
        let facts = Facts { measures: Arc::clone(done.measures()), ..Facts::default() };
        builder.build(&config, &facts, &channel().0.current(), Instant::now())
    }

    fn order(cluster: &str, port: u16, deed: Deed) -> Order {
        let endpoint = Address::from(([127, 0, 0, 1], port));
        Order { cluster: cluster.into(), endpoint, deed, by: "ann".into(), done: oneshot::channel().0 }
    }

    fn take(what: What, length: Option<Duration>) -> Deed {
        Deed::Take { what, length, note: None }
    }

    fn held(done: &Done, port: u16) -> Vec<What> {
        let held = done.held("web", &Address::from(([127, 0, 0, 1], port)));
        held.into_iter().flat_map(|held| held.iter()).map(|measure| measure.what).collect()
    }

    #[test]
    fn each_kind_holds_once_until_its_time_is_over_or_it_is_taken_back() {
        let (mut done, now) = (Done::default(), Instant::now());
        let table = table(&done);
        let obey = |done: &mut Done, deed| done.obey(&order("web", 1, deed), &table, now).unwrap();
        assert!(obey(&mut done, take(What::Weight(5), Some(2 * MINUTE))));
        assert!(obey(&mut done, take(What::Ejected, Some(MINUTE))));
        assert!(obey(&mut done, take(What::Weight(7), None)), "in place of the other");
        assert_eq!(held(&done, 1), [What::Ejected, What::Weight(7)]);
        assert_eq!(done.next(), Some(now + MINUTE));
        assert!(!done.pass(now + MINUTE - Duration::from_millis(1)));
        assert!(done.pass(now + MINUTE));
        assert_eq!((held(&done, 1), done.next()), (vec![What::Weight(7)], None));
        assert!(obey(&mut done, Deed::TakeBack(What::Weight(0))) && held(&done, 1).is_empty());
        assert!(!obey(&mut done, Deed::TakeBack(What::Weight(0))), "nothing is left of it");
        assert!(done.measures().is_empty());
    }

    #[test]
    fn what_is_not_there_cannot_be_ordered_about_but_what_holds_can_be_taken_back() {
        let (mut done, now) = (Done::default(), Instant::now());
        let table = table(&done);
        let eject = || take(What::Ejected, None);
        assert_eq!(done.obey(&order("wep", 1, eject()), &table, now), Err(Refused::NoCluster));
        assert_eq!(done.obey(&order("web", 3, eject()), &table, now), Err(Refused::NoEndpoint));
        assert_eq!(done.obey(&order("web", 1, eject()), &table, now), Ok(true));
        let nobody = channel().0.current();
        assert_eq!(done.obey(&order("web", 1, Deed::TakeBack(What::Ejected)), &nobody, now), Ok(true));
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let (mut done, now) = (Done::default(), Instant::now());
        let table = table(&done);
        let address = |port: u16| Address::from(([127, 0, 0, 1], port));
        let all = |what| Arc::from([Measure { what, until: None, by: "ann".into(), note: None }]);
        let many = (1..=MOST as u16).map(|port| (address(port), all(What::Drained))).collect();
        done.store(ByCluster::from([("web".into(), Arc::new(many))]));
        assert_eq!(done.obey(&order("web", 1, take(What::Ejected, None)), &table, now), Err(Refused::Full(MOST)));
        assert_eq!(
            done.obey(&order("web", 1, take(What::Drained, Some(MINUTE))), &table, now),
            Ok(true),
            "in its place"
        );
    }

    #[test]
    fn a_table_has_what_is_done_and_rebuilds_only_the_cluster_that_it_is_about() {
        let (mut done, now) = (Done::default(), Instant::now());
        let first = table(&done);
        done.obey(&order("web", 2, take(What::Drained, None)), &first, now).unwrap();
        let second = table(&done);
        let states = |table: &Table| -> Vec<&'static str> {
            table.clusters()[0].members().iter().map(|member| member.state()).collect()
        };
        assert_eq!((states(&first), states(&second)), (vec!["eligible"; 2], vec!["eligible", "drained"]));
    }
}
