//! What is told beside the file: clusters and routes that come from elsewhere, put together with those of the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Cluster, Config, Door, Passage, Route};

/// Clusters, and routes that name them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    /// Each with another name.
    pub clusters: Vec<Arc<Cluster>>,
    /// For edge listeners; the first of those that take the same requests counts.
    pub routes: Vec<Arc<Route>>,
    /// For egress listeners, by the name that is asked for.
    pub egress: BTreeMap<Arc<str>, Arc<Route>>,
    /// For TCP listeners.
    pub doors: BTreeMap<Door, Arc<Passage>>,
}

impl Part {
    /// The same, with what it has in common with another as the very same: all that is known of a route and its
    /// requests goes by that, and a cluster need not be compared again with each table.
    pub fn after(mut self, other: &Part) -> Self {
        let routes: HashMap<&str, &Arc<Route>> = other.routes.iter().map(|route| (&*route.name, route)).collect();
        for route in &mut self.routes {
            if let Some(known) = routes.get(&*route.name).filter(|known| **known == route) {
                *route = Arc::clone(known);
            }
        }
        let clusters: HashMap<&str, &Arc<Cluster>> =
            other.clusters.iter().map(|cluster| (&*cluster.name, cluster)).collect();
        for cluster in &mut self.clusters {
            if let Some(known) = clusters.get(&*cluster.name).filter(|known| **known == cluster) {
                *cluster = Arc::clone(known);
            }
        }
        self
    }
}

impl Config {
    /// This and what the parts add. What was there first stays: a cluster of the same name, and a route that takes the same requests,
    /// are left out.
    pub fn with<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> Config {
        let mut config = self.clone();
        let mut clusters: BTreeMap<Arc<str>, Arc<Cluster>> =
            config.clusters.drain(..).map(|cluster| (Arc::clone(&cluster.name), cluster)).collect();
        let mut doors = (*config.doors).clone();
        let mut places = HashMap::<(String, String), Vec<usize>>::new();
        for (index, route) in config.routes.iter().enumerate() {
            places.entry(place(route)).or_default().push(index);
        }
        for part in parts {
            for cluster in &part.clusters {
                clusters.entry(Arc::clone(&cluster.name)).or_insert_with(|| Arc::clone(cluster));
            }
            for route in &part.routes {
                let beside = places.entry(place(route)).or_default();
                if beside.iter().all(|other| config.routes[*other].predicates != route.predicates) {
                    beside.push(config.routes.len());
                    config.routes.push(Arc::clone(route));
                }
            }
            for (door, passage) in &part.doors {
                doors.entry(door.clone()).or_insert_with(|| Arc::clone(passage));
            }
            for (name, route) in &part.egress {
                config.named.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(route));
            }
        }
        config.doors = Arc::new(doors);
        config.clusters = clusters.into_values().collect();
        config
    }
}

fn place(route: &Route) -> (String, String) {
    (route.host.to_string(), route.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    fn config(text: &str) -> Config {
        parse(&format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{text}"), &Environment::default()).unwrap()
    }

    #[test]
    fn what_was_there_first_stays() {
        let base = config("[[routes]]\npath='/a'\ncluster='x'\n[clusters.x]\nendpoints=['127.0.0.1:1']");
        let other = config(
            "[[routes]]\npath='/a'\ncluster='y'\n[[routes]]\npath='/a'\nmethods=['GET']\ncluster='y'\n\
             [clusters.x]\nendpoints=['127.0.0.1:2']\n[clusters.y]\nendpoints=['127.0.0.1:3']",
        );
        let part = Part { clusters: other.clusters.clone(), routes: other.routes.clone(), ..Part::default() };
        let both = base.with([&part, &part]);
        assert_eq!(both.routes, [&base.routes[..], &other.routes[1..]].concat());
        assert_eq!(both.clusters, [base.clusters[0].clone(), other.clusters[1].clone()]);
    }
}
