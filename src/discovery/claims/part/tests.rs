//! Which routes and clusters follow from what is claimed.

use super::*;
use crate::config::{Environment, Selection, parse};
use crate::discovery::claims::command;
use crate::discovery::claims::text::{self, Light};
use crate::endpoint::{Address, Listed};

fn config(text: &str) -> Config {
    parse(&format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{text}"), &Environment::default()).unwrap()
}

/// The part that these services make: each by its instances' tags, which all begin with `u-`.
fn made(base: &Config, services: &[(&str, &[&[&str]])], commands: &str) -> (Part, Vec<Rejected>) {
    let (mut lists, mut board) = (Lists::new(), Board::default());
    for (service, instances) in services {
        let selection = Selection::of(service);
        for tag in instances.iter().flat_map(|tags| tags.iter()).collect::<BTreeSet<_>>() {
            let claim = text::claim(&tag[2..], Light::default()).unwrap();
            board.add(claim.place.clone(), Group::of_tag((&(*service).into(), &selection), &(*tag).into(), &claim));
        }
        let listed = |(place, tags): (usize, &&[&str])| Listed {
            tags: tags.iter().map(|tag| Box::from(*tag)).collect(),
            ..Listed::new(Address::from(([127, 0, 0, 1], place as u16 + 1)))
        };
        lists.insert(selection, instances.iter().enumerate().map(listed).collect());
    }
    for ordered in command::read(&BTreeMap::from([("kv".to_owned(), commands.to_owned())])).unwrap() {
        board.obey(&ordered, &lists);
    }
    part(board, Given { base, lists: &lists }, &mut Stock::default())
}

fn clusters(part: &Part) -> Vec<&str> {
    let mut names: Vec<&str> = part.clusters.iter().map(|cluster| &*cluster.name).collect();
    names.sort_unstable();
    names
}

/// Routes by name, each with its targets.
fn routes(part: &Part) -> Vec<(String, Vec<(String, u32)>)> {
    let targets = |route: &Arc<Route>| match &route.action {
        Action::Forward(forward) => {
            forward.targets.iter().map(|target| (target.cluster.to_string(), target.weight)).collect()
        }
        _ => Vec::new(),
    };
    part.routes.iter().map(|route| (route.name.to_string(), targets(route))).collect()
}

#[test]
fn claims_of_the_same_instances_share_a_cluster() {
    let both: &[&str] = &["u-/a", "u-b.com/"];
    let (part, rejected) = made(&config(""), &[("web", &[both, both])], "");
    assert_eq!((clusters(&part), rejected), (vec!["web.routes"], Vec::new()));
    let to = |name: &str| (name.to_owned(), vec![("web.routes".to_owned(), 10_000)]);
    assert_eq!(routes(&part), [to("/a"), to("b.com/")]);
    assert_eq!(part.routes[0].origin.as_deref(), Some("web: u-/a"));
    assert_eq!((part.routes[0].ends, part.routes[1].path.as_str()), (Ends::Anywhere, ""));
    let (part, _) = made(&config(""), &[("web", &[both, &["u-/a"]])], "");
    assert_eq!(clusters(&part), ["web.routes", "web.routes:b.com/"], "the larger has the plain name");
}

#[test]
fn services_share_a_place_by_their_instances() {
    let (part, _) = made(&config(""), &[("go", &[&["u-/"]]), ("php", &[&["u-/"], &["u-/"], &["u-/"]])], "");
    assert_eq!(routes(&part)[0].1, [("go.routes".into(), 2500), ("php.routes".into(), 7500)]);
}

#[test]
fn options_of_a_place_are_each_targets_own() {
    let services: &[(&str, &[&[&str]])] = &[("a", &[&["u-/x strip=/x"]]), ("b", &[&["u-/x proto=https host=dst"]])];
    let (part, _) = made(&config(""), services, "");
    let Action::Forward(forward) = &part.routes[0].action else { panic!() };
    assert_eq!(forward.targets[0].rewrite.as_ref().unwrap().strip, "/x");
    assert_eq!(forward.targets[1].rewrite.as_ref().unwrap().host, crate::config::NewHost::Endpoint);
    assert_eq!(clusters(&part), ["a.routes", "b.routes.https"]);
    assert!(part.clusters[0].tls.is_none() && part.clusters[1].tls.is_some());
}

#[test]
fn who_disagrees_on_who_may_come_comes_too_late() {
    let (part, rejected) = made(&config(""), &[("a", &[&["u-/ allow=10.0.0.0/8"]]), ("b", &[&["u-/"]])], "");
    let names: Vec<String> = routes(&part).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["/", "/#refused"]);
    assert_eq!(part.routes[0].predicates.client_networks.len(), 1);
    assert!(rejected[0].why.contains("a: u-/ allow=10.0.0.0/8 claims / as well"), "{rejected:?}");
}

#[test]
fn the_file_goes_first() {
    let base = config(
        "[[routes]]\npath='/a/'\ncluster='c'\n[[routes]]\nhost='b.com'\nmethods=['GET']\ncluster='c'\n[clusters.c]\nendpoints=['127.0.0.1:1']",
    );
    let (part, rejected) = made(&base, &[("web", &[&["u-/a", "u-b.com/", "u-/a/b"]])], "");
    let names: Vec<String> = routes(&part).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["/a/b", "b.com/"], "what the file takes only in part stays");
    assert!(rejected[0].why.contains("goes first"));
}

#[test]
fn a_service_has_the_policy_that_is_written_for_its_name() {
    let base = config(
        "[clusters.web]\nendpoints=['127.0.0.1:1']\npolicy='random'\n[defaults]\nprotocol='http1'\n[defaults.tls]\nenabled=false\nserver_name='x.com'",
    );
    let (part, _) = made(&base, &[("web", &[&["u-/a", "u-/b proto=grpcs"]])], "");
    let [plain, grpc] = &part.clusters[..] else { panic!() };
    assert_eq!((plain.policy, grpc.policy), (crate::config::Policy::Random, crate::config::Policy::Random));
    assert_eq!((plain.protocol, plain.tls.is_some()), (crate::config::Protocol::Http1, false));
    assert_eq!((grpc.protocol, grpc.tls.is_some()), (crate::config::Protocol::Http2, true));
    assert_eq!(grpc.tls.as_ref().unwrap().server_name.as_ref().unwrap().to_str(), "x.com");
}

#[test]
fn commands_make_clusters_of_what_they_name() {
    let add = "route add svc /a http://10.0.0.1:80\nroute add svc /a http://10.0.0.2:80\nroute add svc /b http://10.0.0.1:80\n\
               route add svc /r https://x.com/ opts \"redirect=302\"";
    let (part, _) = made(&config(""), &[], add);
    assert_eq!(clusters(&part), ["svc.routes:/a", "svc.routes:/b"]);
    assert_eq!(part.routes.len(), 3);
    assert!(matches!(&part.clusters[0].source, Source::Static(endpoints) if endpoints.len() == 2));
}

#[test]
fn connections_are_claimed_by_port_and_name() {
    let base = config(
        "[[listeners]]\nname='t'\nbind='127.0.0.1:0'\nprotocol='tcp'\nservice_routes='sni'\n[service_routes]\nenabled=true",
    );
    let tags: &[&str] =
        &["u-:3306 proto=tcp pxyproto=true deny=10.0.0.1", "u-a.com/ proto=tcp", "u-b.com/", "u-c.com/ strip=/x"];
    let (part, _) = made(&base, &[("db", &[tags])], "");
    let doors: Vec<&Door> = part.doors.keys().collect();
    let name = |name: &str| Door::Name(Host::Exact(name.into()));
    assert_eq!(doors, [&Door::Port(3306), &name("a.com"), &name("b.com")]);
    let by_port = &part.doors[&Door::Port(3306)];
    assert!(!by_port.admits([10, 0, 0, 1].into()) && by_port.admits([10, 0, 0, 2].into()));
    let cluster = part.clusters.iter().find(|cluster| cluster.name == by_port.targets[0].cluster).unwrap();
    assert_eq!(cluster.proxy_protocol, Some(crate::config::ProxyProtocol::V1));
}

#[test]
fn what_the_file_has_for_a_host_cannot_be_claimed_by_way_of_its_port() {
    let base = config("[[routes]]\nhost='shop'\npath='/api'\nmethods=['GET']\nrespond={}");
    let tags: &[&str] = &["u-shop:443/", "u-shop:80/ap", "u-shop:80/api", "u-shop:80/other", "u-other:80/", "u-shop/"];
    let (part, rejected) = made(&base, &[("web", &[tags])], "");
    let names: Vec<String> = routes(&part).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["shop/", "other:80/", "shop:80/other"]);
    assert_eq!(rejected.len(), 3);
    assert!(rejected[0].why.contains("which goes first"));
}

#[test]
fn what_another_part_has_in_common_with_it_is_the_very_same() {
    let one = made(&config(""), &[("a", &[&["u-/a", "u-/c"]])], "").0;
    let two = made(&config(""), &[("a", &[&["u-/a", "u-/c strip=/c"]]), ("b", &[&["u-/b"]])], "").0.after(&one);
    let known = |route: &Arc<Route>| one.routes.iter().any(|other| Arc::ptr_eq(other, route));
    assert_eq!(two.routes.iter().map(known).collect::<Vec<_>>(), [true, false, false]);
}
