//! Packing on the host against TT-NN's own, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use bitnetc_numerics::{Format, TILE, Tiled};
use bitnetc_ttnn::MockCard;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Reads in.f32 (row-major f32, whole tiles of 1024 after each other), writes the packed words and what
/// TT-NN reads back from them.
const SCRIPT: &str = "\
import sys, numpy as np
from ttnn._ttnn import bfp_utils
d = sys.argv[1]
x = np.fromfile(d + '/in.f32', dtype=np.float32)
for bits in ('8', '4'):
    words = getattr(bfp_utils, 'pack_bfp' + bits)(x, row_major_input=True)
    np.asarray(words, dtype=np.uint32).tofile(d + '/packed' + bits)
    back = getattr(bfp_utils, 'unpack_bfp' + bits)(words, row_major_output=True)
    np.asarray(back, dtype=np.float32).tofile(d + '/unpacked' + bits)
";

/// Packs `tiles` (32x32 row-major each) with TT-NN and here, and compares.
fn compare(tiles: &[f32]) {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = tiles.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(dir.path().join("in.f32"), bytes).unwrap();
    // TT-NN wants a card to be present even to pack.
    let mut python = MockCard::N150.python(common::environment()).unwrap();
    let run = python.command.args(["-c", SCRIPT]).arg(dir.path()).current_dir(dir.path()).output().unwrap();
    assert!(run.status.success(), "TT-NN failed: {}", String::from_utf8_lossy(&run.stderr));

    for (bits, format) in [("8", Format::Bfp8), ("4", Format::Bfp4)] {
        let want = std::fs::read(dir.path().join(format!("packed{bits}"))).unwrap();
        let ours = Tiled::pack(format, tiles.len() / TILE, TILE, tiles).unwrap();
        assert_eq!(ours.bytes().len(), want.len());
        let wrong = ours.bytes().iter().zip(&want).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{wrong} of {} bytes differ in {format:?}", want.len());

        let read = std::fs::read(dir.path().join(format!("unpacked{bits}"))).unwrap();
        let values = read.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        for (i, (ours, theirs)) in ours.to_f32().into_iter().zip(values).enumerate() {
            assert_eq!(ours, theirs, "element {i} ({}) in {format:?}", tiles[i]);
        }
    }
}

#[test]
fn packing_equals_ttnn_on_ordinary_values() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tiles = Vec::new();
    for _ in 0..200 {
        let scale = 2f32.powi(rng.random_range(-40..40));
        tiles.extend((0..1024).map(|_| rng.random_range(-1f32..1.0) * scale));
    }
    compare(&tiles);
}

#[test]
fn packing_equals_ttnn_on_mixed_exponents_and_ties() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let tiles: Vec<f32> = (0..200 * 1024)
        .map(|_| {
            // Few fraction bits make ties frequent; close exponents make groups share bits.
            let keep = [0x7f_0000u32, 0x7f_c000, 0x7f_fc00, 0x7f_ffff][rng.random_range(0..4)];
            let exponent = rng.random_range(100u32..130) << 23;
            f32::from_bits(rng.random::<u32>() & (keep | 0x8000_0000) | exponent)
        })
        .collect();
    compare(&tiles);
}

#[test]
fn packing_equals_ttnn_on_ternary_weights_and_integers() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut tiles: Vec<f32> = (0..64 * 1024).map(|_| f32::from(rng.random_range(-1i8..=1))).collect();
    tiles.extend((0..64 * 1024).map(|_| f32::from(rng.random::<i8>())));
    tiles.extend((0..1024).map(|_| 0.0));
    compare(&tiles);
}
