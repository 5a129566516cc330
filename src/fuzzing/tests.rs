//! Every seed, and mutations of the seeds, against every check: what can be had of fuzzing within a second or two, with any compiler.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

use super::*;

/// Mutations of each seed.
const MUTATIONS: usize = 60;
/// Repeats a run.
const SEED: &str = "FUZZ_SEED";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    files(&folder("seeds").join(target)).into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs the check, and says what it was given if it panics.
fn run(target: &str, check: fn(&[u8]), input: &[u8]) {
    // The checks keep nothing but a file, which each run writes anew.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
        eprintln!("{target} fails on: {}", input.escape_ascii());
        resume_unwind(panic);
    }
}

#[test]
fn every_seed_holds() {
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 10, "{target} has {} seeds", seeds.len());
        for seed in seeds {
            run(target, *check, &seed);
        }
    }
}

#[test]
fn mutations_of_the_seeds_hold() {
    let seed = env::var(SEED).map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    // Shown only if the test fails.
    println!("{SEED}={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        for seed in &seeds {
            for _ in 0..MUTATIONS {
                let other = &seeds[random.usize(..seeds.len())];
                run(target, *check, &mutated(seed, other, &mut random));
            }
        }
    }
}

#[test]
fn every_check_is_a_target_of_the_fuzzer_and_has_words_for_it() {
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        let source = fs::read_to_string(folder("fuzz_targets").join(format!("{target}.rs"))).unwrap();
        assert!(source.contains(&format!("fuzzing::{target}(")), "{source}");
        assert!(manifest.contains(&format!("name = \"{target}\"")));
        assert!(folder("words").join(format!("{target}.dict")).is_file(), "{target}");
    }
    assert_eq!(files(&folder("fuzz_targets")).len(), TARGETS.len());
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|(target, _)| files(&folder("seeds").join(target)))
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(bytes < 300_000, "the seeds have {bytes} bytes; keep the smallest ones only");
}

/// A seed with one to eight changes, some of them taken from another seed.
fn mutated(seed: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    const STRANGE: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n', b'\r', b':', b'0', b'{'];
    let mut out = seed.to_vec();
    for _ in 0..=random.usize(..8) {
        if out.is_empty() {
            out.push(random.u8(..));
        }
        let at = random.usize(..out.len());
        let end = (at + random.usize(1..=16)).min(out.len());
        match random.u8(..7) {
            0 => out[at] ^= 1 << random.u8(..8),
            1 => out[at] = STRANGE[random.usize(..STRANGE.len())],
            2 => out.insert(at, STRANGE[random.usize(..STRANGE.len())]),
            3 => drop(out.drain(at..end)),
            4 => out.extend_from_within(at..end),
            5 => {
                let copy = out[at..end].to_vec();
                drop(out.splice(at..at, copy));
            }
            _ => {
                let start = random.usize(..=other.len());
                let piece = &other[start..(start + random.usize(1..=32)).min(other.len())];
                drop(out.splice(at..end, piece.iter().copied()));
            }
        }
    }
    out
}
