//! Certificates out of Consul's KV store, followed by one blocking query on a prefix. What an entry is worth is for `tls` to say; here
//! is only what stands there. The leader answers: a server that replays its log would show a prefix that is half empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{info, warn};

use crate::config;
use crate::consul::{Agent, Backoff, Bucket, Error, Failure, vary};
use crate::tls::Server;

/// Follows a prefix for a listener.
#[derive(Debug)]
pub struct Certificates {
    agent: Agent,
    wait: Duration,
    prefix: String,
    server: Arc<Server>,
}

impl Certificates {
    /// Will have the server go on with what stands under the prefix.
    pub fn new(settings: &config::Consul, prefix: &str, server: &Arc<Server>) -> Result<Self, Error> {
        let (wait, prefix, server) = (settings.wait, prefix.to_owned(), Arc::clone(server));
        Ok(Certificates { agent: Agent::new(settings)?, wait, prefix, server })
    }

    /// Runs for as long as certificates are wanted.
    pub async fn run(self) {
        let (mut bucket, mut backoff, mut index) = (Bucket::new(Instant::now()), Backoff::default(), 0);
        loop {
            sleep(bucket.take(Instant::now())).await;
            let token = self.agent.token_version();
            match self.agent.values(&self.prefix, index, vary(self.wait)).await {
                Ok((now, values)) => {
                    if backoff.reset() {
                        info!(prefix = self.prefix, "certificates are followed again");
                    }
                    if index == 0 || now != index {
                        self.server.store(&values);
                    }
                    // One that went backwards is of another state, which is asked for from its beginning.
                    index = if now < index { 0 } else { now };
                }
                Err(failure) => {
                    index = 0;
                    let pause = backoff.after(&failure);
                    if backoff.is_first() {
                        let prefix = &self.prefix;
                        warn!(prefix, error = %failure, "certificates cannot be followed; the last ones stay in force");
                    }
                    match failure {
                        Failure::Denied { .. } => self.agent.another_token(token, pause).await,
                        _ => sleep(pause).await,
                    }
                }
            }
        }
    }
}
