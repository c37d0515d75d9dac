//! What the fuzz targets have been through: every file of their corpus, and whatever they once found, must hold what they check.

use std::fs;
use std::path::Path;

#[path = "fuzz/properties/mod.rs"]
mod properties;

#[test]
fn what_fuzzing_has_come_upon_still_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (target, check) in properties::ALL {
        let files: Vec<_> = fs::read_dir(corpus.join(target)).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 10, "{target} has {} files", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let held = std::panic::catch_unwind(|| check(&bytes));
            assert!(held.is_ok(), "{}", file.display());
        }
    }
}
