//! Shares, and what commands make of them.

use std::collections::BTreeMap;

use super::*;
use crate::discovery::claims::command;
use crate::discovery::claims::text::{self, Light};
use crate::endpoint::Address;

/// An instance by its port and its tags.
type Instance<'a> = (u16, &'a [&'a str]);

/// Services by name, each with its instances.
fn lists(services: &[(&str, &[Instance<'_>])]) -> Lists {
    let listed = |(port, tags): &Instance<'_>| Listed {
        tags: tags.iter().map(|tag| Box::from(*tag)).collect(),
        ..Listed::new(Address::from(([127, 0, 0, 1], *port)))
    };
    let list = |(service, instances): &(&str, &[Instance<'_>])| {
        (Selection::of(service), instances.iter().map(listed).collect())
    };
    services.iter().map(list).collect()
}

/// The board of all claims on these lists, which are tags that begin with `u-`.
fn board(lists: &Lists) -> Board {
    let mut board = Board::default();
    for (selection, list) in lists {
        let tags = list.iter().flat_map(|listed| listed.tags.iter()).filter(|tag| tag.starts_with("u-"));
        for tag in tags.collect::<std::collections::BTreeSet<_>>() {
            let claim = text::claim(&tag[2..], Light::default()).unwrap();
            let service = selection.service.as_str().into();
            board.add(claim.place.clone(), Group::of_tag((&service, selection), &(**tag).into(), &claim));
        }
    }
    board
}

fn obey(board: &mut Board, lists: &Lists, text: &str) -> Vec<bool> {
    let orders = command::read(&BTreeMap::from([("kv".to_owned(), text.to_owned())])).unwrap();
    orders.iter().map(|ordered| board.obey(ordered, lists)).collect()
}

/// What each instance of a place gets, in parts of a hundred, by its port.
fn parts(board: Board, lists: &Lists, place: &str) -> BTreeMap<u16, u32> {
    let (_, groups) = board.places().find(|(known, _)| known.to_string() == place).unwrap_or_else(|| panic!("{place}"));
    let counted: Vec<(f64, usize)> = groups.iter().map(|group| (group.each, group.count(lists))).collect();
    let weights = shares(&counted);
    let sum: u32 = weights.iter().flatten().sum();
    let mut parts = BTreeMap::new();
    for (group, weight) in groups.iter().zip(weights) {
        let Some(weight) = weight else { continue };
        let ports: Vec<u16> = match &group.from {
            From::Followed(draw) => {
                let taken = lists[&draw.selection].iter().filter(|listed| table::takes(draw, listed));
                taken.map(|listed| listed.address.to_string().rsplit(':').next().unwrap().parse().unwrap()).collect()
            }
            From::Fixed(addresses, _) => addresses.iter().map(|(_, port)| *port).collect(),
            From::Nowhere(_) => Vec::new(),
        };
        for port in &ports {
            let part = f64::from(weight) * 100.0 / f64::from(sum) / ports.len() as f64;
            *parts.entry(*port).or_default() += part.round() as u32;
        }
    }
    parts
}

#[test]
fn shares_are_as_the_documentation_has_them() {
    assert_eq!(shares(&[(0.0, 3), (0.0, 1)]), [Some(7500), Some(2500)], "evenly, by instance");
    assert_eq!(shares(&[(0.05, 1), (0.0, 4)]), [Some(500), Some(9500)], "the rest evenly");
    assert_eq!(shares(&[(0.1, 2), (0.0, 2)]), [Some(2000), Some(8000)], "a weight is each instance's");
    assert_eq!(shares(&[(1.0, 1), (0.0, 4)]), [Some(10_000), None], "nothing is left");
    assert_eq!(shares(&[(1.5, 1), (0.5, 1), (0.0, 9)]), [Some(7500), Some(2500), None], "normalised");
    assert_eq!(shares(&[(0.1, 1), (0.3, 1)]), [Some(2500), Some(7500)], "up as well, where there is nobody else");
    assert_eq!(shares(&[(0.0, 5)]), [Some(10_000)]);
    assert_eq!(shares(&[(0.000_001, 1), (0.0, 1)]), [Some(1), Some(10_000)], "never nothing");
    assert_eq!(shares(&[(0.0, 0), (0.0, 2)]), [Some(0), Some(10_000)], "nobody there, but perhaps soon");
    assert_eq!(shares(&[(0.5, 0), (0.0, 0)]), [Some(1), Some(1)]);
}

#[test]
fn a_canary_gets_its_share_however_many_it_is() {
    let lists = lists(&[("web", &[(1, &["u-/", "green"]), (2, &["u-/", "green"]), (3, &["u-/"]), (4, &["u-/"])])]);
    let mut board = board(&lists);
    assert_eq!(obey(&mut board, &lists, "route weight web / weight 0.1 tags \"green\""), [true]);
    assert_eq!(parts(board, &lists, "/"), [(1, 5), (2, 5), (3, 45), (4, 45)].into());
}

#[test]
fn who_is_active_gets_all() {
    let lists = lists(&[("vault", &[(1, &["u-v.com/", "active"]), (2, &["u-v.com/", "standby"])])]);
    let mut board = board(&lists);
    obey(&mut board, &lists, "route weight vault v.com weight 1.00 tags \"active\"");
    assert_eq!(parts(board, &lists, "v.com/"), [(1, 100)].into());
}

#[test]
fn a_later_weight_goes_over_an_earlier_one() {
    let lists =
        lists(&[("web", &[(1, &["u-/", "a"]), (2, &["u-/", "a", "b"]), (3, &["u-/"])]), ("go", &[(4, &["u-/"])])]);
    let mut all = board(&lists);
    let text =
        "route weight web / weight 0.4 tags \"a\"\nroute weight / weight 0.5 tags \"b\"\nroute weight go / weight 0.1";
    assert_eq!(obey(&mut all, &lists, text), [true, true, true]);
    assert_eq!(parts(all, &lists, "/"), [(1, 20), (2, 50), (3, 20), (4, 10)].into());
    let mut none = board(&lists);
    let text = "route weight web / weight 0.4 tags \"z\"\nroute weight web /x weight 0.4\nroute weight php / weight 0.1\nroute del php";
    assert_eq!(obey(&mut none, &lists, text), [false; 4], "nobody is meant, and nothing breaks");
    assert_eq!(parts(none, &lists, "/"), [(1, 25), (2, 25), (3, 25), (4, 25)].into());
}

#[test]
fn routes_are_added_and_deleted_in_the_order_of_commands() {
    let lists = lists(&[("web", &[(1, &["u-/", "u-/x", "old"]), (2, &["u-/", "u-/x"])])]);
    let after = |text: &str, place: &str| {
        let mut board = board(&lists);
        obey(&mut board, &lists, text);
        let is_there = board.0.keys().any(|known| known.to_string() == place);
        is_there.then(|| parts(board, &lists, place).into_keys().collect::<Vec<_>>())
    };
    assert_eq!(after("route del web", "/"), None);
    assert_eq!(after("route del web /x", "/x"), None);
    assert_eq!(after("route del web /x", "/"), Some(vec![1, 2]));
    assert_eq!(after("route del other /x", "/x"), Some(vec![1, 2]));
    assert_eq!(after("route del web /x http://127.0.0.1:1/", "/x"), Some(vec![2]));
    assert_eq!(after("route del web tags \"old\"", "/x"), Some(vec![2]));
    assert_eq!(after("route del tags \"old\"", "/"), Some(vec![2]));
    let add = "route add web / http://127.0.0.1:7/ tags \"old\"\nroute add php / http://127.0.0.1:8/";
    assert_eq!(after(add, "/"), Some(vec![1, 2, 7, 8]));
    assert_eq!(after(&format!("{add}\nroute del tags \"old\""), "/"), Some(vec![2, 8]));
    assert_eq!(after(&format!("route del tags \"old\"\n{add}"), "/"), Some(vec![2, 7, 8]));
    assert_eq!(after(&format!("{add}\nroute del php / http://127.0.0.1:8/"), "/"), Some(vec![1, 2, 7]));
    assert_eq!(after("route add new a.com/ http://127.0.0.1:7/", "a.com/"), Some(vec![7]));
}

#[test]
fn who_cannot_serve_does_not_count() {
    let mut lists = lists(&[("web", &[(1, &["u-/"])]), ("go", &[(2, &["u-/"]), (3, &["u-/"])])]);
    let down: Vec<Listed> = lists[&Selection::of("go")]
        .iter()
        .map(|listed| Listed {
            status: if listed.address.to_string().ends_with('2') { Status::Critical } else { listed.status },
            ..listed.clone()
        })
        .collect();
    lists.insert(Selection::of("go"), down.into());
    let counts: usize = board(&lists).places().flat_map(|(_, groups)| groups).map(|group| group.count(&lists)).sum();
    assert_eq!(counts, 2);
}
