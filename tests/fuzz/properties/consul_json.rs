//! Consul's answers: whatever they hold, a list is in order, names each address once, and has nothing that cannot be dialled.

use lictor::config::MAX_WEIGHT;
use lictor::config::Selection;
use lictor::discovery::consul::parse_health;

pub fn check(data: &[u8]) {
    match parse_health(data, &Selection::of("web"), "zone") {
        Ok((list, _)) => {
            assert!(list.is_sorted_by(|a, b| a.address < b.address), "{list:?}");
            for listed in list.iter() {
                assert!(listed.weight <= MAX_WEIGHT, "{listed:?}");
                let address = listed.address.to_string();
                let (host, port) = address.rsplit_once(':').unwrap();
                assert!(!host.is_empty() && port.parse::<u16>().unwrap() > 0, "{address:?}");
                assert!(!address.contains(|c: char| c.is_control() || c.is_whitespace()), "{address:?}");
                assert!(lictor::config::parse_address(&address).is_some(), "{address:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
