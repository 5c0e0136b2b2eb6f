//! The integer kernel of Intel's matrix extensions: tiles of 16 rows by 64 k times tiles of 64 k by 16 columns.
//!
//! A [`Line`] shifted and masked is a row of the second operand: four consecutive k of 16 columns. So a panel is unpacked once into tiles,
//! and serves all rows. The intrinsics are not stable yet; the instructions stand in one assembly block, which leaves no state behind.

use std::arch::asm;
use std::cell::RefCell;
use std::sync::LazyLock;

use rayon::prelude::*;

use super::kernels::{LINES, Line, STEP};
use crate::format::TILE;
use crate::simd::{Loop, prefetch, vectorised};

/// Rows of a tile of activations, and columns of one of weights.
pub(super) const ROWS: usize = 16;
/// k of a tile: 64 bytes.
const DEPTH: usize = 64;
/// Bytes of a tile.
const BYTES: usize = ROWS * DEPTH;

/// True where the processor has the instructions and the system lets this process use them.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| processor_has_it() && system_permits_it());
    *AVAILABLE
}

/// Tiles and their int8 products, by CPUID leaf 7 (Intel's Software Developer's Manual, volume 2A).
fn processor_has_it() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    __cpuid(0).eax >= 7 && {
        let features = __cpuid_count(7, 0).edx;
        features & AMX_TILE != 0 && features & AMX_INT8 != 0
    }
}

/// Linux hands out the tile registers on request, to all threads of the process.
fn system_permits_it() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: the call takes two integers and changes nothing but the permission.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Length of packed activations of `m` rows by `k`.
pub(super) fn packed_len(m: usize, k: usize) -> usize {
    m.next_multiple_of(ROWS) * k.next_multiple_of(DEPTH)
}

/// Rearranges x, [m, k], into tiles: those of 16 rows one after the other, zeros beyond the last row and the last k. Rows of tiles are
/// lines of the cache.
pub(super) fn pack<'a>(m: usize, k: usize, x: &[i8], out: &'a mut Vec<i8>) -> &'a [i8] {
    let len = packed_len(m, k);
    out.resize(len + DEPTH - 1, 0);
    let start = out.as_ptr().align_offset(DEPTH);
    let out = &mut out[start..start + len];
    let of_block = ROWS * k.next_multiple_of(DEPTH);
    out.par_chunks_exact_mut(of_block).zip(x.par_chunks(ROWS * k)).for_each(|(tiles, rows)| {
        for (i, tile) in tiles.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
            let mut rows = rows.chunks_exact(k);
            for out in tile.as_chunks_mut::<DEPTH>().0 {
                let row = rows.next().map_or(&[][..], |row| &row[i * DEPTH..k.min((i + 1) * DEPTH)]);
                out[..row.len()].copy_from_slice(row);
                out[row.len()..].fill(0);
            }
        }
    });
    out
}

/// Multiplies all rows of x, packed by [`pack`], by one panel and hands each row's 32 sums to `emit(row, sums)`.
///
/// # Panics
/// If `lines` is not k / [`STEP`] * [`LINES`] long or x not [`packed_len`] of its rows.
pub(super) fn panel(lines: &[Line], x: &[i8], k: usize, row_sums: &[i32], mut emit: impl FnMut(usize, &[i32; TILE])) {
    thread_local!(static CODES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) });
    let steps = k.div_ceil(DEPTH);
    assert_eq!(lines.len() * STEP, k * LINES);
    assert_eq!(x.len(), packed_len(row_sums.len(), k));
    CODES.with_borrow_mut(|codes| {
        codes.resize(steps * LINES * ROWS, Line::default());
        vectorised(Unpack { lines, codes });
        let of_block = steps * BYTES;
        for (i, (x, sums)) in x.chunks(2 * of_block).zip(row_sums.chunks(2 * ROWS)).enumerate() {
            let mut out = Products::default();
            // SAFETY: the caller found the instructions available; x holds `steps` tiles for each 16 rows and
            // `codes` as many pairs of tiles.
            unsafe {
                match x.len() / of_block {
                    2 => two_by_two(x.as_ptr(), codes.as_ptr(), steps, &mut out),
                    _ => one_by_two(x.as_ptr(), codes.as_ptr(), steps, &mut out),
                }
            }
            vectorised(Emit { products: &out, row_sums: sums, first: 2 * ROWS * i, emit: &mut emit });
        }
    });
}

/// Lines of codes, shifted and masked: for each 64 k a tile of the panel's first 16 columns and one of its last.
struct Unpack<'a> {
    lines: &'a [Line],
    codes: &'a mut [Line],
}

impl Loop for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let steps = self.lines.chunks(DEPTH / STEP * LINES).zip(self.codes.as_chunks_mut::<{ LINES * ROWS }>().0);
        for (lines, tiles) in steps {
            for (s, pair) in lines.as_chunks::<LINES>().0.iter().enumerate() {
                for (half, line) in pair.iter().enumerate() {
                    prefetch(line);
                    for i in 0..4 {
                        let out = &mut tiles[half * ROWS + s * 4 + i].0;
                        for (o, code) in out.iter_mut().zip(&line.0) {
                            *o = code >> (2 * i) & 3;
                        }
                    }
                }
            }
        }
    }
}

/// Four tiles: two of 16 rows by two of 16 columns.
#[repr(align(64))]
struct Products([[[[i32; 16]; ROWS]; LINES]; 2]);

impl Default for Products {
    fn default() -> Self {
        Products([[[[0; 16]; ROWS]; LINES]; 2])
    }
}

/// Products by codes less the row's sum, row after row.
struct Emit<'a, F> {
    products: &'a Products,
    row_sums: &'a [i32],
    first: usize,
    emit: &'a mut F,
}

impl<F: FnMut(usize, &[i32; TILE])> Loop for Emit<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (r, sum) in self.row_sums.iter().enumerate() {
            let [left, right] = &self.products.0[r / ROWS];
            let mut row = [0; TILE];
            let products = left[r % ROWS].iter().chain(&right[r % ROWS]);
            row.iter_mut().zip(products).for_each(|(o, v)| *o = v - sum);
            (self.emit)(self.first + r, &row);
        }
    }
}

/// Palette 1, in which each of the eight tiles has 16 rows of 64 bytes.
#[repr(align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = DEPTH as u8;
        bytes[48 + tile] = ROWS as u8;
        tile += 1;
    }
    Config(bytes)
};

/// 16 rows by the panel.
///
/// # Safety
/// [`available`], `x` has `steps` tiles, `codes` `steps` pairs of tiles; `steps` is not zero.
unsafe fn one_by_two(x: *const i8, codes: *const Line, steps: usize, out: &mut Products) {
    // SAFETY: the caller promises the instructions and the tiles that are loaded; the sums are stored to two of the four tiles
    // of `out`, which is borrowed mutably.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{x} + {row}]",
            "tileloadd tmm6, [{codes} + {row}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{codes} + {row} + 1024]",
            "tdpbsud tmm1, tmm4, tmm7",
            "add {x}, 1024",
            "add {codes}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {row}], tmm0",
            "tilestored [{out} + {row} + 1024], tmm1",
            "tilerelease",
            config = in(reg) CONFIG.0.as_ptr(),
            x = inout(reg) x => _,
            codes = inout(reg) codes => _,
            steps = inout(reg) steps => _,
            out = in(reg) out,
            row = in(reg) DEPTH,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// 32 rows by the panel: each tile that is loaded serves two products.
///
/// # Safety
/// [`available`], `x` has twice `steps` tiles, `codes` `steps` pairs of tiles; `steps` is not zero.
unsafe fn two_by_two(x: *const i8, codes: *const Line, steps: usize, out: &mut Products) {
    // SAFETY: the caller promises the instructions and the tiles that are loaded; the sums are stored to the four tiles of
    // `out`, which is borrowed mutably.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{x} + {row}]",
            "tileloadd tmm6, [{codes} + {row}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{codes} + {row} + 1024]",
            "tdpbsud tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{next} + {row}]",
            "tdpbsud tmm2, tmm5, tmm6",
            "tdpbsud tmm3, tmm5, tmm7",
            "add {x}, 1024",
            "add {next}, 1024",
            "add {codes}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {row}], tmm0",
            "tilestored [{out} + {row} + 1024], tmm1",
            "tilestored [{out} + {row} + 2048], tmm2",
            "tilestored [{out} + {row} + 3072], tmm3",
            "tilerelease",
            config = in(reg) CONFIG.0.as_ptr(),
            x = inout(reg) x => _,
            next = inout(reg) x.add(steps * BYTES) => _,
            codes = inout(reg) codes => _,
            steps = inout(reg) steps => _,
            out = in(reg) out,
            row = in(reg) DEPTH,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
