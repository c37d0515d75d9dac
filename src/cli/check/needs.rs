//! What a configuration needs to be allowed by Consul: pure, from the configuration alone.

use std::collections::BTreeSet;
use std::fmt;

use crate::config::{Config, Consistency, Lookup, Selection, Serves};

/// One right, in the words of Consul's policies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    /// `service`, `node`, `key` or `agent`.
    pub(super) resource: &'static str,
    /// To what; a prefix where the rule is one.
    pub(super) name: String,
    /// `read` or `write`.
    pub(super) access: &'static str,
    /// Whether all that begins with the name is meant.
    pub(super) is_prefix: bool,
}

/// A right, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) right: Right,
    /// Where, if not in the agent's own datacenter.
    pub(super) datacenter: Option<String>,
    /// What would not work without.
    pub(super) why: String,
    /// False for what lictor does without, if it has to.
    pub(super) is_vital: bool,
}

impl Right {
    pub(super) fn read(resource: &'static str, name: &str) -> Self {
        Right { resource, name: name.to_owned(), access: "read", is_prefix: false }
    }

    pub(super) fn write(resource: &'static str, name: &str) -> Self {
        Right { access: "write", ..Right::read(resource, name) }
    }

    pub(super) fn below(self) -> Self {
        Right { is_prefix: true, ..self }
    }

    /// The rule that gives it.
    pub(super) fn rule(&self) -> String {
        let Right { resource, name, access, is_prefix } = self;
        let prefix = if *is_prefix { "_prefix" } else { "" };
        format!("{resource}{prefix} {name:?} {{ policy = \"{access}\" }}")
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.access)?;
        match (&*self.name, self.is_prefix) {
            ("", _) => Ok(()),
            (name, true) => write!(f, " {name}…"),
            (name, false) => write!(f, " {name}"),
        }
    }
}

/// All that it needs, each right once, in the order in which people look for them.
pub(super) fn needs(config: &Config) -> Vec<Need> {
    let mut needs = Needs::default();
    of_services(config, &mut needs);
    of_mesh(config, &mut needs);
    of_keys(config, &mut needs);
    of_registration(config, &mut needs);
    of_agent(config, &mut needs);
    needs.0
}

/// Needs, each right of a place once.
#[derive(Default)]
struct Needs(Vec<Need>);

impl Needs {
    fn add(&mut self, right: Right, datacenter: Option<&String>, (why, is_vital): (String, bool)) {
        let known = self.0.iter_mut().find(|need| need.right == right && need.datacenter.as_ref() == datacenter);
        match known {
            Some(need) => {
                need.is_vital |= is_vital;
                need.why += &format!(", {why}");
            }
            None => self.0.push(Need { right, datacenter: datacenter.cloned(), why, is_vital }),
        }
    }
}

/// The services that are named somewhere, and their nodes.
fn of_services(config: &Config, needs: &mut Needs) {
    let clusters = config.clusters.iter().flat_map(|cluster| {
        let why = format!("cluster {}", cluster.name);
        cluster.source.draws().iter().map(move |draw| (draw.selection.clone(), why.clone()))
    });
    let listeners = config.listeners.iter().filter_map(|listener| match &listener.serves {
        Serves::Service(name) => Some((name.selection(), format!("listener {}", listener.name))),
        Serves::Routes | Serves::Names => None,
    });
    let mut places = BTreeSet::new();
    for (selection, why) in clusters.chain(listeners) {
        let datacenter = selection.datacenter.clone().or_else(|| config.consul.datacenter.clone());
        for service in services(&selection) {
            needs.add(Right::read("service", &service), datacenter.as_ref(), (why.clone(), true));
        }
        places.insert(datacenter);
    }
    let asked = config.listeners.iter().any(|listener| listener.serves == Serves::Names);
    let asked = asked.then_some((&config.egress.services, "whatever egress listeners are asked for"));
    let claiming = config.service_routes.as_ref().map(|routes| (&routes.services, "services that claim routes"));
    for (patterns, why) in asked.into_iter().chain(claiming) {
        for pattern in patterns {
            let pattern = pattern.to_string();
            let (name, is_prefix) = pattern.split_once('*').map_or((&*pattern, false), |(first, _)| (first, true));
            let right = Right { is_prefix, ..Right::read("service", name) };
            needs.add(right, config.consul.datacenter.as_ref(), (why.to_owned(), true));
        }
        places.insert(config.consul.datacenter.clone());
    }
    for datacenter in &places {
        let datacenter = datacenter.as_ref();
        let why = "without it the list of every service is empty".to_owned();
        needs.add(Right::read("node", "").below(), datacenter, (why, true));
    }
}

/// The names that somebody has in the catalogue who is looked up so.
fn services(selection: &Selection) -> Vec<String> {
    match selection.lookup {
        Lookup::Service => vec![selection.service.clone()],
        Lookup::Connect => vec![selection.service.clone(), format!("{}-sidecar-proxy", selection.service)],
        // Which services it comes to is for the query to say.
        Lookup::Query => Vec::new(),
    }
}

fn of_mesh(config: &Config, needs: &mut Needs) {
    if let Some(mesh) = &config.mesh {
        let why = "our certificate in the mesh, and to ask who may call us".to_owned();
        needs.add(Right::write("service", &mesh.service), None, (why, true));
    }
}

fn of_keys(config: &Config, needs: &mut Needs) {
    let datacenter = config.consul.datacenter.as_ref();
    if let Some(kv) = &config.kv {
        needs.add(Right::read("key", &kv.prefix).below(), datacenter, ("the documents of [kv]".to_owned(), true));
    }
    if let Some(key) = config.service_routes.as_ref().and_then(|routes| routes.kv.as_ref()) {
        needs.add(Right::read("key", key).below(), datacenter, ("the commands of service_routes.kv".to_owned(), true));
    }
    for listener in &config.listeners {
        if let Some(prefix) = listener.tls.as_ref().and_then(|tls| tls.kv.as_ref()) {
            let why = format!("certificates of listener {}", listener.name);
            needs.add(Right::read("key", prefix).below(), datacenter, (why, true));
        }
    }
}

/// Entries are the agent's, in its own datacenter.
fn of_registration(config: &Config, needs: &mut Needs) {
    let Some(registration) = &config.registration else { return };
    let own = registration.own.as_ref().map(|own| (&own.service.name, "entering lictor"));
    let neighbours = registration.services.iter().map(|service| (&service.name, "entering a neighbour"));
    for (name, why) in own.into_iter().chain(neighbours) {
        needs.add(Right { access: "write", ..Right::read("service", name) }, None, (why.to_owned(), true));
    }
}

fn of_agent(config: &Config, needs: &mut Needs) {
    let follows = config.clusters.iter().any(|cluster| !cluster.source.draws().is_empty())
        || config.service_routes.is_some()
        || config.listeners.iter().any(|listener| listener.serves != Serves::Routes);
    if follows && config.consul.consistency == Consistency::Stale {
        let why = "without it the leader is asked, and no follower".to_owned();
        needs.add(Right::read("agent", "").below(), None, (why, false));
    }
    let goes_by_place = config.clusters.iter().any(|cluster| !cluster.balancing.locality.is_off());
    let place = &config.place;
    let is_given = place.zone.is_some() && place.datacenter.is_some() && place.node.is_some();
    if goes_by_place && !is_given {
        let why = "what [place] leaves open for locality".to_owned();
        needs.add(Right::read("agent", "").below(), None, (why, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    fn of(text: &str) -> Vec<String> {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{text}");
        let needs = needs(&parse(&text, &Environment::default()).unwrap());
        let word = |need: &Need| {
            let place = need.datacenter.as_ref().map(|datacenter| format!("@{datacenter}")).unwrap_or_default();
            format!("{}{place}{}", need.right, if need.is_vital { "" } else { "?" })
        };
        needs.iter().map(word).collect()
    }

    #[test]
    fn who_asks_consul_for_nothing_needs_nothing() {
        assert!(of("[clusters.web]\nendpoints=['127.0.0.1:1']").is_empty());
    }

    #[test]
    fn each_right_is_named_once_for_each_datacenter() {
        let needs = of(
            "[clusters.web]\nconsul={service='web'}\n[clusters.canary]\nconsul={service='web',filter='x'}\n\
             [clusters.far]\nconsul={service='web',datacenter='dc2'}\n[kv]\nprefix='l/'\n[consul]\nconsistency='default'",
        );
        let expected = ["service:read web", "service:read web@dc2", "node:read", "node:read@dc2", "key:read l/…"];
        assert_eq!(needs, expected);
    }

    #[test]
    fn who_serves_services_by_their_names_has_to_see_them_all() {
        let egress = "egress=true\n[consul]\nconsistency='default'\n";
        assert_eq!(of(egress), ["service:read", "node:read"]);
        let some = of(&format!("{egress}[egress]\nservices=['shop-*','redis']"));
        assert_eq!(some, ["service:read shop-…", "service:read redis", "node:read"]);
        let one = of("service='web.service.dc2.consul'\n[consul]\nconsistency='default'");
        assert_eq!(one, ["service:read web@dc2", "node:read@dc2"]);
    }

    #[test]
    fn who_lets_services_claim_routes_has_to_see_those_and_the_commands() {
        let all = of("[service_routes]\nenabled=true\nkv='fabio/config'");
        assert_eq!(all, ["service:read", "node:read", "key:read fabio/config…", "agent:read?"]);
        let some = of("[service_routes]\nenabled=true\nservices=['web-*']\n[consul]\nconsistency='default'");
        assert_eq!(some, ["service:read web-…", "node:read"]);
        assert!(of("[service_routes]\nkv='fabio/config'").is_empty());
    }

    #[test]
    fn who_is_entered_is_written() {
        let needs = of("[registration]\nname='lictor'\n[[registration.services]]\nname='db'\nport=5432");
        assert_eq!(needs, ["service:write lictor", "service:write db"]);
    }

    #[test]
    fn who_is_in_the_mesh_has_to_be_who_it_says() {
        let needs = of("[mesh]\nservice='edge'\n[clusters.web]\nconsul={service='web',connect=true}\n\
                         [consul]\nconsistency='default'");
        let expected = ["service:read web", "service:read web-sidecar-proxy", "node:read", "service:write edge"];
        assert_eq!(needs, expected);
        assert_eq!(Right::write("service", "edge").rule(), "service \"edge\" { policy = \"write\" }");
    }

    #[test]
    fn what_lictor_can_do_without_is_not_vital() {
        let needs = of("[clusters.web]\nconsul={service='web'}\nlocality={prefer=['zone']}");
        assert_eq!(needs, ["service:read web", "node:read", "agent:read?"]);
    }

    #[test]
    fn the_rule_is_as_policies_have_it() {
        assert_eq!(Right::read("service", "web").rule(), "service \"web\" { policy = \"read\" }");
        assert_eq!(Right::read("node", "").below().rule(), "node_prefix \"\" { policy = \"read\" }");
    }
}
