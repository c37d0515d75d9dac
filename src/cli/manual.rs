//! `lictor manual`: the manual pages, from the same description that parses the command line, with what a program has beside its
//! arguments: files, variables, signals and exit codes.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Error;

/// When what these pages say was last another: a page without a date is not a valid one, and the day of the build would make
/// each build another.
const REVISED: &str = "2026-11-23";
/// What there is beside arguments: a heading, and a line for each.
const BESIDE: &[(&str, &[(&str, &str)])] = &[
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Drain: not ready any more, out of the catalogue, a while for others to notice, nothing new, and then the end of what runs, within drain.timeout.",
            ),
            ("SIGINT, once more", "End at once, with exit status 1."),
            (
                "SIGHUP",
                "Read the configuration again. If it is wrong, or changes what cannot change, everything goes on as it is, and the log says why.",
            ),
            ("SIGUSR1", "Open the access log's file anew, after it was moved away."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Drained, or nothing was found wrong."),
            (
                "1",
                "Anything else: an address that cannot be listened on, a file that cannot be read, something that is missing or not well.",
            ),
            ("2", "The command line is wrong."),
            ("78", "The configuration is wrong; to start again will not help."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and others",
                "What they mean to consul(1); they win over [consul] in the configuration.",
            ),
            (
                "LICTOR_ADMIN, LICTOR_ADMIN_TOKEN, LICTOR_ADMIN_TOKEN_FILE",
                "Where a running lictor is asked, and the token that it wants, or a file with it.",
            ),
            (
                "LICTOR_ADMIN_CA_FILE, LICTOR_ADMIN_CERT_FILE, LICTOR_ADMIN_KEY_FILE",
                "Whom to trust there, and who to be, where it speaks TLS.",
            ),
            ("RUST_LOG", "What is logged, in place of log.level in the configuration."),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS",
                "Set by systemd: what is told to it, and sockets that it hands over to the listeners of their names.",
            ),
        ],
    ),
    ("FILES", &[("/etc/lictor/lictor.toml", "The configuration, unless --config names another one.")]),
    ("SEE ALSO", &[("consul(1), systemd.socket(5)", "")]),
];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write the pages of all commands to this directory, instead of the first to standard output
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub(super) fn manual(arguments: &Arguments) -> Result<(), Error> {
    let mut command = super::Arguments::command().disable_help_subcommand(true);
    command.build();
    let first = page(&command, BESIDE)?;
    let Some(directory) = &arguments.directory else { return super::write_out(&first) };
    std::fs::create_dir_all(directory).map_err(|error| at(directory, &error))?;
    write(directory, &command, &first)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(directory, below, &page(below, &[])?)?;
    }
    Ok(())
}

fn page(command: &clap::Command, beside: &[(&str, &[(&str, &str)])]) -> Result<Vec<u8>, Error> {
    let source = format!("lictor {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone()).date(REVISED).source(source).manual("lictor");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    for (heading, lines) in beside {
        roff.control("SH", [*heading]);
        for (word, meaning) in *lines {
            roff.control("TP", []);
            roff.text([bold(*word)]);
            roff.text([roman(*meaning)]);
        }
    }
    roff.to_writer(&mut text)?;
    Ok(text)
}

fn write(directory: &Path, command: &clap::Command, page: &[u8]) -> Result<(), Error> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = directory.join(format!("{name}.1"));
    std::fs::write(&file, page).map_err(|error| at(&file, &error))
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    Error::Other(format!("{}: {error}", path.display()))
}
