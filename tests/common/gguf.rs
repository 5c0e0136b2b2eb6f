//! A small writer of GGUF files. `runtime/weights/gguf/tests.rs` holds it to the bytes that the `gguf` package of Python writes.

use half::{bf16, f16};

/// ggml's numbers of types.
pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q4_0: u32 = 2;
pub const Q8_0: u32 = 8;
pub const Q6_K: u32 = 14;
pub const BF16: u32 = 30;
pub const TQ1_0: u32 = 34;
pub const TQ2_0: u32 = 35;
pub const I2_S: u32 = 36;

const ALIGNMENT: usize = 32;

/// A file to be.
#[derive(Default, Clone)]
pub struct Writer {
    entries: Vec<Vec<u8>>,
    /// Name, shape with the outermost dimension first, type, bytes.
    pub tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

impl Writer {
    fn entry(&mut self, key: &str, kind: u32, value: Vec<u8>) -> &mut Self {
        self.entries.push([text(key), kind.to_le_bytes().to_vec(), value].concat());
        self
    }

    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.entry(key, 8, text(value))
    }

    pub fn count(&mut self, key: &str, value: u32) -> &mut Self {
        self.entry(key, 4, value.to_le_bytes().to_vec())
    }

    pub fn short(&mut self, key: &str, value: u16) -> &mut Self {
        self.entry(key, 2, value.to_le_bytes().to_vec())
    }

    pub fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.entry(key, 6, value.to_le_bytes().to_vec())
    }

    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.entry(key, 7, vec![value.into()])
    }

    fn list(&mut self, key: &str, kind: u32, values: Vec<Vec<u8>>) -> &mut Self {
        let head = [kind.to_le_bytes().to_vec(), (values.len() as u64).to_le_bytes().to_vec()].concat();
        self.entry(key, 9, [head, values.concat()].concat())
    }

    pub fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) -> &mut Self {
        self.list(key, 8, values.iter().map(|v| text(v.as_ref())).collect())
    }

    pub fn integers(&mut self, key: &str, values: &[i32]) -> &mut Self {
        self.list(key, 5, values.iter().map(|v| v.to_le_bytes().to_vec()).collect())
    }

    pub fn floats(&mut self, key: &str, values: &[f32]) -> &mut Self {
        self.list(key, 6, values.iter().map(|v| v.to_le_bytes().to_vec()).collect())
    }

    pub fn tensor(&mut self, name: &str, shape: &[usize], kind: u32, bytes: Vec<u8>) -> &mut Self {
        self.tensors.push((name.into(), shape.to_vec(), kind, bytes));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        out.extend(self.entries.concat());
        let mut offset = 0;
        for (name, shape, kind, bytes) in &self.tensors {
            out.extend(text(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&d| out.extend((d as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += bytes.len().next_multiple_of(ALIGNMENT);
        }
        for (.., bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend(bytes);
        }
        out
    }
}

/// Values of -1, 0 and 1 times `scale`, as a type stores them. I2_S takes all of a tensor at once.
pub fn ternary(kind: u32, values: &[i8], scale: f32) -> Vec<u8> {
    let code = |v: i8| (v + 1) as u8;
    match kind {
        I2_S => {
            let blocks = values
                .chunks(128)
                .flat_map(|b| (0..32).map(|p| (0..4).fold(0, |byte, g| byte | code(b[32 * g + p]) << (6 - 2 * g))));
            blocks.chain(scale.to_le_bytes()).chain([0; 28]).collect()
        }
        TQ1_0 => values
            .chunks(256)
            .flat_map(|b| {
                let parts = [(0, 32, 5), (160, 16, 5), (240, 4, 4)];
                let bytes = parts.into_iter().flat_map(|(first, stride, count)| {
                    (0..stride).map(move |p| {
                        let digits = (0..5).map(|n| if n < count { code(b[first + n * stride + p]) } else { 0 });
                        let number = digits.fold(0u32, |all, digit| 3 * all + u32::from(digit));
                        (number * 256).div_ceil(243) as u8
                    })
                });
                bytes.chain(block_scale(b, scale)).collect::<Vec<_>>()
            })
            .collect(),
        TQ2_0 => values
            .chunks(256)
            .flat_map(|b| {
                let halves = b
                    .chunks(128)
                    .flat_map(|h| (0..32).map(|p| (0..4).fold(0, |byte, g| byte | code(h[32 * g + p]) << (2 * g))));
                halves.chain(block_scale(b, scale)).collect::<Vec<_>>()
            })
            .collect(),
        other => floats(other, &values.iter().map(|&v| f32::from(v) * scale).collect::<Vec<_>>()),
    }
}

fn block_scale(block: &[i8], scale: f32) -> [u8; 2] {
    let scale = if block.iter().all(|&v| v == 0) { 0.0 } else { scale };
    f16::from_f32(scale).to_le_bytes()
}

/// Floats as a type stores them.
pub fn floats(kind: u32, values: &[f32]) -> Vec<u8> {
    match kind {
        F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        Q8_0 => values.chunks(32).flat_map(q8_0).collect(),
        Q4_0 => values.chunks(32).flat_map(q4_0).collect(),
        Q6_K => values.chunks(256).flat_map(q6_k).collect(),
        other => panic!("type {other}"),
    }
}

fn q8_0(block: &[f32]) -> Vec<u8> {
    let d = block.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let codes = block.iter().map(|v| (v * inverse).round() as i8 as u8);
    f16::from_f32(d).to_le_bytes().into_iter().chain(codes).collect()
}

fn q4_0(block: &[f32]) -> Vec<u8> {
    let most = block.iter().fold(0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
    let d = most / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let code = |v: f32| (v * inverse + 8.5).clamp(0.0, 15.0) as u8;
    let codes = (0..16).map(|i| code(block[i]) | code(block[i + 16]) << 4);
    f16::from_f32(d).to_le_bytes().into_iter().chain(codes).collect()
}

/// With one scale for a whole block: coarser than ggml's own, of which the `gguf` package has none.
fn q6_k(block: &[f32]) -> Vec<u8> {
    let d = block.iter().fold(0f32, |most, v| most.max(v.abs())) / 31.0;
    let code = |v: f32| if d == 0.0 { 32 } else { ((v / d).round() as i8 + 32) as u8 };
    let mut bytes = vec![0u8; 210];
    for (i, v) in block.iter().enumerate() {
        let (half, within) = (i / 128, i % 128);
        bytes[64 * half + within % 64] |= (code(*v) & 15) << (4 * (within / 64));
        bytes[128 + 32 * half + within % 32] |= (code(*v) >> 4) << (2 * (within / 32));
    }
    bytes[192..208].fill(1);
    bytes[208..].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    bytes
}
