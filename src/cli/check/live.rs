//! Whether the token may do what the configuration needs, as the agent says now. Consul leaves out what a token may not see, and an empty
//! list for want of rights looks like a service without instances: here the two are told apart. The question for rights is one of
//! Consul's own interface and not documented; where it is not answered, what can be seen has to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::needs::{Need, Right, needs};
use super::report::Report;
use crate::config::{Agent as Address, Config, Consistency, Lookup, Selection};
use crate::consul::{Agent, Failure};

/// Rights that Consul takes at once.
const AT_ONCE: usize = 64;
const NOW: (u64, Duration) = (0, Duration::ZERO);

/// What is known of one need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// It may.
    Allowed,
    /// It may for some of what is there.
    Partly,
    /// It may not.
    Hidden,
    /// Nobody says, and nothing shows it.
    Unknown,
}

/// Whether there are rights at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acl {
    On,
    Off,
    Unknown,
}

/// Asks and says; true if the agent answers and knows us.
pub(super) async fn check(config: &Config, agent: &Agent, report: &mut Report) -> bool {
    let reached = reach(config, agent, report).await;
    if reached {
        let seen = look(config, agent, report).await;
        for (datacenter, needs) in by_place(needs(config)) {
            ask(agent, datacenter.as_ref(), &needs, &seen, report).await;
        }
    }
    reached
}

fn by_place(needs: Vec<Need>) -> BTreeMap<Option<String>, Vec<Need>> {
    let mut places = BTreeMap::<Option<String>, Vec<Need>>::new();
    for need in needs {
        places.entry(need.datacenter.clone()).or_default().push(need);
    }
    places
}

/// Who answers there; false if nobody does, or does not know us.
async fn reach(config: &Config, agent: &Agent, report: &mut Report) -> bool {
    let address = match &config.consul.address {
        Address::Url(url) => url.clone(),
        Address::Unix(path) => format!("unix://{path}"),
    };
    match agent.ask("/v1/status/leader", &[]).await {
        Err(failure) => {
            report.say("agent", "failed", format!("{address}: the agent cannot be asked: {failure}"));
            return false;
        }
        Ok(leader) if leader.as_str().is_none_or(str::is_empty) => {
            report.say("agent", "warning", format!("{address}: Consul has no leader now"));
        }
        Ok(_) => {}
    }
    match agent.about().await {
        Ok(about) => {
            let text = |key: &str| about["Config"][key].as_str().unwrap_or("?").to_owned();
            let role = if about["Config"]["Server"] == true { "a server" } else { "a client" };
            let (version, datacenter, node) = (text("Version"), text("Datacenter"), text("NodeName"));
            report.say(
                "agent",
                "ok",
                format!("{address}: Consul {version}, {role}, node {node}, datacenter {datacenter}"),
            );
        }
        Err(Failure::Denied { message, .. }) if message.contains("ACL not found") => {
            report.say("agent", "failed", format!("{address}: Consul does not know the token"));
            return false;
        }
        Err(_) => report.say("agent", "ok", format!("{address}: reached")),
    }
    true
}

/// What is to be seen without a question for rights.
#[derive(Debug, Default)]
struct Seen {
    /// How many instances each service showed, by datacenter and name.
    instances: BTreeMap<(Option<String>, String), usize>,
    /// Names in the catalogue, by datacenter.
    names: BTreeMap<Option<String>, BTreeSet<String>>,
}

impl Seen {
    /// True if there is an instance to be seen there.
    fn shows(&self, datacenter: &Option<String>) -> bool {
        self.instances.iter().any(|((known, _), count)| known == datacenter && *count > 0)
    }
}

/// Looks at every service and every datacenter, and says what is odd.
async fn look(config: &Config, agent: &Agent, report: &mut Report) -> Seen {
    let mut seen = Seen::default();
    let mut unknown = BTreeSet::new();
    for selection in config.selections() {
        let datacenter = selection.datacenter.clone().or_else(|| config.consul.datacenter.clone());
        if !seen.names.contains_key(&datacenter) && !unknown.contains(&datacenter) {
            match agent.ask("/v1/catalog/services", &agent.place(datacenter.as_ref())).await {
                Ok(Value::Object(names)) => {
                    drop(seen.names.insert(datacenter.clone(), names.into_iter().map(|(name, _)| name).collect()))
                }
                Ok(_) => {}
                Err(failure) => {
                    let place = datacenter.as_deref().unwrap_or("the agent's datacenter");
                    report.say("catalogue", "failed", format!("{place}: its catalogue cannot be read: {failure}"));
                    unknown.insert(datacenter.clone());
                }
            }
        }
        if !unknown.contains(&datacenter) {
            look_at(agent, &selection, datacenter, (&mut seen, report)).await;
        }
    }
    seen
}

async fn look_at(
    agent: &Agent,
    selection: &Selection,
    datacenter: Option<String>,
    (seen, report): (&mut Seen, &mut Report),
) {
    let read = async {
        agent.supports(selection).await?;
        agent.health(selection, Consistency::Default, NOW, 0).await?.json().await
    };
    match read.await {
        Ok(list) => {
            let list = if selection.lookup == Lookup::Query { &list["Nodes"] } else { &list };
            let count = list.as_array().map_or(0, Vec::len);
            if count == 0 {
                report.say(
                    "catalogue",
                    "warning",
                    format!("{selection}: there are no instances, or none that may be seen"),
                );
            }
            if selection.filter.is_none() {
                seen.instances.insert((datacenter, selection.service.clone()), count);
            }
        }
        Err(failure) => report.say("catalogue", "failed", format!("{selection}: {failure}")),
    }
}

/// Asks for the rights to one datacenter.
async fn ask(agent: &Agent, datacenter: Option<&String>, needs: &[Need], seen: &Seen, report: &mut Report) {
    for some in needs.chunks(AT_ONCE) {
        let question: Vec<Value> = some.iter().map(|need| question(&need.right)).collect();
        let answer = agent.authorize(&agent.place(datacenter), &Value::Array(question)).await;
        let acl = match &answer {
            Ok(_) => Acl::On,
            Err(Failure::Denied { message, .. }) if message.contains("ACL support disabled") => Acl::Off,
            Err(_) => Acl::Unknown,
        };
        let answers = answer.ok();
        for (place, need) in some.iter().enumerate() {
            let allowed = answers.as_ref().and_then(|answers| answers[place]["Allow"].as_bool());
            let grant = match (acl, allowed) {
                (Acl::Off, _) | (_, Some(true)) => Grant::Allowed,
                // Rules may be for some nodes only.
                (_, Some(false)) if need.right.resource == "node" && seen.shows(&need.datacenter) => Grant::Partly,
                (_, Some(false)) => Grant::Hidden,
                _ => guess(agent, need, seen).await,
            };
            say(report, need, grant);
        }
        if acl == Acl::Off {
            report.say("agent", "ok", "it has no ACLs: everything is allowed");
        }
    }
}

fn say(report: &mut Report, need: &Need, grant: Grant) {
    let place = need.datacenter.as_ref().map(|datacenter| format!(" in {datacenter}")).unwrap_or_default();
    let what = format!("{}{place}: {}", need.right, need.why);
    let rule = || need.right.rule();
    match grant {
        Grant::Allowed => report.say("right", "allowed", what),
        Grant::Partly => report.say("right", "partly", format!("{what}; what is elsewhere is hidden")),
        Grant::Hidden if need.is_vital => report.advise("right", "missing", (what, format!("add {}", rule()))),
        Grant::Hidden => report.advise("right", "without", (what, format!("to have it, add {}", rule()))),
        Grant::Unknown => report.advise("right", "unknown", (what, format!("it takes {}", rule()))),
    }
}

fn question(right: &Right) -> Value {
    json!({ "Resource": right.resource, "Segment": right.name, "Access": right.access })
}

/// What can be told from what is to be seen.
async fn guess(agent: &Agent, need: &Need, seen: &Seen) -> Grant {
    let names = seen.names.get(&need.datacenter);
    let here = || seen.instances.keys().filter(|(known, _)| *known == need.datacenter).map(|(_, name)| name);
    match need.right.resource {
        // Who may be seen may not therefore be changed.
        "service" if need.right.access == "write" => Grant::Unknown,
        "service" if names.is_some_and(|names| names.contains(&need.right.name)) => Grant::Allowed,
        "node" if seen.shows(&need.datacenter) => Grant::Allowed,
        // A name is in the catalogue only while it has instances, and nobody sees them.
        "node" if names.is_some_and(|names| here().any(|name| names.contains(name))) => Grant::Hidden,
        "key" => match agent.entries(&need.right.name, NOW).await {
            Ok((_, found)) if !found.is_empty() => Grant::Allowed,
            Err(Failure::Denied { .. }) => Grant::Hidden,
            _ => Grant::Unknown,
        },
        "agent" => match agent.about().await {
            Ok(_) => Grant::Allowed,
            Err(Failure::Denied { .. }) => Grant::Hidden,
            Err(_) => Grant::Unknown,
        },
        _ => Grant::Unknown,
    }
}
