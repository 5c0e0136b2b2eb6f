use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::format::Format;
use crate::rounding::{bf16_host, widen};
use crate::typecast::cast_through;

const HEADS: usize = 20;
const KV: usize = 5;
const DIM: usize = 128;

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<bf16> {
    (0..len).map(|_| bf16_host(rng.random_range(-2f32..2.0))).collect()
}

/// Softmax attention in double precision, q [dim] over the first `limit` rows of k and v.
fn reference(q: &[bf16], k: &[bf16], v: &[bf16], limit: usize, scale: f64) -> Vec<f64> {
    let dim = q.len();
    let wide = |h: &bf16| f64::from(widen(*h));
    let scores: Vec<f64> = (0..limit)
        .map(|p| {
            let key = &k[p * dim..(p + 1) * dim];
            q.iter().zip(key).map(|(a, b)| wide(a) * wide(b)).sum::<f64>() * scale
        })
        .collect();
    let largest = scores.iter().fold(f64::MIN, |m, s| m.max(*s));
    let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
    let mass: f64 = weights.iter().sum();
    (0..dim).map(|d| (0..limit).map(|p| weights[p] * wide(&v[p * dim + d])).sum::<f64>() / mass).collect()
}

/// Attention of a whole prompt, keys and values [KV, seq, dim] one block of it.
fn prompt<O: Element>(q: &[bf16], k: &[bf16], v: &[bf16], (seq, dim): (usize, usize), scale: f32, out: &mut [O]) {
    let cache = |data| Cache::new((1, KV, seq, dim), data).unwrap();
    prefill_attention(q, (cache(k), cache(v)), Pages::Contiguous, Chunk { start: 0, rows: seq }, scale, out).unwrap();
}

#[test]
fn prefill_is_softmax_attention() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let seq = 75;
    let (q, k, v) =
        (random(&mut rng, HEADS * seq * DIM), random(&mut rng, KV * seq * DIM), random(&mut rng, KV * seq * DIM));
    let mut out = vec![0f32; q.len()];
    prompt(&q, &k, &v, (seq, DIM), 0.088_388_35, &mut out);
    for (head, position) in [(0, 0), (3, 31), (4, 32), (19, 74)] {
        let at = (head * seq + position) * DIM;
        let kv = head / 4 * seq * DIM..(head / 4 + 1) * seq * DIM;
        let want = reference(&q[at..at + DIM], &k[kv.clone()], &v[kv], position + 1, 0.088_388_35);
        for (got, want) in out[at..at + DIM].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
    }
}

/// Decode at several positions of several users, with pages in random order, against prefill: the same bits.
#[test]
fn decode_equals_prefill_whatever_the_pages() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (users, seq, block, per_user, scale) = (3, 70, 32, 3, 0.09);
    for (format, dim) in [(Format::Bf16, DIM), (Format::Bfp8, DIM), (Format::Bf16, 40)] {
        let mut pages: Vec<u32> = (0..(users * per_user) as u32).collect();
        pages.shuffle(&mut rng);
        let shape = (users * per_user, KV, block, dim);
        let mut keys = vec![bf16::NAN; users * per_user * KV * block * dim];
        let mut values = keys.clone();
        let (mut prefilled, mut queries) = (Vec::new(), Vec::new());
        for user in 0..users {
            let q = random(&mut rng, HEADS * seq * dim);
            let mut k = random(&mut rng, KV * seq * dim);
            let mut v = random(&mut rng, KV * seq * dim);
            cast_through(format, dim, &mut k).unwrap();
            cast_through(format, dim, &mut v).unwrap();
            for (head, p) in (0..KV).flat_map(|h| (0..seq).map(move |p| (h, p))) {
                let page = pages[user * per_user + p / block] as usize;
                let to = ((page * KV + head) * block + p % block) * dim;
                let from = (head * seq + p) * dim;
                keys[to..to + dim].copy_from_slice(&k[from..from + dim]);
                values[to..to + dim].copy_from_slice(&v[from..from + dim]);
            }
            let mut out = vec![bf16::ZERO; q.len()];
            prompt(&q, &k, &v, (seq, dim), scale, &mut out);
            prefilled.push(out);
            queries.push(q);
        }
        let (keys, values) = (Cache::new(shape, &keys).unwrap(), Cache::new(shape, &values).unwrap());
        for step in [0, 31, 32, 69] {
            let positions: Vec<i32> = (0..users as i32).map(|u| (step - u * 7).max(-1)).collect();
            let (mut q, mut want) = (Vec::new(), Vec::new());
            for (user, &p) in positions.iter().enumerate() {
                for head in 0..HEADS {
                    let at = (head * seq + p.max(0) as usize) * dim;
                    q.extend_from_slice(&queries[user][at..at + dim]);
                    let row = &prefilled[user][at..at + dim];
                    want.extend(row.iter().map(|v| if p < 0 { bf16::ZERO } else { *v }));
                }
            }
            let positions: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
            let mut out = vec![bf16::ONE; q.len()];
            let table = Pages::Table(&pages);
            decode_attention(&q, keys, values, table, &positions, scale, &mut out).unwrap();
            assert!(out == want, "{format:?}, step {step}");
        }
    }
}

/// A prompt in chunks through pages in any order, against the prompt at once: the same bits, whatever the chunks.
#[test]
fn chunks_of_a_prompt_are_the_prompt() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (seq, block, scale) = (96, 32, 0.1);
    let (q, k, v) =
        (random(&mut rng, HEADS * seq * DIM), random(&mut rng, KV * seq * DIM), random(&mut rng, KV * seq * DIM));
    let mut whole = vec![bf16::ZERO; q.len()];
    prompt(&q, &k, &v, (seq, DIM), scale, &mut whole);
    let pages = [2u32, 0, 1];
    let paged = |data: &[bf16]| {
        let mut cache = vec![bf16::ZERO; data.len()];
        for (head, p) in (0..KV).flat_map(|h| (0..seq).map(move |p| (h, p))) {
            let to = ((pages[p / block] as usize * KV + head) * block + p % block) * DIM;
            let from = (head * seq + p) * DIM;
            cache[to..to + DIM].copy_from_slice(&data[from..from + DIM]);
        }
        cache
    };
    let (k, v) = (paged(&k), paged(&v));
    let cache = |data| Cache::new((3, KV, block, DIM), data).unwrap();
    for chunk in [Chunk { start: 0, rows: 40 }, Chunk { start: 40, rows: 56 }, Chunk { start: 95, rows: 1 }] {
        let rows = |data: &[bf16]| -> Vec<bf16> {
            let at = |head: usize| (head * seq + chunk.start) * DIM;
            (0..HEADS).flat_map(|head| data[at(head)..at(head) + chunk.rows * DIM].to_vec()).collect()
        };
        let mut out = vec![bf16::ONE; HEADS * chunk.rows * DIM];
        let table = Pages::Table(&pages);
        prefill_attention(&rows(&q), (cache(&k), cache(&v)), table, chunk, scale, &mut out).unwrap();
        assert!(out == rows(&whole), "{chunk:?}");
    }
}

#[test]
fn contiguous_pages_are_one_block_a_user() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (k, v) = (random(&mut rng, 2 * KV * 64 * DIM), random(&mut rng, 2 * KV * 64 * DIM));
    let shape = (2, KV, 64, DIM);
    let (keys, values) = (Cache::new(shape, &k).unwrap(), Cache::new(shape, &v).unwrap());
    let q = random(&mut rng, 2 * HEADS * DIM);
    let (mut a, mut b) = (vec![0f32; q.len()], vec![0f32; q.len()]);
    decode_attention(&q, keys, values, Pages::Contiguous, &[63, 5], 0.1, &mut a).unwrap();
    decode_attention(&q, keys, values, Pages::Table(&[0, 1]), &[63, 5], 0.1, &mut b).unwrap();
    assert_eq!(a, b);
    assert!(a.iter().any(|v| *v != 0.0));
}

#[test]
fn bad_positions_and_pages_are_named() {
    let zeros = vec![bf16::ZERO; 2 * KV * 32 * DIM];
    assert!(Cache::new((2, KV, 32, DIM + 1), &zeros).is_err());
    let cache = Cache::new((2, KV, 32, DIM), &zeros).unwrap();
    let q = vec![bf16::ZERO; HEADS * DIM];
    let mut out = vec![0f32; q.len()];
    let mut run = |pages, position| decode_attention(&q, cache, cache, pages, &[position], 1.0, &mut out);
    assert_eq!(
        run(Pages::Table(&[0, 1]), 64).unwrap_err(),
        NumericsError::Position { user: 0, position: 64, context: 64 }
    );
    assert_eq!(run(Pages::Table(&[0, 2]), 40).unwrap_err(), NumericsError::Page { user: 0, block: 2, blocks: 2 });
    assert_eq!(
        run(Pages::Table(&[0, u32::MAX]), 40).unwrap_err(),
        NumericsError::Page { user: 0, block: -1, blocks: 2 }
    );
    // A page the position does not reach may be unset.
    assert!(run(Pages::Table(&[0, u32::MAX]), 31).is_ok());
    assert!(run(Pages::Contiguous, 32).is_err());
    let mut chunk = |start, rows| {
        let chunk = Chunk { start, rows };
        prefill_attention(&q, (cache, cache), Pages::Table(&[0, 1]), chunk, 1.0, &mut out)
    };
    assert!(chunk(63, 1).is_ok() && chunk(0, 3).is_err());
    assert_eq!(chunk(64, 1).unwrap_err(), NumericsError::Position { user: 0, position: 64, context: 64 });
}
