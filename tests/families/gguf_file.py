"""A case as a GGUF file: named by the `gguf` package's tables, changed as llama.cpp's converter.

What GGUF cannot say of a case is changed in its config.json first: see ``CHANGES``.
"""

import re
from dataclasses import replace

import gguf
import numpy as np

from families.cases import CASES

__all__ = ["CHANGES", "gguf_case", "write_gguf"]

#: By the name of a case: its architecture in GGUF, and fields of config.json that GGUF cannot say
#: and that are assumed when it is read.
CHANGES = {
    "llama-tied": ("llama", {}),
    "llama-biases": ("llama", {}),
    "mistral-whole": ("llama", {}),
    "falcon_e-grouped": ("llama", {}),
    "qwen2-tied": ("qwen2", {}),
    "qwen3-tied": ("qwen3", {}),
    "qwen3-biases": ("qwen3", {}),
    "smollm3-interval": ("smollm3", {}),
    "granite-factors": ("granite", {}),
    "granite-tied": ("granite", {"attention_multiplier": 0.3}),
    "olmo2-grouped": ("olmo2", {}),
    "gemma-tied": ("gemma", {"rope_theta": 10000.0}),
    "gemma2-caps": ("gemma2", {"query_pre_attn_scalar": 8}),
    "gemma3_text-default": ("gemma3", {}),
    "gemma3_text-pattern": ("gemma3", {"query_pre_attn_scalar": 8}),
    "gpt2-tied": ("gpt2", {}),
    "gpt_neox-default": ("gptneox", {"hidden_act": "gelu"}),
    "gpt_neox-serial": ("gptneox", {"rotary_emb_base": 10000, "attention_bias": True}),
    "phi-fraction": ("phi2", {"rope_theta": 10000.0}),
    "bitnet-packed": ("bitnet", {}),
    "mixtral-two": ("llama", {}),
    "mixtral-fused": ("llama", {}),
    "qwen3_moe-norm": ("qwen3moe", {}),
    "olmoe-whole": ("olmoe", {}),
    "phi3-fraction": ("phi3", {}),
    "starcoder2-plain": ("starcoder2", {"use_bias": True, "hidden_act": "gelu_pytorch_tanh"}),
}

_HALVES_TURNED = ("LlamaForCausalLM", "MistralForCausalLM", "SmolLM3ForCausalLM")
_HALVES_TURNED += ("GraniteForCausalLM", "MixtralForCausalLM")


def gguf_case(name):
    """The case, changed to what GGUF can say."""
    (case,) = (case for case in CASES if case.name == name)
    return replace(case, config=case.config | CHANGES[name][1])


def write_gguf(case, loaded, path, more=None):
    """Write the case, of which ``loaded`` is the ModelConfig, to ``path``.

    ``loaded`` gives sizes only; ``more`` are further fields behind the architecture's name.
    """
    arch, _ = CHANGES[case.name]
    writer = gguf.GGUFWriter(path, arch)
    _write_fields(writer, case.config | {"arch": arch}, loaded.config)
    for name, value in (more or {}).items():
        writer.add_uint32(f"{arch}.{name}", value)
    kind = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(kind, loaded.config.n_layers)
    for name, array in _converted(case, loaded, arch).items():
        short = names.get_name(name, (".weight", ".bias"))
        if short is None:  # the tables have other models' names for these
            short = re.sub(r"model\.layers\.(\d+)\.\w+\.(\w+_sub_norm)", r"blk.\1.\2", name)
        writer.add_tensor(short, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_fields(writer, fields, c):
    get, arch = fields.get, fields["arch"]
    writer.add_context_length(c.seq_len)
    writer.add_embedding_length(c.dim)
    writer.add_block_count(c.n_layers)
    writer.add_feed_forward_length(c.hidden_dim)
    writer.add_head_count(c.n_heads)
    writer.add_head_count_kv(c.n_kv_heads)
    if arch in ("gpt2", "gptneox", "phi2", "starcoder2"):
        writer.add_layer_norm_eps(c.norm_eps)
    else:
        writer.add_layer_norm_rms_eps(c.norm_eps)
        writer.add_key_length(c.head_dim)
        writer.add_value_length(c.head_dim)
    if arch not in ("gpt2", "gemma", "gptneox", "phi2"):
        writer.add_rope_freq_base(c.rope_theta)
    if arch != "gpt2":
        writer.add_rope_dimension_count(c.options.get("rotary_dim", c.head_dim))
    for name, add in (
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ("use_parallel_residual", writer.add_parallel_residual),
        ("embedding_multiplier", writer.add_embedding_scale),
        ("attention_multiplier", writer.add_attention_scale),
        ("residual_multiplier", writer.add_residual_scale),
        ("logits_scaling", writer.add_logit_scale),
        ("rope_local_base_freq", writer.add_rope_freq_base_swa),
        ("sliding_window_pattern", writer.add_sliding_window_pattern),
        ("moe_intermediate_size", writer.add_expert_feed_forward_length),
        ("num_experts_per_tok", writer.add_expert_used_count),
        ("num_experts", writer.add_expert_count),
        ("num_local_experts", writer.add_expert_count),
    ):
        caps = name == "attn_logit_softcapping" and arch == "gemma3"  # written by nobody
        if get(name) is not None and not caps:
            add(get(name))
    if arch in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(get("sliding_window"))
    if scaling := get("rope_scaling"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if arch == "bitnet":
        writer.add_string("bitnet.hidden_act", "relu2")


def _converted(case, loaded, arch):
    """The tensors with the changes of the converter, under names that the tables know."""
    c, tensors, converted = loaded.config, case.tensors, {}
    turned = case.config["architectures"][0] in _HALVES_TURNED
    for name, array in tensors.items():
        if name.endswith("weight_scale"):
            continue
        if array.dtype == np.uint8:
            codes = np.concatenate([(array >> 2 * i) & 3 for i in range(4)]).astype(np.float32) - 1
            scale = tensors[f"{name}_scale"]
            array = codes * scale if arch == "bitnet" else codes / scale
        if turned and re.search(r"self_attn\.[qk]_proj", name):
            array = _interleaved(array, c.head_dim)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            array = array + np.float32(1)
        if arch == "gpt2" and re.search(r"c_(attn|proj|fc)\.weight", name):
            array = array.T
        if "query_key_value" in name:
            parts = array.reshape(c.n_heads, 3, c.head_dim, *array.shape[1:])
            array = np.concatenate([parts[:, i] for i in range(3)]).reshape(array.shape)
        converted[name] = array
    return _stacked(converted)


def _interleaved(array, head_dim):
    heads = array.reshape(-1, 2, head_dim // 2, *array.shape[1:])
    return heads.swapaxes(1, 2).reshape(array.shape)


def _stacked(tensors):
    """Experts' matrices one above the other."""
    stacks, rest = {}, {}
    for name, array in tensors.items():
        if found := re.search(r"\.experts\.\d+\.", name):
            stacks.setdefault(name.replace(found[0], ".experts."), []).append(array)
        elif name.endswith("experts.gate_up_proj"):
            gate, up = np.split(array, 2, axis=1)
            base = name.removesuffix("gate_up_proj")
            rest |= {f"{base}gate_proj.weight": gate, f"{base}up_proj.weight": up}
        elif name.endswith("experts.down_proj"):
            rest[f"{name}.weight"] = array
        else:
            rest[name] = array
    return rest | {name: np.stack(arrays) for name, arrays in stacks.items()}
