"""Small random checkpoints of each kind of model, with transformers' logits: makes the folders that README.md calls kinds.

Run in an environment of transformers 5 (with torch, accelerate and safetensors); with names, only those are made:

    python kinds.py [NAME ..]

Each folder gets config.json, model.safetensors, tokens.json and golden.safetensors (float32, eager attention). Weights are made up from the
folder's name, so that the same version writes the same files. A last argument `--compare` writes nothing and prints the correlation of what
the installed transformers computes with the golden logits that are there.
"""

import json, os, sys, zlib

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import torch
import transformers
from safetensors.torch import load_file, save_file

SIZES = dict(vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
             torch_dtype="bfloat16", bos_token_id=0, eos_token_id=1)
BITNET = dict(SIZES, architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2", rope_theta=500000.0)
LLAMA = dict(SIZES, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", rope_theta=10000.0)
QWEN2 = dict(SIZES, architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_act="silu", rope_theta=1000000.0,
             use_sliding_window=False, sliding_window=32, max_window_layers=1)
QWEN3 = dict(SIZES, architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_act="silu", rope_theta=1000000.0,
             head_dim=64, attention_bias=False)
PHI3 = dict(SIZES, architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_act="silu", rope_theta=10000.0,
            pad_token_id=0)


def quantized(linear_class, mode="offline", dense=(), **more):
    return dict(quantization_config=dict(quant_method="bitnet", linear_class=linear_class, quantization_mode=mode,
                                         modules_to_not_convert=["lm_head", *dense], **more))


DIVIDES, MULTIPLIES, ONLINE = quantized("bitlinear"), quantized("autobitlinear"), quantized("autobitlinear", "online")
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)


ONE = dict(num_hidden_layers=1)  # Dense layers are large.


def longrope(pairs, spelling="rope_type"):
    return dict({spelling: "longrope"}, short_factor=[1.0 + 0.02 * i for i in range(pairs)],
                long_factor=[1.0 + 0.3 * i for i in range(pairs)])


KINDS = {
    "llama-biases": dict(LLAMA, attention_bias=True, mlp_bias=True, **DIVIDES),
    "llama-dense-biases": dict(LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, **ONE),
    "llama-input-norms": dict(LLAMA, **quantized("bitlinear", use_rms_norm=True, rms_norm_eps=1e-6)),
    "llama-longrope": dict(LLAMA, original_max_position_embeddings=32, rope_scaling=longrope(16), **DIVIDES),
    "llama-yarn": dict(LLAMA, rope_scaling=YARN, **DIVIDES),
    "bitnet-attention-bias": dict(BITNET, attention_bias=True, **MULTIPLIES),
    "bitnet-dense-beside": dict(BITNET, **quantized("autobitlinear", dense=["o_proj", "mlp.down_proj"])),
    "bitnet-dense-queries": dict(BITNET, **quantized("autobitlinear", dense=["q_proj"])),
    "qwen2-online": dict(QWEN2, **ONLINE, **ONE),
    "qwen2-bitlinear": dict(QWEN2, **DIVIDES),
    "qwen2-dense-yarn": dict(QWEN2, rope_scaling=dict(YARN, beta_fast=8.0, truncate=False), **ONE),
    "qwen3-bitlinear": dict(QWEN3, **DIVIDES),
    "qwen3-autobitlinear-tied": dict(QWEN3, tie_word_embeddings=True, attention_bias=True, head_dim=48, **MULTIPLIES),
    "qwen3-dense": dict(QWEN3, head_dim=32, **ONE),
    "phi3-partial": dict(PHI3, num_attention_heads=2, num_key_value_heads=2, partial_rotary_factor=0.75,
                         original_max_position_embeddings=64, **ONE),
    "phi3-partial-longrope": dict(PHI3, num_attention_heads=2, num_key_value_heads=2, partial_rotary_factor=0.5,
                                  original_max_position_embeddings=32, rope_scaling=longrope(16, "type"), **ONE),
}


# Rounding to int8 makes a step of a last bit where a number lies halfway between two integers. These seeds have no number so close to it
# that float32 in another order of additions takes the other one.
SEEDS = {"llama-biases": 1, "llama-input-norms": 1, "bitnet-dense-queries": 2, "qwen3-autobitlinear-tied": 1}


def tensors(config):
    h, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", h // heads)
    q, kv, kind = heads * head_dim, kv_heads * head_dim, config["model_type"]
    quant = config.get("quantization_config")

    def dense(*shape):
        return (torch.randn(*shape) / shape[-1] ** 0.5).to(torch.bfloat16)

    def norm(n):
        return (torch.rand(n) + 0.5).to(torch.bfloat16)

    out = {"model.embed_tokens.weight": torch.randn(v, h).to(torch.bfloat16), "model.norm.weight": norm(h)}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = dense(v, h)
    attention = kind == "qwen2" or config.get("attention_bias", False)
    shapes = {"self_attn.q_proj": (q, h, attention), "self_attn.k_proj": (kv, h, attention), "self_attn.v_proj": (kv, h, attention),
              "self_attn.o_proj": (h, q, config.get("attention_bias", False)),
              **{f"mlp.{name}_proj": (f, h, config.get("mlp_bias", False)) for name in ("gate", "up")},
              "mlp.down_proj": (h, f, config.get("mlp_bias", False))}
    if kind == "phi3":
        shapes = {"self_attn.qkv_proj": (q + 2 * kv, h, False), "self_attn.o_proj": (h, q, False),
                  "mlp.gate_up_proj": (2 * f, h, False), "mlp.down_proj": (h, f, False)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, (rows, columns, bias) in shapes.items():
            ternary = quant and not any(left in at + name for left in quant["modules_to_not_convert"])
            if ternary and quant["quantization_mode"] != "online":
                codes = torch.randint(0, 3, (4, rows // 4, columns))
                out[at + name + ".weight"] = sum(codes[i] << (2 * i) for i in range(4)).to(torch.uint8)
                scale = (1.5 / columns) ** 0.5 * float(torch.rand(1) + 0.5)
                scale = scale if quant["linear_class"] == "autobitlinear" else 1 / scale
                out[at + name + ".weight_scale"] = torch.tensor([scale]).to(torch.bfloat16)
            else:
                out[at + name + ".weight"] = dense(rows, columns)
            if bias:
                size = 2.0 if ternary and quant["linear_class"] == "autobitlinear" and quant["quantization_mode"] == "offline" else 0.3
                out[at + name + ".bias"] = (size * torch.randn(rows)).to(torch.bfloat16)
            if ternary and quant.get("use_rms_norm"):
                out[at + name + ".rms_norm.weight"] = norm(columns)
        for name in ["input_layernorm", "post_attention_layernorm"]:
            out[at + name + ".weight"] = norm(h)
        if kind == "bitnet":
            out[at + "self_attn.attn_sub_norm.weight"], out[at + "mlp.ffn_sub_norm.weight"] = norm(q), norm(f)
        if kind == "qwen3":
            out[at + "self_attn.q_norm.weight"], out[at + "self_attn.k_norm.weight"] = norm(head_dim), norm(head_dim)
    return out


def logits(folder, lists, dtype=torch.float32):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info.get("mismatched_keys"), info
    torch.nn.Module.to(model, dtype)  # 5 leaves an autobitlinear model in the type of its file
    for module in model.modules():
        if type(module).__name__ == "BitLinear":
            module.dtype = dtype
    with torch.no_grad():
        return {f"logits.{n}": model(torch.tensor([tokens])).logits[0].float().contiguous() for n, tokens in enumerate(lists)}


def correlation(found, golden):
    pairs = [torch.stack([found[n].flatten(), golden[n].flatten()]).double() for n in golden]
    return min(float(torch.corrcoef(pair)[0, 1]) for pair in pairs)


def make(name, folder):
    os.makedirs(folder, exist_ok=True)
    json.dump(KINDS[name], open(f"{folder}/config.json", "w"), indent=1)
    torch.manual_seed(zlib.crc32(f"{name} {SEEDS.get(name, 0)}".encode()))
    lists = [torch.randint(0, 64, (n,)).tolist() for n in (48, 21)]
    json.dump(lists, open(f"{folder}/tokens.json", "w"))
    save_file(tensors(KINDS[name]), f"{folder}/model.safetensors", metadata={"format": "pt"})
    golden = logits(folder, lists)
    save_file(golden, f"{folder}/golden.safetensors")
    exact = correlation(logits(folder, lists, torch.float64), golden)
    print(f"{name}: {exact:.9f} to float64")


def main():
    transformers.logging.set_verbosity_error()
    here = os.path.dirname(os.path.abspath(__file__))
    compare, names = "--compare" in sys.argv, [name for name in sys.argv[1:] if name != "--compare"]
    for name in names or KINDS:
        folder = os.path.join(here, name)
        if compare:
            golden, lists = load_file(f"{folder}/golden.safetensors"), json.load(open(f"{folder}/tokens.json"))
            print(f"{name}: {correlation(logits(folder, lists), golden):.6f}")
        else:
            make(name, folder)


main()
