//! Networks, as in "10.0.0.0/8"; a single address is a network of its own.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Problems;

pub(super) fn networks(key: &str, written: &[String], problems: &mut Problems) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, text) in written.iter().enumerate() {
        match network(text) {
            Ok(network) => networks.push(network),
            Err(advice) => problems.add(format!("{key}[{index}]"), format!("\"{text}\" is not a network; {advice}")),
        }
    }
    networks
}

fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().map_err(|_| "use \"10.0.0.0/8\", \"fd00::/8\" or \"10.0.0.1\"".to_owned())?;
    // Either the address or the length is a slip, and it matters which.
    if network.trunc() == network { Ok(network) } else { Err(format!("did you mean \"{}\"?", network.trunc())) }
}
