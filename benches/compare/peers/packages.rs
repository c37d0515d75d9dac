//! Programs that have to be installed first, each from the registry that it is published in.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// Debian's hook that is asked before a package starts its service; 101 means: do not.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// What building Pingora's program takes beside Rust: it builds its own zlib and OpenSSL.
const PINGORA_TOOLS: [(&str, &str); 4] = [("cc", "gcc"), ("cmake", "cmake"), ("make", "make"), ("perl", "perl")];

/// A program on `PATH`, or where system daemons are kept. Scripts that start one somewhere else are passed over: what they start
/// would be measured together with them.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file() && !is_script(file))
}

/// The first line that fits, of what a program prints when asked in this way, on standard output and then on standard error.
pub(super) fn said(program: &Path, question: &str, fits: impl Fn(&str) -> bool) -> Option<String> {
    let output = Command::new(program).arg(question).stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().map(str::trim).find(|line| fits(line)).map(str::to_owned)
}

/// Installs packages and keeps their services from starting. Needs root.
pub(super) fn install_from_debian(packages: &[&str]) -> Result<(), Failure> {
    let wanted = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective != Some("0") {
        let packages = packages.join(", ");
        let advice = format!("installing needs root: run `{wanted}`, or leave the peer out of --peers");
        return Err(format!("{packages}: not found, and {advice}").into());
    }
    let _quiet = NoServices::ensure()?;
    apt_get(&["update", "-q"])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

/// Installs packages into a virtual environment of the bench's own.
pub(super) fn install_from_python(packages: &[&str]) -> Result<(), Failure> {
    let home = environment();
    let pip = home.join("bin/pip");
    if !pip.is_file() {
        let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        // Debian has what makes one in a package apart.
        make().or_else(|_| install_from_debian(&["python3-venv"]).and_then(|()| make()))?;
    }
    run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))
}

/// Where that environment is.
pub(super) fn environment() -> PathBuf {
    target().join("python")
}

/// Builds Pingora's program, or sees that it is as its source has it.
pub(super) fn build_pingora() -> Result<(), Failure> {
    let missing = PINGORA_TOOLS.into_iter().filter(|(tool, _)| find_on_path(tool).is_none());
    let missing: Vec<&str> = missing.map(|(_, package)| package).collect();
    if !missing.is_empty() {
        install_from_debian(&missing)?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "--manifest-path"]).arg(pingora().join("Cargo.toml"));
    run(command.arg("--target-dir").arg(target().join("pingora")))
}

/// Where its source is.
pub(super) fn pingora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/pingora")
}

/// Where that program is.
pub(super) fn built_pingora() -> PathBuf {
    target().join("pingora/release/compare-pingora")
}

/// The bench's own part of Cargo's target directory.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("compare")
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    fs::File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

fn apt_get(arguments: &[&str]) -> Result<(), Failure> {
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Runs it to its end; what it said is only shown where it fails.
fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<String> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {} failed: {}", arguments.join(" "), said.trim()).into())
}

/// While it lives, packages that are installed do not start their services.
#[derive(Debug)]
struct NoServices {
    /// Whether the hook is ours to take away again.
    ours: bool,
}

impl NoServices {
    fn ensure() -> Result<Self, Failure> {
        use std::os::unix::fs::PermissionsExt;
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        let hook = Self { ours: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(hook)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // Nothing to be done about a failure here.
            let _ = fs::remove_file(POLICY);
        }
    }
}
