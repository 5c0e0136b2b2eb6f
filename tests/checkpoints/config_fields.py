"""What transformers does with fields of a config.json: makes config_fields.tsv.

Run once in an environment of transformers 4.57 and once in one of 5 (each with torch and accelerate), then merge:

    python config_fields.py 4.json; python config_fields.py 5.json; python config_fields.py --merge 4.json 5.json > config_fields.tsv

For each row a small checkpoint is loaded with the base config of its class, and again with one field changed; both read the same tokens,
at once and then one by one with a cache. `same` means equal logits, `other` different ones, `error` that loading or running fails. (4.57
does not know `rope_parameters`, so what stands there is `same` to it.) The last column is what `bitnetc import` is to make of it: the same
model file, another one with this piece in it, or a refusal that names the field.
"""

import copy, json, os, sys, tempfile

os.environ["TORCHDYNAMO_DISABLE"] = "1"

SIZES = dict(vocab_size=48, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False)
QUANT = dict(quant_method="bitnet", modules_to_not_convert=["lm_head"])
AUTO = dict(QUANT, linear_class="autobitlinear", quantization_mode="offline")
BASES = {
    "bitnet": dict(SIZES, architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2",
                   rope_theta=1000.0, quantization_config=AUTO),
    "llama": dict(SIZES, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                  rope_theta=1000.0, quantization_config=QUANT),
    "dense": dict(SIZES, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", rope_theta=1000.0),
    "phi3": dict(SIZES, architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_act="silu", rope_theta=1000.0,
                 original_max_position_embeddings=32, pad_token_id=0),
    "qwen2": dict(SIZES, architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_act="silu", rope_theta=1000.0,
                  quantization_config=QUANT),
    "qwen3": dict(SIZES, architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_act="silu", rope_theta=1000.0,
                  head_dim=16, use_sliding_window=True, sliding_window=8, max_window_layers=2, quantization_config=QUANT),
}
ABSENT = "absent"
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
SHORT, LONG = [1.0] * 7 + [1.5], [1.0] * 4 + [4.0] * 4
LONGROPE = dict(short_factor=SHORT, long_factor=LONG)
SAME, REFUSED = "same", "refused"

ROWS = []


def rows(classes, field, *values):
    """Rows of a field: pairs of a value and what import does: same, refused, or a piece of the model file."""
    ROWS.extend((kind, field, value, becomes) for kind in classes.split() for value, becomes in values)


ALL, QWEN = "bitnet llama dense phi3", "qwen2 qwen3"
for field, default in [("vocab_size", {"bitnet": 128256, "phi3": 32064}), ("hidden_size", {"bitnet": 2560, "phi3": 3072}),
                       ("intermediate_size", {"bitnet": 6912, "phi3": 8192}), ("num_hidden_layers", {"bitnet": 30}),
                       ("max_position_embeddings", {"phi3": 4096})]:
    llama = dict(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                 max_position_embeddings=2048)[field]
    dim = dict(vocab_size="vocab", hidden_size="hidden", intermediate_size="ffn", num_hidden_layers="layers",
               max_position_embeddings="context")[field]
    for kind in ALL.split():
        rows(kind, field, (ABSENT, f'"{dim}": {default.get(kind, llama)},'), (0, REFUSED), (None, REFUSED), ("12", REFUSED))
rows("bitnet", "num_key_value_heads", (ABSENT, REFUSED), (None, '"kv_heads": 4,'), (4, '"kv_heads": 4,'))
rows("llama dense phi3", "num_key_value_heads", (ABSENT, '"kv_heads": 4,'), (None, '"kv_heads": 4,'), (3, REFUSED))
rows("bitnet", "num_attention_heads", (ABSENT, REFUSED))
rows("dense", "num_attention_heads", (ABSENT, '"heads": 32,'))
rows("bitnet phi3", "rms_norm_eps", (ABSENT, SAME), (1e-2, "eps: 0.01"))
rows("llama dense", "rms_norm_eps", (ABSENT, "eps: 1e-6"), (1e-2, "eps: 0.01"))
rows("bitnet", "hidden_act", (ABSENT, SAME), ("silu", "Silu("), ("swish", "Silu("), ("relu", "Relu("), ("gelu", REFUSED))
rows("llama dense phi3", "hidden_act", (ABSENT, SAME), ("swish", SAME), ("relu2", "Relu2("), ("gelu_pytorch_tanh", REFUSED))
rows("llama dense phi3", "head_dim", (None, SAME), (16, SAME), (32, '"head_dim": 32,'))
rows("bitnet", "head_dim", (16, SAME), (32, '"head_dim": 32,'))
rows(ALL, "tie_word_embeddings", (ABSENT, SAME), (True, 'weight: "model.embed_tokens.weight", shape: ["vocab", "hidden"], role: LmHead'))
rows("bitnet llama dense qwen3", "attention_bias", (False, SAME), (None, SAME), (True, 'Bias(from: "q_product", to: "q"'))
rows("phi3 qwen2", "attention_bias", (True, SAME), (False, SAME))
rows("llama dense", "mlp_bias", (False, SAME), (True, 'Bias(from: "gate_product", to: "gate"'))
rows("bitnet phi3 qwen2 qwen3", "mlp_bias", (True, SAME))
for field, absent in [("vocab_size", '"vocab": 151936,'), ("hidden_size", '"hidden": 4096,'), ("intermediate_size", '"ffn": 22016,'),
                      ("num_hidden_layers", '"layers": 32,'), ("max_position_embeddings", '"context": 32768,'),
                      ("rms_norm_eps", "eps: 1e-6"), ("rope_theta", "theta: 10000.0"), ("hidden_act", SAME)]:
    # With as many layers as the class has by default some of the base's would have a window.
    rows("qwen2" if field == "num_hidden_layers" else QWEN, field, (ABSENT, absent))
rows(QWEN, "num_key_value_heads", (ABSENT, REFUSED), (None, '"kv_heads": 4,'))
rows("qwen3", "head_dim", (ABSENT, '"head_dim": 128,'), (None, REFUSED), (32, '"head_dim": 32,'))
rows("qwen2", "head_dim", (None, SAME), (16, SAME), (32, '"head_dim": 32,'))
rows("qwen2", "sliding_window", (None, SAME), (8, SAME))
rows("qwen2", "use_sliding_window", (True, SAME))
rows("qwen3", "sliding_window", (None, SAME), (ABSENT, SAME), (16, SAME))
rows("qwen3", "max_window_layers", (1, REFUSED), (0, REFUSED), (28, SAME), (ABSENT, SAME))
rows(QWEN, "tie_word_embeddings", (ABSENT, SAME), (True, 'weight: "model.embed_tokens.weight", shape: ["vocab", "hidden"], role: LmHead'))
rows(QWEN, "layer_types", (["full_attention", "full_attention"], SAME))
rows(QWEN, "architectures", (ABSENT, SAME))
rows("bitnet", "rope_theta", (ABSENT, "theta: 500000.0"), (5000, "theta: 5000.0"), (None, REFUSED))
rows("llama dense phi3", "rope_theta", (ABSENT, "theta: 10000.0"), (5000, "theta: 5000.0"))
rows(ALL, "partial_rotary_factor", (1.0, SAME))
rows("bitnet llama dense qwen2 qwen3", "partial_rotary_factor", (0.5, REFUSED))
rows("phi3", "partial_rotary_factor", (0.5, "dim: 8"), (2.0, REFUSED))
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
for kind in "bitnet llama qwen2 qwen3".split():
    rows(kind, "rope_scaling", ({**YARN, "factor": 8.0}, "Yarn(factor: 8.0, beta_fast: 32.0, beta_slow: 1.0, original_context: 16"),
         ({**YARN, "beta_fast": 4.0}, "beta_fast: 4.0"), ({**YARN, "beta_slow": 2.0}, "beta_slow: 2.0"),
         ({**YARN, "attention_factor": 2.0}, "attention_factor: 2.0"), ({**YARN, "truncate": False}, "truncate: false"),
         ({**YARN, "mscale": 2.0, "mscale_all_dim": 1.0}, "attention_factor: 1.121"), ({**YARN, "mscale": 2.0}, "attention_factor: 1.138"),
         ({"rope_type": "yarn", "original_max_position_embeddings": 16}, REFUSED))
rows(ALL, "rope_scaling", (None, SAME), ({}, SAME), ({"rope_type": "nonsense"}, REFUSED), ({"factor": 4.0}, REFUSED))
for kind in "bitnet llama dense".split():
    for place in ["rope_scaling", "rope_parameters"]:
        rows(kind, place, ({"rope_type": "default"}, SAME), ({"rope_type": "default", "rope_theta": 2000.0}, REFUSED),
             ({"rope_type": "default", "rope_theta": 1000.0}, SAME),
             ({"type": "linear", "factor": 4.0}, "Linear(factor: 4.0)"),
             ({"rope_type": "linear", "type": "linear", "factor": 4.0}, "Linear(factor: 4.0)"),
             ({"rope_type": "linear", "type": "dynamic", "factor": 4.0}, REFUSED),
             ({"rope_type": "linear"}, REFUSED), ({"rope_type": "dynamic", "factor": 4.0}, SAME),
             (LLAMA3, "original_context: 16"), ({k: v for k, v in LLAMA3.items() if k != "low_freq_factor"}, REFUSED),
             ({k: v for k, v in LLAMA3.items() if k[0] != "o"}, "original_context: 64"),
             (YARN, "Yarn(factor: 4.0"),
             ({"rope_type": "su", **LONGROPE}, REFUSED), ({"rope_type": "default", "partial_rotary_factor": 0.5}, REFUSED),
             ({"full_attention": {"rope_type": "linear", "factor": 4.0}}, REFUSED))
for place in ["rope_scaling", "rope_parameters"]:
    rows("phi3", place, ({"type": "longrope", **LONGROPE}, "LongRope("), ({"type": "su", **LONGROPE}, "LongRope("),
         ({"type": "yarn", **LONGROPE}, "LongRope("), ({"rope_type": "longrope", "type": "su", **LONGROPE}, "LongRope("),
         ({"rope_type": "default", "partial_rotary_factor": 0.5}, "dim: 8"),
         ({"type": "linear", "factor": 4.0}, REFUSED), (LLAMA3, REFUSED), ({"type": "longrope", "short_factor": SHORT}, REFUSED))
rows("phi3", "original_max_position_embeddings", (ABSENT, SAME), (16, SAME))
rows(ALL, "sliding_window", (None, SAME), (64, SAME), (8, REFUSED))
rows(ALL, "layer_types", (["full_attention", "full_attention"], SAME), (["full_attention", "sliding_attention"], REFUSED))
rows(ALL, "attention_chunk_size", (None, SAME), (8, REFUSED))
rows("dense", "text_config", (None, SAME), ({"num_hidden_layers": 1}, REFUSED))
rows("dense", "per_layer_config", ({"0": {"intermediate_size": 32}}, REFUSED))
rows("dense", "pruned_heads", ({}, SAME), ({"0": [1]}, REFUSED))
rows("dense", "compression_config", ({"quant_method": "compressed-tensors"}, REFUSED))
rows(ALL, "torch_dtype", ("float16", SAME), ("bfloat16", SAME))
rows(ALL, "dtype", ("float16", SAME))
rows(ALL, "attention_dropout", (0.5, SAME))
rows(ALL, "initializer_range", (0.5, SAME))
rows(ALL, "use_cache", (False, SAME))
rows(ALL, "pretraining_tp", (2, SAME))
rows("phi3", "resid_pdrop", (0.5, SAME))
rows("phi3", "embd_pdrop", (0.5, SAME))
rows(ALL, "bos_token_id", (5, SAME))
rows(ALL, "eos_token_id", ([5, 6], SAME))
rows(ALL, "transformers_version", ("4.0.0", SAME))
rows(ALL, "logit_scale", (0.5, SAME))
rows(ALL, "final_logit_softcapping", (5.0, SAME))
rows("bitnet llama", "architectures", (ABSENT, SAME), ([], SAME))
rows("dense", "architectures", (["LlamaForSequenceClassification"], REFUSED), (["Qwen3ForCausalLM"], REFUSED))
rows("dense", "model_type", ("bitnet", REFUSED), ("mistral", REFUSED))
DENSE = ' Linear(from: "attn_norm", to: "q"'
rows("bitnet", "quantization_config", (ABSENT, DENSE), (None, DENSE))
Q = "quantization_config."
rows("bitnet llama", Q + "quant_method", (ABSENT, REFUSED), ("fp8", REFUSED))
rows("bitnet", Q + "linear_class", (ABSENT, "Packed(Divides)"), ("bitlinear", "Packed(Divides)"), ("linear", REFUSED))
rows("llama", Q + "linear_class", ("bitlinear", SAME), ("autobitlinear", "Packed(Multiplies)"))
rows("bitnet", Q + "quantization_mode", (ABSENT, SAME), ("online", "Absmean"), ("both", REFUSED))
rows("llama", Q + "quantization_mode", ("online", SAME))
rows("bitnet llama qwen2 qwen3", Q + "use_rms_norm", (False, SAME), (True, 'RmsNorm(from: "attn_norm", to: "q_normed"'))
rows("bitnet llama", Q + "rms_norm_eps", (0.5, SAME))
rows("bitnet llama", Q + "modules_to_not_convert", (ABSENT, SAME), (None, SAME), ([], REFUSED), (["lm_head", "embed_tokens"], SAME),
     (["lm_head", "model.layers.1"], REFUSED), (["lm"], REFUSED), (["o_proj"], REFUSED), (["lm_head", "mlp"], REFUSED),
     (["lm_head", "self_attn.q_proj"], ' Linear(from: "attn_norm", to: "q"'),
     (["lm_head", "mlp.down_proj", "up_proj"], ' Linear(from: "ffn_norm", to: "up"'))
rows("bitnet", Q + "modules_to_not_convert", (["lm_head", "self_attn.o_proj"], ' Linear(from: "attn_sub_norm", to: "o"'))
rows("llama", Q + "modules_to_not_convert", (["lm_head", "self_attn.o_proj"], ' Linear(from: "merged", to: "o"'))
rows("bitnet llama dense phi3 qwen2 qwen3", "is_causal", (True, SAME), (False, REFUSED), (None, REFUSED))
rows("bitnet dense", "is_decoder", (False, SAME))
rows("bitnet dense", "use_bidirectional_attention", (True, SAME))
rows("llama", "kv_sharing_modes", (["own", "reuse"], REFUSED))
rows("bitnet dense", "hidden_act", (None, REFUSED))
rows("dense qwen2", "layer_types", (["full_attention"], REFUSED))
rows("bitnet llama", Q + "linear_class", (None, REFUSED))
rows("bitnet", Q + "quantization_mode", (None, REFUSED))
rows("bitnet llama", Q + "load_in_8bit", (True, REFUSED), (False, SAME))
rows("bitnet", Q + "load_in_4bit", (True, REFUSED))
rows("llama", Q + "rms_norm_eps", (None, SAME))
rows("bitnet llama", Q + "bits", (4, SAME))
rows("dense", "auto_map", ({"AutoModelForCausalLM": "modeling_other.LlamaForCausalLM"}, SAME))
rows("dense", "quantization_config", ([], REFUSED))
rows("dense", "num_experts_per_tok", (2, SAME))
rows("dense", "embedding_multiplier", (12.0, SAME))


def changed(kind, field, value):
    config = copy.deepcopy(BASES[kind])
    *path, last = field.split(".")
    inner = config
    for name in path:
        inner = inner[name]
    if value == ABSENT:
        inner.pop(last, None)
    else:
        inner[last] = value
    return config


def tensors(kind, config):
    import torch

    torch.manual_seed(7)
    h, f, v, kv = 64, 96, 48, 32
    out = {"model.embed_tokens.weight": torch.randn(v, h), "lm_head.weight": torch.randn(v, h) / 8, "model.norm.weight": torch.ones(h)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes = {"self_attn.q_proj": (h, h), "self_attn.k_proj": (kv, h), "self_attn.v_proj": (kv, h), "self_attn.o_proj": (h, h),
                  "mlp.gate_proj": (f, h), "mlp.up_proj": (f, h), "mlp.down_proj": (h, f)}
        if kind == "phi3":
            shapes = {"self_attn.qkv_proj": (h + 2 * kv, h), "self_attn.o_proj": (h, h), "mlp.gate_up_proj": (2 * f, h), "mlp.down_proj": (h, f)}
        for name, (rows_, columns) in shapes.items():
            quant = config.get("quantization_config") or {}
            left = quant.get("modules_to_not_convert") or ["lm_head"]
            ternary = kind not in ("dense", "phi3") and not any(key and key in at + name for key in left)
            if not ternary:
                out[at + name + ".weight"] = torch.randn(rows_, columns) / columns**0.5
            else:
                codes = torch.randint(0, 3, (4, rows_ // 4, columns))
                out[at + name + ".weight"] = sum(codes[i] << (2 * i) for i in range(4)).to(torch.uint8)
                out[at + name + ".weight_scale"] = torch.tensor([0.15 if kind == "bitnet" else 6.0])
                if quant.get("use_rms_norm"):
                    out[at + name + ".rms_norm.weight"] = torch.rand(columns) + 0.5
            attention = name.startswith("self_attn") and (config.get("attention_bias") if kind != "qwen2" else not name.endswith("o_proj"))
            if kind != "phi3" and (attention or name.startswith("mlp") and config.get("mlp_bias") and kind in ("llama", "dense")):
                # Of its own seed, so that the weights after it are those of a model without.
                out[at + name + ".bias"] = torch.randn(rows_, generator=torch.Generator().manual_seed(rows_))
        if kind == "qwen3":
            for norm in ["q_norm", "k_norm"]:
                out[at + f"self_attn.{norm}.weight"] = torch.linspace(0.5, 1.5, 16)
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            out[at + norm + ".weight"] = torch.rand(h) + 0.5
        if kind == "bitnet":
            out[at + "self_attn.attn_sub_norm.weight"] = torch.rand(h) + 0.5
            out[at + "mlp.ffn_sub_norm.weight"] = torch.rand(f) + 0.5
    return out


def logits(kind, config):
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/config.json", "w") as file:
            json.dump(config, file)
        weights = tensors(kind, config)
        if config.get("tie_word_embeddings"):
            del weights["lm_head.weight"]
        save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    if set(info["missing_keys"]) - {"lm_head.weight"} or info.get("mismatched_keys"):
        raise ValueError(f"missing {info['missing_keys']}")
    ids = (torch.arange(40) * 7 % 48)[None]
    torch.nn.Module.float(model)  # 5 leaves an autobitlinear model with more than its class needs in the type of its file
    with torch.no_grad():
        whole = model(ids).logits[0]
        step, cache = [], None
        for at in range(40):
            cache_ = dict(past_key_values=cache) if cache is not None else {}
            answer = model(ids[:, at : at + 1], use_cache=True, **cache_)
            cache = answer.past_key_values
            step.append(answer.logits[0])
    return torch.cat([whole, *step])


def measure():
    import logging, torch, transformers

    logging.disable(logging.CRITICAL)
    transformers.logging.set_verbosity_error()
    base = {kind: logits(kind, config) for kind, config in BASES.items()}
    results = {"version": transformers.__version__, "rows": []}
    for kind, field, value, _ in ROWS:
        try:
            found = logits(kind, changed(kind, field, value))
            alike = found.shape == base[kind].shape and bool(torch.allclose(found, base[kind], atol=1e-4, rtol=1e-4))
            results["rows"].append("same" if alike else "other")
        except BaseException as error:
            print(kind, field, value, type(error).__name__, str(error)[:150], file=sys.stderr)
            results["rows"].append("error")
    return results


if sys.argv[1] == "--merge":
    older, newer = (json.load(open(file)) for file in sys.argv[2:4])
    for kind, config in BASES.items():
        print("base", kind, json.dumps(config), sep="\t")
    print("class", "field", "value", older["version"], newer["version"], "import", sep="\t")
    for (kind, field, value, becomes), *found in zip(ROWS, older["rows"], newer["rows"]):
        print(kind, field, value if value == ABSENT else json.dumps(value), *found, becomes, sep="\t")
else:
    json.dump(measure(), open(sys.argv[1], "w"))
