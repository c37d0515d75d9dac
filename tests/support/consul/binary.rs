//! Where the agent's binary is: found on this machine, or fetched once for all the processes that ask.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs, io, thread};

use super::debian;

/// How often a process that waits for another's download looks.
const TURN_POLL: Duration = Duration::from_millis(20);

/// The binary, found or fetched once a process; what stood in the way if there is none to be had.
pub(super) fn find() -> Result<PathBuf, String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| match env::var_os("CONSUL_BIN") {
        Some(binary) if is_program(Path::new(&binary)) => Ok(binary.into()),
        Some(binary) => Err(format!("CONSUL_BIN={}: no such program", binary.display())),
        None => on_path("consul").map_or_else(unpacked, Ok),
    });
    found.clone()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The copy in the target directory, put there first if it is not.
fn unpacked() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let home = target.join("consul");
    let binary = home.join("consul");
    let _turn = turn(&home.to_string_lossy()).map_err(|error| format!("take turns: {error}"))?;
    if !is_program(&binary) {
        let unpacked = debian::fetch(&home.join("apt"));
        let unpacked = unpacked.map_err(|error| format!("Debian's package: {error}"))?;
        fs::rename(unpacked, &binary).map_err(|error| error.to_string())?;
        fs::remove_dir_all(home.join("apt")).ok();
    }
    Ok(binary)
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
