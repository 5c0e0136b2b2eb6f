//! Logical operations: the building blocks of a BitNet or Llama decoder, without any notion of a device.
//!
//! Every operation's inputs and outputs are listed beside it as `inputs -> outputs`. A [`ValueType`] is a number of rows (the batch in
//! decode, the sequence in prefill) of a [`Shape`]. Positions are implied: row `r` of a decode graph belongs to user `r` at that user's
//! position, and row `r` of a prefill graph is position `r` of one user.

use super::Scalar;

/// The dimensions of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// Rows: users in decode, tokens in prefill, 1 after [`Operation::LastToken`]; for a cache, the users it serves.
    pub rows: usize,
    /// The content of one row.
    pub shape: Shape,
}

/// The content of one row of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A token id.
    Ids,
    /// A vector of this many numbers.
    Features(usize),
    /// `heads` vectors of `head_dim` numbers.
    Heads {
        /// Their part in attention.
        of: Heads,
        /// Heads in this value.
        heads: usize,
        /// Numbers per head.
        head_dim: usize,
    },
    /// One user's key or value cache: `[kv_heads, context, head_dim]`.
    Cache {
        /// Keys or values.
        of: Heads,
        /// Key/value heads.
        kv_heads: usize,
        /// Positions the cache holds.
        context: usize,
        /// Numbers per head.
        head_dim: usize,
    },
}

/// The part that heads play in attention. It belongs to the type because only queries and keys may be rotated, and because the numbers of
/// their heads may be stored in another order: the rows of their projections are permuted for the card, those of values are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heads {
    /// Compared with keys.
    Queries,
    /// Compared with queries.
    Keys,
    /// Summed by attention.
    Values,
    /// Attention's result.
    Attended,
}

/// The storage of a weight tensor. It decides how the tensor is loaded and whether it has an output scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Encoding {
    /// Numbers of a float type, used as they are.
    Dense,
    /// Ternary: four rows per stored uint8 row, or floats of one magnitude where the scale multiplies; a tensor `<name>_scale` of one number holds the scale.
    Packed(ScaleConvention),
    /// Float master weights, quantised when loaded: scale `max(mean|w|, 1e-5)`, values `clamp(round(w/scale), -1, 1)`.
    Absmean,
}

/// The effect of a packed checkpoint's `weight_scale` on the matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ScaleConvention {
    /// The scale multiplies the product (Hugging Face's `autobitlinear`).
    Multiplies,
    /// The scale divides the product (Hugging Face's `bitlinear`).
    Divides,
}

impl Encoding {
    /// Whether the loaded matrix holds only -1, 0 and 1.
    pub fn is_ternary(self) -> bool {
        !matches!(self, Encoding::Dense)
    }
}

/// A weight tensor of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WeightRef {
    /// Tensor name, `{layer}` standing for the layer index.
    pub name: String,
    /// Rows `[start, end)` of the stored tensor this weight is; the whole tensor when absent. Checkpoints of some families store fused
    /// projections.
    pub rows: Option<(usize, usize)>,
    /// Logical shape: `[out, in]` of a projection, `[vocab, width]` of an embedding, `[n]` of a norm.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub encoding: Encoding,
}

/// One column block of a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The matrix, `[out, in]`.
    pub weight: WeightRef,
    /// The factor of this block's columns of the product. It starts as the weight's own scale (1 when dense); folding moves it elsewhere.
    pub scale: Scalar,
}

/// The quantisation that a projection applies to its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ActivationQuant {
    /// The input is used as it is.
    None,
    /// Each row is rounded to 8-bit integers: `q = clamp(round(x * 127/m), -128, 127)` with `m = max(max|x|, 1e-5)`, and the product is
    /// multiplied by `m/127`. Rounding is half to even.
    Int8PerToken,
}

/// A vector that is added to some columns of every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Offset {
    /// The vector, `[columns]`.
    pub weight: WeightRef,
    /// Multiplies it. It starts as 1, or as the scale of the projection before it where a checkpoint's bias is scaled too; folding divides it
    /// by what is taken out of that projection.
    pub scale: Scalar,
}

/// An activation function of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)^2`
    Relu2,
    /// `x^2`
    Square,
    /// `x / (1 + exp(-x))`
    Silu,
}

/// The transformation of one input of [`Operation::Mul`] before the multiplication: `unary(scale * x)`, with the functions applied in
/// order.
#[derive(Debug, Clone, PartialEq)]
pub struct MulInput {
    /// Multiplies the value first.
    pub scale: Scalar,
    /// Applied next, first to last.
    pub unary: Vec<Activation>,
}

impl MulInput {
    /// The value as it is.
    pub const PLAIN: MulInput = MulInput { scale: Scalar::ONE, unary: Vec::new() };
}

/// The rule by which rotary frequencies are stretched for long contexts.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum RopeScaling {
    /// The frequencies are not stretched.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's rule: wavelengths above `original_context / low_freq_factor` are stretched by `factor`, those below
    /// `original_context / high_freq_factor` are not, those between are interpolated.
    Llama3 {
        /// Stretch of the long wavelengths.
        factor: f64,
        /// Bounds the long wavelengths.
        low_freq_factor: f64,
        /// Bounds the short wavelengths.
        high_freq_factor: f64,
        /// Context of the original training.
        original_context: usize,
    },
    /// YaRN: pairs that turn more than `beta_fast` times in `original_context` positions keep their frequency, those that turn less than
    /// `beta_slow` times have it divided by `factor`, those between are interpolated; cosines and sines multiplied by `attention_factor`.
    Yarn {
        /// Stretch of the slow pairs.
        factor: f64,
        /// Turns above which a pair is left alone.
        beta_fast: f64,
        /// Turns below which a pair is stretched wholly.
        beta_slow: f64,
        /// Context of the original training.
        original_context: usize,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// Whether the bounds, as numbers of pairs, are rounded outwards to whole ones.
        truncate: bool,
    },
    /// Phi-3's rule: frequency `i` divided by `short[i]` in a sequence of at most `original_context` tokens, by `long[i]` in a longer one;
    /// cosines and sines multiplied by `attention_factor`.
    LongRope {
        /// Divisors in a short sequence, one per frequency.
        short: Vec<f64>,
        /// Divisors in a long sequence.
        long: Vec<f64>,
        /// Context of the original training.
        original_context: usize,
        /// Multiplies cosines and sines.
        attention_factor: f64,
    },
}

/// Rotary embedding parameters. Pairs are halves apart (`i`, `i + dim/2`), Hugging Face's order.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rope {
    /// Base of the frequencies `theta^(-2i/dim)`.
    pub theta: f64,
    /// Leading numbers of each head that are rotated; even, at most head_dim.
    pub dim: usize,
    /// Long-context rule.
    pub scaling: RopeScaling,
}

/// A projection, ternary or dense: `y = unary(concat_columns(scale_p * (x @ W_p^T)))`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// The column blocks in order. All have the same kind of encoding and the same input width.
    pub parts: Vec<Part>,
    /// The quantisation of the input, which is undone in the output. It is [`ActivationQuant::None`] when the graph has explicit
    /// [`Operation::Quantize`] and [`Operation::Dequantize`] nodes.
    pub activations: ActivationQuant,
    /// Applied to the output last.
    pub unary: Option<Activation>,
}

impl Linear {
    /// Input width K.
    pub fn in_width(&self) -> usize {
        self.parts.first().and_then(|p| p.weight.shape.get(1)).copied().unwrap_or(0)
    }

    /// Output width N, all parts together.
    pub fn out_width(&self) -> usize {
        self.parts.iter().filter_map(|p| p.weight.shape.first()).sum()
    }

    /// Whether every part is ternary.
    pub fn is_ternary(&self) -> bool {
        self.parts.iter().all(|p| p.weight.encoding.is_ternary())
    }
}

/// A logical operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// `-> ids`: the tokens to process.
    Tokens,
    /// `ids -> features`: rows of a table.
    Embedding {
        /// `[vocab, width]`.
        weight: WeightRef,
    },
    /// `initial -> features`: the residual stream at the start of a layer: `initial` in the first layer, [`super::Graph::carried`] of
    /// the layer before in the others.
    Carry,
    /// `features -> features`: `x / sqrt(mean(x^2) + eps) * gamma * scale`; or `heads -> heads` of queries or keys, each head by itself.
    RmsNorm {
        /// `[width]`, or `[head_dim]` of heads.
        gamma: Option<WeightRef>,
        /// A constant factor of gamma, at no cost of its own; 1 where there is no gamma. It starts as 1.
        scale: Scalar,
        /// Added to the mean square.
        eps: Scalar,
    },
    /// `features[K] -> features[K] integers, features[1]`: `clamp(round(x * 127/m), -128, 127)` and the row's
    /// `m = max(max|x|, floor)`. -128 is there only where a card's reciprocal of `m` is rounded up.
    Quantize {
        /// The least divisor: 1e-5 as models are trained. Folding a scale out of `x` divides it by that scale.
        floor: Scalar,
    },
    /// `features[N], features[1] -> features[N]`: `scale * y * (m/127)^power`.
    Dequantize {
        /// A constant factor, at no cost of its own.
        scale: Scalar,
        /// Power of the row's factor; 1 unless dequantisations were merged.
        power: i32,
    },
    /// `x -> scale * x`.
    Scale {
        /// Above zero.
        scale: Scalar,
    },
    /// `features[K] -> features[N]`.
    Linear(Linear),
    /// `features[N] -> features[N]`: adds vectors that lie side by side to every row.
    Bias(Vec<Offset>),
    /// `features -> q heads, k heads, v heads` (one input: q, k and v side by side) or `q, k, v features -> heads` (three inputs).
    SplitHeads {
        /// Query heads.
        heads: usize,
        /// Key/value heads; divides `heads`.
        kv_heads: usize,
        /// Numbers per head.
        head_dim: usize,
    },
    /// `q, k -> q, k`, both heads.
    Rope(Rope),
    /// `k, v -> K, V`: writes the rows at their positions; the caches hold every position up to and including them.
    CacheUpdate {
        /// Positions the cache holds.
        context: usize,
    },
    /// `q, K, V -> heads`: causal softmax attention, query head `h` reading key/value head `h / (heads / kv_heads)`.
    Attention {
        /// Multiplies the products of queries and keys.
        scale: Scalar,
    },
    /// `heads -> features`.
    MergeHeads,
    /// `x -> x`.
    Activation(Activation),
    /// `a, b -> a * b`, each input after its [`MulInput`].
    Mul {
        /// The transformation of the first input.
        a: MulInput,
        /// The transformation of the second input.
        b: MulInput,
    },
    /// `a, b -> a + b_scale * b`: `a` is the residual stream.
    Add {
        /// Multiplies the second input.
        b_scale: Scalar,
    },
    /// `rows -> one row`: the last real token's. Prefill only.
    LastToken,
    /// `features -> ids`: the index of the largest, the first among equals.
    Argmax,
}

/// The role of a node in the model, by which precision policies and overrides address it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Embedding table.
    Embedding,
    /// Any norm.
    Norm,
    /// Query, key and value projections.
    Qkv,
    /// Rotary embedding.
    Rope,
    /// Cache writes.
    Cache,
    /// Attention proper.
    Sdpa,
    /// Attention's output projection.
    O,
    /// MLP gate projection (FF1).
    Gate,
    /// MLP up projection (FF3).
    Up,
    /// MLP down projection (FF2).
    Down,
    /// Product of gate and up.
    Product,
    /// Residual additions.
    Residual,
    /// Additions of a projection's bias.
    Bias,
    /// LM head.
    LmHead,
    /// Activation quantisation and dequantisation.
    Quant,
    /// Movement of data without arithmetic: tokens, head splits, slices, argmax.
    Data,
}
