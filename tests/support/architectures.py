"""Small models of every causal architecture that is supported, made by the library's own classes from fixed seeds."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

_SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    # Far wider than is usual, so that the probabilities of a random model differ from prompt to prompt.
    "initializer_range": 0.25,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_GROUPED = {"num_key_value_heads": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_ROUTED = {"n_routed_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
_LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16}
# Shorter than every prompt of the tests.
_WINDOW = {"sliding_window": 24}

# By a name of their own, since some architectures come in several forms: the model type, and what sets it apart.
FORMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "apertus": ("apertus", {**_GROUPED}),
    "arcee": ("arcee", {**_GROUPED}),
    "bloom": ("bloom", {}),
    "cohere": ("cohere", {**_GROUPED, "logit_scale": 0.5, "use_qk_norm": True}),
    "cohere2": ("cohere2", {**_GROUPED, **_WINDOW, "logit_scale": 0.5}),
    "deepseek_v2": ("deepseek_v2", {**_ROUTED, **_LATENT, "first_k_dense_replace": 1}),
    "deepseek_v3": ("deepseek_v3", {**_ROUTED, **_LATENT, "first_k_dense_replace": 1, "num_key_value_heads": 4}),
    "ernie4_5": ("ernie4_5", {**_GROUPED, "head_dim": 16}),
    "exaone4": ("exaone4", {**_GROUPED, **_WINDOW}),
    "falcon": ("falcon", {"bias": True, "multi_query": True}),
    "falcon with ALiBi": ("falcon", {"alibi": True, "multi_query": False, "parallel_attn": False}),
    "falcon, new blocks": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "gemma": ("gemma", {**_GROUPED, "head_dim": 16}),
    "gemma2": (
        "gemma2",
        {
            **_GROUPED,
            **_WINDOW,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            **_GROUPED,
            **_WINDOW,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "glm": ("glm", {**_GROUPED, "head_dim": 16}),
    "glm4": ("glm4", {**_GROUPED, "head_dim": 16}),
    "glm4_moe": ("glm4_moe", {**_GROUPED, **_ROUTED, "head_dim": 16, "first_k_dense_replace": 1}),
    "gpt2": ("gpt2", {}),
    "gpt_bigcode": ("gpt_bigcode", {"multi_query": True}),
    "gpt_neo": (
        "gpt_neo",
        {"num_layers": 2, "num_hidden_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 24},
    ),
    "gpt_neox": ("gpt_neox", {"rotary_pct": 0.25, "use_parallel_residual": True}),
    "gpt_neox, one after the other": ("gpt_neox", {"rotary_pct": 0.5, "use_parallel_residual": False}),
    "gpt_oss": ("gpt_oss", {**_GROUPED, **_WINDOW, "head_dim": 16, "num_local_experts": 4}),
    "gptj": ("gptj", {"rotary_dim": 8}),
    "granite": (
        "granite",
        {
            **_GROUPED,
            "logits_scaling": 2.0,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
        },
    ),
    "granitemoe": ("granitemoe", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 2.0}),
    "ministral3": ("ministral3", {**_GROUPED, "head_dim": 16}),
    "mistral with a window": ("mistral", {**_GROUPED, **_WINDOW}),
    "mixtral": ("mixtral", {**_GROUPED, "num_local_experts": 4}),
    "mpt": ("mpt", {"max_seq_len": 512}),
    "nemotron": ("nemotron", {**_GROUPED}),
    "olmo": ("olmo", {"clip_qkv": 2.0}),
    "olmo2": ("olmo2", {**_GROUPED}),
    "olmo3": ("olmo3", {**_GROUPED, **_WINDOW}),
    "olmoe": ("olmoe", {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "opt": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 24, "do_layer_norm_before": False}),
    "phi": ("phi", {"partial_rotary_factor": 0.5}),
    "phi3": ("phi3", {**_GROUPED, **_WINDOW}),
    "phi4-mini": ("phi3", {**_GROUPED, "partial_rotary_factor": 0.75, "hidden_size": 64, "tie_word_embeddings": True}),
    "phimoe": ("phimoe", {**_GROUPED, "num_local_experts": 4}),
    "qwen2_moe": ("qwen2_moe", {**_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("qwen3_moe", {**_GROUPED, **_EXPERTS, "head_dim": 16}),
    "seed_oss": ("seed_oss", {**_GROUPED, "head_dim": 16}),
    "smollm3": ("smollm3", {**_GROUPED, "no_rope_layers": [1, 1, 0]}),
    "stablelm": ("stablelm", {**_GROUPED, "partial_rotary_factor": 0.5, "hidden_size": 64, "use_qkv_bias": True}),
    "starcoder2": ("starcoder2", {**_GROUPED, **_WINDOW}),
}


def model(form: str, vocabulary: int, seed: int = 0, **changes: Any) -> Any:
    """A randomly initialised model of one of `FORMS`."""
    torch.manual_seed(seed)
    kind, more = FORMS[form]
    config = AutoConfig.for_model(kind, **{**_SHAPE, "vocab_size": vocabulary, **more, **changes})
    made = AutoModelForCausalLM.from_config(config).eval()
    for name, value in made.named_parameters():
        if value.ndim == 1:  # biases and norms start as zeros and ones, by which a mistake would not show
            torch.nn.init.normal_(value, mean=0.0 if name.endswith("bias") else 1.0, std=0.2)
    return made
