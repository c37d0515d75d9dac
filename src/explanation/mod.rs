//! Why a request goes where it goes: its route and why no other, its part of a split, what is changed in it, its cluster, and of each
//! endpoint whether it may be picked and what keeps it from that. For people; no request comes here.
//!
//! It goes by what requests go by: the routes' own index and predicates, the draw of a split, the candidates and the policy of a
//! cluster. Nothing is begun, counted or changed by it, and it is as true as the table that it is asked of.

mod cluster;
mod request;
mod way;

use std::time::Instant;

use serde::Serialize;

use crate::config::{Egress, Listener};
use crate::table::Table;
use cluster::ClusterView;
use request::Request;
pub use request::{Description, Wrong};
use way::{MirrorView, OtherView, RouteView, SentView, TargetView};

/// What an explanation goes by.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Every listener, in the order of the file.
    pub listeners: &'a [Listener],
    /// What holds for those that go by names of services.
    pub egress: &'a Egress,
    /// Routes and clusters.
    pub now: Instant,
}

/// Where a request goes, and why. Field names are an interface: they are added to, not changed.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// What becomes of it, in a sentence.
    pub summary: String,
    table: TableView,
    request: RequestView,
    /// Why it is answered by lictor itself with an error, if it is.
    refused: Option<String>,
    /// The status that lictor answers with by itself, if it does.
    status: Option<u16>,
    /// The route that it takes.
    route: Option<RouteView>,
    /// Others, those that came nearest first.
    others: Vec<OtherView>,
    /// How many more there are.
    others_left_out: usize,
    /// The clusters of the route, in its order.
    targets: Vec<TargetView>,
    /// True if it always goes to the same one of several, for what the route ties it by.
    tied: bool,
    /// The request as an endpoint sees it.
    sent: Option<SentView>,
    /// Where the client is sent, by a redirect.
    location: Option<String>,
    mirror: Option<MirrorView>,
    /// The clusters that it may go to as things are, the likeliest first.
    clusters: Vec<ClusterView>,
}

#[derive(Debug, Default, Serialize)]
struct TableView {
    version: u64,
    age_seconds: f64,
}

#[derive(Debug, Default, Serialize)]
struct RequestView {
    listener: String,
    method: String,
    scheme: String,
    host: String,
    path: String,
    query: Option<String>,
    /// Who it comes from, as far as whoever says so is believed.
    client: String,
    server_name: Option<String>,
    identities: Vec<String>,
    /// The names of its headers. Values may be nobody's business.
    headers: Vec<String>,
}

/// Explains a request that is described, by this table.
pub fn explain(table: &Table, ground: Ground<'_>, description: &Description) -> Result<Explanation, Wrong> {
    let request = description.request(ground.listeners)?;
    let mut explanation = Explanation {
        table: TableView {
            version: table.version,
            age_seconds: ground.now.saturating_duration_since(table.built).as_secs_f64(),
        },
        request: request.view(),
        ..Explanation::default()
    };
    let found = way::find(table, ground, &request, &mut explanation);
    match found {
        Ok(route) => way::follow(table, ground.now, (&request, route), &mut explanation),
        Err((status, why)) => explanation.refuse(status, why),
    }
    Ok(explanation)
}

impl Explanation {
    /// The clusters of the route that it takes.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| &*target.cluster)
    }

    fn refuse(&mut self, status: u16, why: String) {
        self.summary = format!("answered with {status}: {why}");
        (self.status, self.refused) = (Some(status), Some(why));
    }
}

impl Request<'_> {
    fn view(&self) -> RequestView {
        let (head, sender) = (&self.head, self.sender());
        let names: std::collections::BTreeSet<String> = head.headers.keys().map(ToString::to_string).collect();
        RequestView {
            listener: self.listener.name.to_string(),
            method: head.method.to_string(),
            scheme: sender.scheme(&head.headers).to_str().unwrap_or_default().to_owned(),
            host: self.host.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            client: sender.client(&head.headers).to_string(),
            server_name: sender.downstream().server_name().map(str::to_owned),
            identities: sender.downstream().identities().map(str::to_owned).collect(),
            headers: names.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
