//! Configuration: whatever is written, it is taken or there is something to say about it.

use lictor::config::{Environment, parse};

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text, &Environment::default()) {
        Ok(config) => {
            assert!(!config.listeners.is_empty() && config.workers > 0);
            for cluster in &config.clusters {
                assert!(config.clusters.iter().filter(|other| other.name == cluster.name).count() == 1);
            }
        }
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}
