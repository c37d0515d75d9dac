//! What is written down of each table: what it was made for, and how it differs from the one before.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::{Cluster, Member};
use crate::endpoint::What;
use crate::journal::{Cause, ClusterChange, Event, Published};
use crate::table::Table;

/// What the next table is made for.
#[derive(Debug, Default)]
pub(super) struct Causes(BTreeSet<Cause>);

impl Causes {
    /// One more; where there are many, the first ones say enough.
    pub(super) fn add(&mut self, cause: Cause) {
        if self.0.len() < Published::MOST {
            self.0.insert(cause);
        }
    }

    /// All of them, which have had their effect. Without any, it was time.
    pub(super) fn take(&mut self) -> Vec<Cause> {
        let causes = std::mem::take(&mut self.0);
        if causes.is_empty() { vec![Cause::Time] } else { causes.into_iter().collect() }
    }
}

/// The table that is about to take the other's place, as it is written down.
pub(super) fn of(old: &Table, new: &Table, causes: Vec<Cause>) -> Event {
    let mut clusters = Vec::new();
    let mut count = 0;
    let mut differs = |change: Option<ClusterChange>| {
        count += usize::from(change.is_some());
        clusters.extend(change.filter(|_| count <= Published::MOST));
    };
    let mut place = 0;
    for cluster in new.clusters() {
        let before = old.find_near(&mut place, cluster.name());
        place += usize::from(before.is_some());
        differs(difference(before, Some(cluster)));
    }
    for cluster in old.clusters().iter().filter(|cluster| new.find_cluster(cluster.name()).is_none()) {
        differs(difference(Some(cluster), None));
    }
    let clusters_changed = count;
    Event::Table(Box::new(Published {
        version: new.version,
        causes,
        clusters,
        clusters_changed,
        routes_changed: !Arc::ptr_eq(old.routes(), new.routes()),
        clusters_total: new.clusters().len(),
        endpoints_total: new.clusters().iter().map(|cluster| cluster.members().len()).sum(),
    }))
}

/// None if it is what it was, as far as anybody can see from outside.
fn difference(old: Option<&Arc<Cluster>>, new: Option<&Arc<Cluster>>) -> Option<ClusterChange> {
    if let (Some(old), Some(new)) = (old, new)
        && Arc::ptr_eq(old, new)
    {
        return None;
    }
    let change = match (old, new) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(old), Some(new)) if old.list().is_none() && new.list().is_some() => "listed",
        _ => "changed",
    };
    let name = new.or(old).map(|cluster| cluster.name().to_string()).unwrap_or_default();
    let mut difference = ClusterChange { cluster: name, change, ..ClusterChange::default() };
    walk(&mut difference, &by_address(old), &by_address(new));
    Some(difference)
}

fn by_address(cluster: Option<&Arc<Cluster>>) -> Vec<&Member> {
    let mut members: Vec<&Member> = cluster.into_iter().flat_map(|cluster| cluster.members()).collect();
    members.sort_by_key(|member| member.endpoint.address());
    members
}

/// Both are in the order of addresses.
fn walk(difference: &mut ClusterChange, old: &[&Member], new: &[&Member]) {
    let ClusterChange { added, added_total, removed, removed_total, changed, changed_total, .. } = difference;
    let (mut old, mut new) = (old.iter().copied().peekable(), new.iter().copied().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.endpoint.address().cmp(new.endpoint.address()),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let (words, total, word) = match (before, after) {
            (Some(before), Some(after)) if is_same(before, after) => continue,
            (Some(before), Some(after)) => {
                (&mut *changed, &mut *changed_total, format!("{}: {} → {}", at(after), said(before), said(after)))
            }
            (Some(before), None) => (&mut *removed, &mut *removed_total, at(before)),
            (None, Some(after)) => (&mut *added, &mut *added_total, at(after)),
            (None, None) => return,
        };
        *total += 1;
        if words.len() < Published::MOST {
            words.push(word);
        }
    }
}

fn is_same(before: &Member, after: &Member) -> bool {
    let by_hand = |member: &Member| (member.is_under(What::Ejected), member.is_under(What::Drained));
    let is_listed_alike = before.status == after.status && before.weight == after.weight;
    is_listed_alike && by_hand(before) == by_hand(after) && before.endpoint.id() == after.endpoint.id()
}

fn at(member: &Member) -> String {
    member.endpoint.address().to_string()
}

fn said(member: &Member) -> String {
    let by_hand = [What::Ejected, What::Drained].into_iter().filter(|what| member.is_under(*what));
    let by_hand: String = by_hand.map(|what| format!(", {} by hand", what.name())).collect();
    format!("{} with weight {}{by_hand}", member.status.name(), member.weight)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cluster::Own;
    use crate::config::{self, Config, Selection};
    use crate::endpoint::{Address, List, Listed};
    use crate::metrics::Metrics;
    use crate::table::{self, Builder, Facts, Lists};

    fn config(clusters: &str) -> Config {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{clusters}");
        config::parse(&text, &config::Environment::default()).unwrap()
    }

    fn list(entries: &[(u16, u32)]) -> List {
        let listed = |(port, weight): &(u16, u32)| Listed {
            weight: *weight,
            ..Listed::new(Address::from(([127, 0, 0, 1], *port)))
        };
        entries.iter().map(listed).collect()
    }

    fn published(event: Event) -> Published {
        match event {
            Event::Table(published) => *published,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_is_written_down_with_what_is_different_about_it() {
        let builder = Builder::new(1, Own { seed: 1, secret: [0; 32] }, &Arc::new(Metrics::new(1)));
        let empty = table::channel().0.current();
        let build = |config: &Config, entries: &[(u16, u32)], previous: &Table| {
            let facts = Facts { lists: Lists::from([(Selection::of("a"), list(entries))]), ..Facts::default() };
            builder.build(config, &facts, previous, Instant::now())
        };
        let (both, one) = (
            config("[clusters.a]\nconsul={service='a'}\n[clusters.b]\nendpoints=['127.0.0.1:9']"),
            config("[clusters.a]\nconsul={service='a'}"),
        );
        let first = build(&both, &[(1, 1), (2, 1), (3, 1)], &empty);
        let start = published(of(&empty, &first, vec![Cause::Start]));
        assert_eq!((start.version, start.clusters_total, start.endpoints_total), (1, 2, 4));
        assert_eq!((start.clusters[0].change, start.clusters[0].added_total), ("added", 3));

        let second = build(&both, &[(2, 5), (3, 1), (4, 1)], &first);
        let update = published(of(&first, &second, Causes::default().take()));
        assert_eq!((update.causes, update.clusters_changed, update.routes_changed), (vec![Cause::Time], 1, false));
        let change = &update.clusters[0];
        assert_eq!(
            (&change.added[..], &change.removed[..]),
            (&["127.0.0.1:4".to_owned()][..], &["127.0.0.1:1".to_owned()][..])
        );
        assert_eq!(change.changed, ["127.0.0.1:2: passing with weight 1 → passing with weight 5"]);

        let turned = build(&both, &[(4, 1), (2, 5), (3, 1)], &second);
        let order = published(of(&second, &turned, vec![]));
        let change = order.clusters.first().map(|change| (change.added_total, change.removed_total));
        assert!(change.is_none_or(|totals| totals == (0, 0)), "another order is no difference: {order:?}");

        let third = build(&one, &[(2, 5), (3, 1), (4, 1)], &second);
        let reload = published(of(&second, &third, vec![Cause::Reload]));
        assert_eq!((reload.clusters[0].cluster.as_str(), reload.clusters[0].change), ("b", "removed"));
        assert_eq!(reload.clusters[0].removed, ["127.0.0.1:9"]);
    }

    #[test]
    fn a_large_difference_is_counted_and_not_spelled_out() {
        let builder = Builder::new(1, Own { seed: 1, secret: [0; 32] }, &Arc::new(Metrics::new(1)));
        let empty = table::channel().0.current();
        let clusters: String = (0..40).map(|name| format!("[clusters.c{name}]\nendpoints=['127.0.0.1:9']\n")).collect();
        let many: Vec<String> = (1..100).map(|port| format!("'127.0.0.1:{port}'")).collect();
        let text = format!("{clusters}[clusters.a]\nendpoints=[{}]", many.join(","));
        let table = builder.build(&config(&text), &Facts::default(), &empty, Instant::now());
        let start = published(of(&empty, &table, vec![Cause::Start]));
        assert_eq!((start.clusters.len(), start.clusters_changed), (Published::MOST, 41));
        assert_eq!((start.clusters[0].added.len(), start.clusters[0].added_total), (Published::MOST, 99));
        let mut causes = Causes::default();
        (0..100).for_each(|index| causes.add(Cause::List { source: format!("s{index}"), index }));
        assert_eq!(causes.take().len(), Published::MOST);
    }
}
