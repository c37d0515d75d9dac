//! `lictor completions SHELL`: what a shell needs to complete the command line, from the same description that parses it.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Error;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

pub(super) fn completions(arguments: &Arguments) -> Result<(), Error> {
    let mut command = super::Arguments::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut text);
    super::write_out(&text)
}
