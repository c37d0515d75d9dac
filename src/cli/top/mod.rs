//! `lictor top`: what the dashboard shows, in a terminal, by the same feed. `--once` prints it as plain text for scripts, and ends.

mod feed;
mod model;
mod plain;
#[cfg(feature = "top")]
mod screen;
#[cfg(feature = "top")]
mod terminal;

use clap::ValueEnum;

use super::window::{Place, Window};
use super::{Error, File};
use feed::Feed;
use model::Model;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    place: Place,
    /// Print what there is after a second of looking, and end
    #[arg(long)]
    once: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Order::Trouble)]
    sort: Order,
}

/// What clusters are sorted by; the highest first, or the first of the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// Where somebody should look
    Trouble,
    /// By name
    Name,
    /// Requests per second
    Rate,
    /// Share of errors
    Errors,
    /// The slowest hundredth
    P99,
    /// Attempts in flight
    InFlight,
}

pub(super) fn top(arguments: &Arguments) -> Result<(), Error> {
    let (window, trouble) = arguments.place.find(&arguments.file.config)?;
    if let Some(trouble) = trouble {
        eprintln!("{trouble}\nlictor: {} is asked", window.name());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if arguments.once {
            return once(&window, arguments.sort).await;
        }
        #[cfg(feature = "top")]
        return terminal::run(&window, arguments.sort).await;
        #[cfg(not(feature = "top"))]
        Err(Error::Other("this lictor was built without the feature \"top\"; --once works".to_owned()))
    })
}

/// The first figures are known a second after the first look.
async fn once(window: &Window, order: Order) -> Result<(), Error> {
    let mut feed = Feed::open(window).await?;
    let mut model = Model::default();
    loop {
        let message = feed.next().await?;
        model.learn(message);
        if model.has_figures() {
            return super::write_out(plain::text(&model, order).as_bytes());
        }
    }
}

impl Order {
    /// Those that there are, in the order in which a key goes through them.
    #[cfg(feature = "top")]
    pub(super) fn next(self) -> Self {
        let all = Order::value_variants();
        let place = all.iter().position(|order| *order == self).unwrap_or_default();
        all[(place + 1) % all.len()]
    }

    /// In a word.
    #[cfg(feature = "top")]
    pub(super) fn word(self) -> &'static str {
        match self {
            Order::Trouble => "trouble",
            Order::Name => "name",
            Order::Rate => "requests",
            Order::Errors => "errors",
            Order::P99 => "p99",
            Order::InFlight => "in flight",
        }
    }
}
