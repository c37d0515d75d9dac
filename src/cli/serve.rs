//! `lictor serve`: the proxy as a process. SIGTERM and SIGINT drain, SIGINT during that ends at once, SIGHUP reloads,
//! SIGUSR1 opens the access log anew. The service manager, where there is one, is told of all of it.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use super::supervision::Supervision;
use super::{Error, logging};
use crate::app::{self, App};
use crate::config::{self, Environment};
use crate::lifecycle::Sockets;

pub(super) fn serve(file: &Path) -> Result<(), Error> {
    let config = config::load(file, &Environment::process())?;
    let (level, set_level) = logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the threads start, so that no signal finds its default action.
        let mut signals = Signals::new()?;
        let supervision = Supervision::of_process();
        let app = App::start_on(config, Sockets::of_process().map_err(app::Error::from)?)?;
        app.log_level().is(&level, set_level);
        for (listener, address) in app.addresses() {
            info!(listener, %address, "listening");
        }
        if let Some(place) = app.window_at() {
            info!(address = %place, "admin listening");
        }
        tokio::select! {
            () = supervision.follow(&app) => {}
            () = signals.reload_until_told_to_end(&app, file, &supervision) => {}
        }
        supervision.stopping(&app);
        let reopen = app.access_log();
        tokio::select! {
            () = app.drain() => Ok(()),
            () = supervision.farewell() => Ok(()),
            // What runs to its end is still written down, for as long as that takes.
            () = at_each(&mut signals.reopen, async || reopen()) => Ok(()),
            _ = signals.interrupt.recv() => Err(Error::Other("interrupted; what still ran was broken off".to_owned())),
        }
    })
}

/// The signals that mean something to us.
pub(super) struct Signals {
    hangup: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
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

    async fn reload_until_told_to_end(&mut self, app: &App, file: &Path, supervision: &Supervision) {
        let Signals { hangup, reopen, terminate, interrupt } = self;
        let again = app.access_log();
        tokio::select! {
            // Beside the others: however long a reload takes, it keeps nobody from ending. One that is asked for meanwhile comes after it.
            () = at_each(hangup, async || supervision.reload(app, reload(app, file)).await) => {}
            () = at_each(reopen, async || again()) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Does something at each signal. Does not return.
async fn at_each(signal: &mut Signal, act: impl AsyncFn()) {
    while signal.recv().await.is_some() {
        act().await;
    }
    std::future::pending().await
}

/// Reads the file again. Whatever is wrong with it, the proxy goes on as it is; the refusal is for whoever asked.
async fn reload(app: &App, file: &Path) -> Result<(), String> {
    let taken = match config::load(file, &Environment::process()) {
        Ok(config) => app.reload(config).await.map_err(|refusal| refusal.to_string()),
        Err(refusal) => {
            app.reload_failed(&refusal);
            Err(refusal.to_string())
        }
    };
    match &taken {
        Ok(()) => info!(file = %file.display(), "reloaded"),
        Err(refusal) => error!(file = %file.display(), error = %refusal, "not reloaded"),
    }
    taken
}
