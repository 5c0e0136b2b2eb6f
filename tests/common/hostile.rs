//! Trying a parser on files that are changed at random, byte by byte and piece by piece.
//!
//! `BITNETC_FUZZ_SECONDS` sets how long each parser is tried (five seconds by default), or `BITNETC_FUZZ_EXECUTIONS` how often;
//! `BITNETC_FUZZ_SEED` sets what is tried.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

/// Pieces that parsers treat in ways of their own.
const PIECES: [&[u8]; 24] = [
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"/*",
    b"*/",
    b"//",
    b"\n",
    b"\t",
    b"\0",
    b"\xff",
    b"\xe8\xaf\xad",
    b"-1",
    b"0",
    b"NaN",
    b"1e999",
    b"18446744073709551615",
    b"null",
    b"Some(",
    b"#![enable(implicit_some)]",
];

/// A seed with one to six changes.
fn mutated(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=6) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..40)).min(bytes.len());
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].repeat(*[1, 2, 50].choose(rng).unwrap());
                drop(bytes.splice(at..at, again));
            }
            4 => bytes.truncate(at.max(bytes.len() / 8)),
            5 => {
                // A number becomes another one.
                let digit = |b: &u8| b.is_ascii_digit();
                if let Some(start) = bytes[at..].iter().position(digit).map(|i| at + i) {
                    let end = start + bytes[start..].iter().take_while(|b| digit(b)).count();
                    let piece = *[&b"0"[..], b"1", b"4294967295", b"4294967296", b"9223372036854775808", b"-3"]
                        .choose(rng)
                        .unwrap();
                    drop(bytes.splice(start..end, piece.iter().copied()));
                }
            }
            _ => {
                let piece = *PIECES.choose(rng).unwrap();
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
        }
    }
    bytes
}

/// How much of a parser is tried: executions, or time.
enum Measure {
    Executions(u64),
    Until(Instant),
}

impl Measure {
    fn asked() -> Self {
        if std::env::var_os("BITNETC_FUZZ_EXECUTIONS").is_some() {
            return Self::Executions(number("BITNETC_FUZZ_EXECUTIONS", 0));
        }
        Self::Until(Instant::now() + Duration::from_secs(number("BITNETC_FUZZ_SECONDS", 5)))
    }

    fn is_full(&self, count: u64) -> bool {
        match self {
            Self::Executions(wanted) => count >= *wanted,
            Self::Until(end) => Instant::now() >= *end,
        }
    }
}

/// The bytes that are being parsed, and since when.
type Current = Arc<Mutex<Option<(Vec<u8>, Instant)>>>;

/// Ends the process where one execution takes longer than [`LONGEST`], and keeps the bytes that it hangs on.
fn watched(name: &str) -> Current {
    let current: Current = Arc::default();
    let (watched, name) = (Arc::downgrade(&current), name.to_owned());
    std::thread::spawn(move || {
        while let Some(current) = watched.upgrade() {
            if let Some((bytes, since)) = &*current.lock().unwrap()
                && since.elapsed() > LONGEST
            {
                eprintln!("{name}: one execution takes more than {LONGEST:?}; the bytes are in {}", kept(&name, bytes));
                std::process::abort();
            }
            drop(current);
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    current
}

/// Far more than any file of these sizes needs, in an unoptimised build on a busy machine as well.
const LONGEST: Duration = Duration::from_secs(20);

fn kept(name: &str, bytes: &[u8]) -> String {
    let kept = std::env::temp_dir().join(format!("bitnetc-hostile-{name}"));
    std::fs::write(&kept, bytes).unwrap();
    kept.display().to_string()
}

/// Tries a parser on changed seeds; the bytes of a panic and those of an execution without end are kept.
pub fn tried(name: &str, seeds: &[Vec<u8>], parse: impl Fn(&[u8])) {
    let mut rng = ChaCha8Rng::seed_from_u64(number("BITNETC_FUZZ_SEED", 14));
    let (measure, current, began) = (Measure::asked(), watched(name), Instant::now());
    let (mut count, mut slowest) = (0_u64, Duration::ZERO);
    while !measure.is_full(count) {
        let seed = seeds.choose(&mut rng).unwrap();
        let (bytes, start) = (mutated(&mut rng, seed), Instant::now());
        *current.lock().unwrap() = Some((bytes.clone(), start));
        if catch_unwind(AssertUnwindSafe(|| parse(&bytes))).is_err() {
            panic!("{name}: a panic on execution {count}; the bytes are in {}", kept(name, &bytes));
        }
        if start.elapsed() > slowest {
            slowest = start.elapsed();
            drop(kept(&format!("{name}-slowest"), &bytes));
        }
        count += 1;
    }
    assert!(count > 0, "{name} was not tried");
    println!("{name}: {count} executions in {:.0?}, the slowest took {slowest:.1?}", began.elapsed());
}

/// A folder with a file of it changed each time.
pub fn in_folder(name: &str, file: &str, seeds: &[Vec<u8>], open: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    tried(name, seeds, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        open(folder.path());
    });
}
