//! `lictor serve`: the proxy as a process. SIGTERM and SIGINT drain, SIGINT during that ends at once, SIGHUP reloads.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use super::{Error, logging};
use crate::app::App;
use crate::config::{self, Environment};

pub(super) fn serve(file: &Path) -> Result<(), Error> {
    let config = config::load(file, &Environment::process())?;
    logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the threads start, so that no signal finds its default action.
        let mut signals = Signals::new()?;
        let app = App::start(config)?;
        for (listener, address) in app.addresses() {
            info!(listener, %address, "listening");
        }
        if let Some(address) = app.admin() {
            info!(%address, "admin listening");
        }
        signals.reload_until_told_to_end(&app, file).await;
        tokio::select! {
            () = app.drain() => Ok(()),
            _ = signals.interrupt.recv() => Err(Error::Other("interrupted; what still ran was broken off".to_owned())),
        }
    })
}

/// The signals that mean something to us.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns with the first SIGTERM or SIGINT.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn reload_until_told_to_end(&mut self, app: &App, file: &Path) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => reload(app, file).await,
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

/// Reads the file again. Whatever is wrong with it, the proxy goes on as it is.
async fn reload(app: &App, file: &Path) {
    match config::load(file, &Environment::process()) {
        Ok(config) => match app.reload(config).await {
            Ok(()) => info!(file = %file.display(), "reloaded"),
            Err(refusal) => error!(file = %file.display(), error = %refusal, "not reloaded"),
        },
        Err(refusal) => {
            app.reload_failed(&refusal);
            error!(file = %file.display(), error = %refusal, "not reloaded");
        }
    }
}
