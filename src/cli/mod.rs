//! The command line: thin, one file a command. What a command has to say goes to standard output, what went wrong to standard
//! error, and how it went into the exit code.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks on its standard streams")]

mod check;
mod completions;
mod demo;
mod explain;
mod health;
mod logging;
mod manual;
mod serve;
mod supervision;
mod top;
mod window;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{app, config};

/// `EX_CONFIG` of sysexits.h, so that a service manager can tell a bad file from bad luck.
const BAD_CONFIGURATION: u8 = 78;
/// The configuration of whoever names none.
const FILE: &str = "/etc/lictor/lictor.toml";

/// A client-side load-balancing reverse proxy for people who run services with Consul.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM; SIGHUP reads the configuration again
    Serve(File),
    /// Say what is wrong with a configuration, and do nothing else
    Check(check::Arguments),
    /// Say where a request goes, and why
    Explain(Box<explain::Arguments>),
    /// Start a registry, three origins and a proxy in front of them, to play with
    Demo(demo::Arguments),
    /// Ask the running proxy whether it is ready, or whether it runs
    Health(health::Arguments),
    /// Write what a shell needs to complete this command line
    Completions(completions::Arguments),
    /// Write the manual pages
    Manual(manual::Arguments),
    /// Show what a running lictor does, in this terminal
    Top(top::Arguments),
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = FILE)]
    config: PathBuf,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("lictor: {0}")]
    App(#[from] app::Error),
    #[error("lictor: {0}")]
    Io(#[from] std::io::Error),
    #[error("lictor: {0}")]
    Other(String),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // A second provider in the tree would make the choice ambiguous; it is made here, once.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match arguments().command {
        Command::Serve(file) => serve::serve(&file.config),
        Command::Check(arguments) => check::check(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Health(arguments) => health::health(&arguments),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Manual(arguments) => manual::manual(&arguments),
        Command::Top(arguments) => top::top(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            match error {
                // What lictor meets beside it, such as an address or the file of a token for Consul, may be there the next time.
                Error::Config(_) => ExitCode::from(BAD_CONFIGURATION),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// What the process was started with. A variable that is set to nothing is as good as none.
fn arguments() -> Arguments {
    let says_nothing = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let heard = |arg: Arg| if says_nothing(&arg) { arg.env(None) } else { arg };
    let command = Arguments::command().mut_subcommands(|command| command.mut_args(heard));
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Writes to standard output. That whoever reads it has seen enough is no failure.
fn write_out(text: &[u8]) -> Result<(), Error> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
