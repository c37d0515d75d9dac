//! Where a program of somebody else's is: found on this machine, or fetched once for all the processes that ask.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use super::debian;

/// How often a process that waits for another's download looks.
const TURN_POLL: Duration = Duration::from_millis(20);

/// Runs a program as its child and kills it when standard input ends, which it does however the test process ends. The program is
/// reaped here, so its number can belong to no one else when the signal is sent.
const GUARD: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null &
program=$!
{ read -r _ <&3; kill -KILL "$program"; } 2>/dev/null &
guard=$!
exec 3<&-
wait "$program"
status=$?
kill -KILL "$guard" 2>/dev/null
wait "$guard"
exit "$status"
"#;

/// A program that Debian has a package of.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    name: &'static str,
    /// Names another one.
    variable: &'static str,
    package: &'static str,
    /// A Debian release with the package.
    suite: &'static str,
}

/// The last release that has it is an old one.
pub const CONSUL: Program = Program { name: "consul", variable: "CONSUL_BIN", package: "consul", suite: "bullseye" };
pub const PROMETHEUS: Program =
    Program { name: "prometheus", variable: "PROMETHEUS_BIN", package: "prometheus", suite: "bookworm" };
pub const PROMTOOL: Program =
    Program { name: "promtool", variable: "PROMTOOL_BIN", package: "prometheus", suite: "bookworm" };

pub const AMTOOL: Program =
    Program { name: "amtool", variable: "AMTOOL_BIN", package: "prometheus-alertmanager", suite: "bookworm" };

/// A command that runs the program for no longer than its standard input lasts.
pub fn guarded(program: &Path) -> Command {
    let mut guard = Command::new("sh");
    guard.args(["-c", GUARD, "guard"]).arg(program).stdin(Stdio::piped());
    guard
}

impl Program {
    /// What it says to these arguments, run in this folder; a failed test if it has something against them.
    pub async fn says(self, folder: &Path, arguments: &[&str]) -> String {
        let (folder, arguments) = (folder.to_owned(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        let run = move || {
            let program = self.find().unwrap_or_else(|error| panic!("no {}: {error}", self.name));
            let output =
                Command::new(program).args(&arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} {}: {said}", self.name, arguments.join(" "));
            said
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// The program, or what stood in the way if there is none to be had.
    pub fn find(self) -> Result<PathBuf, String> {
        let Program { name, variable, .. } = self;
        match env::var_os(variable) {
            Some(program) if is_program(Path::new(&program)) => Ok(program.into()),
            Some(program) => Err(format!("{variable}={}: no such program", program.display())),
            None => on_path(name).map_or_else(|| self.unpacked(), Ok),
        }
    }

    /// The copy in the target directory, put there first if it is not.
    fn unpacked(self) -> Result<PathBuf, String> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
        let home = target.join(self.package);
        let program = home.join(self.name);
        let _turn = turn(&home.to_string_lossy()).map_err(|error| format!("take turns: {error}"))?;
        if !is_program(&program) {
            let unpacked = debian::fetch(&home.join("apt"), (self.package, self.suite));
            let unpacked = unpacked.map_err(|error| format!("Debian's package {}: {error}", self.package))?;
            for file in fs::read_dir(unpacked).into_iter().flatten().flatten() {
                fs::rename(file.path(), home.join(file.file_name())).map_err(|error| error.to_string())?;
            }
            fs::remove_dir_all(home.join("apt")).ok();
        }
        if is_program(&program) { Ok(program) } else { Err(format!("{} has no {}", self.package, self.name)) }
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Takes a name that only one process at a time can have, and has until it drops it or ends, however it ends: that of an
/// abstract socket. (`File::lock` would do too, from Rust 1.89 on.)
pub(super) fn claim(name: &str) -> io::Result<UnixListener> {
    // The name's hash, since a socket's name is short and a path may be long.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let name = format!("lictor-test-{:016x}", hasher.finish());
    UnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)
}

/// Waits until the name can be had.
fn turn(name: &str) -> io::Result<UnixListener> {
    loop {
        match claim(name) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(TURN_POLL),
            claimed => return claimed,
        }
    }
}
