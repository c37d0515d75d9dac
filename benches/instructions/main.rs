//! How many instructions lictor executes in user mode for one proxied request, beside the figures that were committed: a rise
//! above 3 % fails. Times differ from machine to machine and from minute to minute; this count does not, so that it can be held
//! to in CI.
//!
//! The true `lictor serve` runs under valgrind's callgrind, which counts for each thread. It is started twice for each item, has
//! a few requests the one time and many the other, and the difference belongs to those in between: neither the start nor the
//! first requests are in it. Only one message is under way at a time, and the next goes out when every thread of lictor sleeps
//! (`lictor::Lictor::rest`), so that nothing depends on who was quicker.
//!
//! Not in it: the kernel, which is most of a small request, and waiting for memory. What each figure means is in
//! `benches/README.md`. Linux only.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is its product")]

mod client;
mod figures;
mod lictor;
mod origin;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use clap::Parser;

use figures::{Figures, Verdict};
use lictor::Lictor;
use work::Work;

/// What stops the run. Nobody tells cases apart: the text is all that matters.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// With which lictor is built: see there in `Cargo.toml`.
const PROFILE: &str = "counts";
/// Requests of the shorter run: until all connections stand and every allocation has found its place.
const FEW: u32 = 200;

/// Instructions of one proxied request, beside the committed figures.
#[derive(Debug, Parser)]
#[command(name = "instructions")]
struct Options {
    /// Only these
    #[arg(long, value_delimiter = ',', default_values_t = Work::ALL)]
    work: Vec<Work>,
    /// Requests that are counted
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Write down what was measured, in place of what was committed
    #[arg(long)]
    commit: bool,
    /// The lictor to measure, instead of one that is built for it
    #[arg(long, value_name = "PATH")]
    lictor: Option<PathBuf>,
    /// Keep callgrind's files there, for `callgrind_annotate`: of each item those of the shorter run and of the longer one
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Given by `cargo bench`; without it (`cargo test --benches`) nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("instructions: nothing measured; run it by `cargo bench --profile dev --bench instructions`");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("instructions: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The whole run. Returns whether it is good.
fn run(options: &Options) -> Result<bool, Failure> {
    lictor::find_callgrind()?;
    let program = match &options.lictor {
        Some(program) => program.clone(),
        None => build()?,
    };
    let mut committed = Figures::read()?;
    let compiler = figures::compiler(&program)?;
    println!("committed: {}", committed.compiler);
    println!("measured:  {compiler}");
    let folder = tempfile::tempdir()?;
    let folder = options.keep.as_deref().unwrap_or(folder.path());
    std::fs::create_dir_all(folder)?;
    let mut is_good = true;
    for &work in &options.work {
        let measured = measure(work, &program, folder, options.requests)?;
        let verdict = Verdict::of(committed.of(work), measured);
        println!("{:<42} {measured:>7}   {verdict}", work.describe());
        is_good &= options.commit || verdict.is_good();
        committed.set(work, measured);
    }
    if options.commit {
        committed.compiler = compiler;
        committed.write()?;
        println!("written: {}", figures::FILE);
    } else if !is_good {
        eprintln!(
            "instructions: a request costs over {} % more than was committed. If that is what it has to cost, say why in the commit \
             that writes the new figures: cargo bench --profile dev --bench instructions -- --commit",
            figures::TOLERANCE
        );
    }
    Ok(is_good)
}

/// Instructions for one request of a kind.
fn measure(work: Work, program: &Path, folder: &Path, requests: u32) -> Result<u64, Failure> {
    let few = count(work, program, &folder.join(format!("{work}-few")), FEW)?;
    let many = count(work, program, &folder.join(format!("{work}-many")), FEW + requests)?;
    // The worker is the thread that has more to do when there are more requests. The others have their ticks.
    let more = few.iter().zip(&many).map(|(few, many)| many.saturating_sub(*few)).max().unwrap_or_default();
    Ok(more / u64::from(requests))
}

/// Instructions of each thread of a lictor that has so many requests from its start to its end.
fn count(work: Work, program: &Path, files: &Path, requests: u32) -> Result<Vec<u64>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let origins = origin::bind().await?;
        let mut lictor = Lictor::start(program, work, &origins, files)?;
        let asked = async {
            let address = lictor.ready().await?;
            let rest = Arc::new(lictor.rest());
            origin::serve(origins, &rest);
            client::ask(work, address, &lictor.trust, requests, &rest).await
        };
        if let Err(failure) = asked.await {
            return Err(format!("{work}: {failure}\n{}", lictor.said()).into());
        }
        lictor.end().map_err(|failure| format!("{work}: {failure}\n{}", lictor.said()).into())
    })
}

/// Builds lictor as it is counted: by itself, because Cargo gives dependencies more to do for the sake of tests and benches.
fn build() -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--profile", PROFILE, "--bin", "lictor", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status()?;
    if !built.success() {
        return Err("lictor cannot be built".into());
    }
    // Beside the one that Cargo has built for the bench itself: TARGET/PROFILE/lictor.
    let target = Path::new(env!("CARGO_BIN_EXE_lictor")).ancestors().nth(2).ok_or("no target folder")?;
    Ok(target.join(PROFILE).join("lictor"))
}
