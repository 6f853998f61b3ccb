"""What other programs call things: hints for keys and values that people bring along from their configurations."""

from collections.abc import Mapping

_NOTHING_DRAWN = (
    "Leave it out: nothing is drawn, the probabilities of the answers are read. For a service that refuses the "
    "parameter, write `parameters: {temperature: null}`."
)
_WEIGHTS = "Write `path: FOLDER`, or `repository: OWNER/NAME` with its `revision`."
_ADAPTER = "Write `adapter:` with a `path` or a `repository` beside `model`."
_BY_WHO_RUNS = "Leave it out: who runs the submission says so, with `benchmark evaluate"
_OWN_PROMPTS = "Leave it out: what is asked, and how, is the benchmark's own."
_TEMPLATE = "Write `format: chat`; the template is the one that lies beside the weights."
_NF4, _INT8 = "Write `quantization: nf4`.", "Write `quantization: int8`."
_NO_KEYS = "Leave it out: a key never stands in a file. Give --api-key-env or --api-key-file to `benchmark evaluate`."
_LENGTH = "Leave it out: the length is the model's own, and the benchmark says how longer texts are cut."

_KEYS: Mapping[str, str] = {
    "trust_remote_code": "Leave it out: code from a model's folder or repository is never run.",
    **dict.fromkeys(("temperature", "top_p", "top_k", "do_sample", "num_beams", "generation_kwargs"), _NOTHING_DRAWN),
    **dict.fromkeys(("max_new_tokens", "max_gen_toks", "repetition_penalty", "stop"), _NOTHING_DRAWN),
    **dict.fromkeys(("4bit", "load_in_4bit", "use_4bit", "bnb_4bit_quant_type", "bnb_4bit_compute_dtype"), _NF4),
    "bnb_4bit_use_double_quant": _NF4,
    **dict.fromkeys(("8bit", "load_in_8bit", "use_8bit"), _INT8),
    **dict.fromkeys(("bf16", "bfloat16"), "Write `dtype: bfloat16`."),
    **dict.fromkeys(("fp16", "float16", "half"), "Write `dtype: float16`."),
    **dict.fromkeys(("fp32", "float32"), "Write `dtype: float32`."),
    **dict.fromkeys(("torch_dtype", "precision"), "Write `dtype`, one of float32, bfloat16 and float16."),
    **dict.fromkeys(("pretrained", "model_name_or_path", "model_name", "model_id", "model_path"), _WEIGHTS),
    **dict.fromkeys(("base_model", "name_or_path", "hf_repo", "repo_id"), _WEIGHTS),
    "model_args": (
        "Write its parts as keys: pretrained is `path`, or `repository` with `revision`; dtype is `dtype`; peft is an "
        "`adapter` beside `model`."
    ),
    **dict.fromkeys(("peft", "peft_model", "lora", "lora_path", "adapter_path"), _ADAPTER),
    **dict.fromkeys(
        ("tokenizer", "tokenizer_name", "tokenizer_path"),
        "Leave it out: the tokenizer that lies beside the weights is used.",
    ),
    **dict.fromkeys(("device", "device_map", "tensor_parallel_size", "gpus"), f"{_BY_WHO_RUNS} --device`."),
    **dict.fromkeys(("attn_implementation", "use_cache", "gpu_memory_utilization"), "Leave it out: it is chosen here."),
    "batch_size": f"{_BY_WHO_RUNS} --batch-tokens`. In a recipe it is `training.batch_size`.",
    "limit": f"{_BY_WHO_RUNS} --limit`.",
    "output_dir": f"{_BY_WHO_RUNS} --output-dir`.",
    **dict.fromkeys(("num_fewshot", "system_prompt", "system_instruction", "prompt", "prompts"), _OWN_PROMPTS),
    **dict.fromkeys(("apply_chat_template", "chat_template", "conv_template"), _TEMPLATE),
    **dict.fromkeys(("api_key", "openai_api_key", "api_key_env", "token"), _NO_KEYS),
    "hf_token": "Leave it out: a key never stands in a file. The environment variable HF_TOKEN is read.",
    **dict.fromkeys(("url", "endpoint", "api_base", "openai_api_base", "server_url"), "Write `base_url`."),
    **dict.fromkeys(("branch", "commit", "sha"), "Write `revision`, the 40 digits of a commit."),
    **dict.fromkeys(("max_length", "max_model_len", "context_length", "max_seq_length"), _LENGTH),
    "lr": "Write `learning_rate`.",
    "lr_scheduler_type": "Write `schedule`.",
    "num_train_epochs": "Write `epochs`.",
    "max_steps": "Write `steps`.",
    "per_device_train_batch_size": "Write `batch_size`.",
    "gradient_accumulation_steps": "Write `gradient_accumulation`.",
    "max_grad_norm": "Write `max_gradient_norm`.",
    **dict.fromkeys(("warmup_ratio", "warmup_steps"), "Write `warmup`, the share of the steps."),
    **dict.fromkeys(("eval_steps", "save_steps"), "Write `every` under `evaluation`."),
    **dict.fromkeys(("r", "lora_r", "lora_rank"), "Write `rank`."),
    "lora_alpha": "Write `alpha`.",
    "lora_dropout": "Write `dropout`.",
    "lora_target_modules": "Write `target_modules`.",
}

_CAUSAL = "Write `causal`: the weights are read here, and no other engine is needed."
_SERVER = "Write `api` with `base_url` for a server that runs already, or `causal` to read safetensors weights here."
_SERVICE = "Write `api`; `model` is the name by which the service calls it."
_FLOAT = "Write `{}`."
_OTHER_WEIGHTS = (
    "Weights that are stored so are not read. Name the whole ones, and write `nf4` or `int8` to reduce them."
)

_VALUES: Mapping[str, Mapping[str, str]] = {
    "backend": {
        **dict.fromkeys(("hf", "huggingface", "transformers", "hf-causal", "llama", "mistral", "local"), _CAUSAL),
        **dict.fromkeys(("vllm", "sglang", "tgi", "ollama", "llama.cpp", "llamacpp", "gguf", "lmstudio"), _SERVER),
        **dict.fromkeys(("openai", "azure", "openai-completions", "openai-chat-completions"), _SERVICE),
        **dict.fromkeys(("local-completions", "local-chat-completions", "openrouter", "anthropic"), _SERVICE),
        **dict.fromkeys(("bert", "roberta", "sequence-classification", "classifier"), "Write `encoder`."),
    },
    "dtype": {
        **dict.fromkeys(("fp32", "f32", "float", "single", "torch.float32"), _FLOAT.format("float32")),
        **dict.fromkeys(("bf16", "torch.bfloat16", "brain"), _FLOAT.format("bfloat16")),
        **dict.fromkeys(("fp16", "f16", "half", "torch.float16"), _FLOAT.format("float16")),
        **dict.fromkeys(("4bit", "int4", "nf4"), "Write `quantization: nf4`, and `bfloat16` here."),
        **dict.fromkeys(("8bit", "int8"), "Write `quantization: int8`, and `bfloat16` here."),
        "auto": "Write the format that the weights have: `torch_dtype` or `dtype` in their config.json.",
    },
    "quantization": {
        **dict.fromkeys(
            ("4bit", "4-bit", "int4", "fp4", "bnb", "bitsandbytes", "bnb-4bit", "qlora", "4"), "Write `nf4`."
        ),
        **dict.fromkeys(("8bit", "8-bit", "llm.int8", "bnb-8bit", "8"), "Write `int8`."),
        **dict.fromkeys(("gptq", "awq", "gguf", "fp8", "exl2", "hqq"), _OTHER_WEIGHTS),
    },
    "format": {
        **dict.fromkeys(("instruct", "chatml", "messages", "conversation", "true"), "Write `chat`."),
        **dict.fromkeys(("base", "completion", "text", "raw", "none", "false"), "Write `plain`."),
    },
    "kind": {
        "qlora": "Write `lora` here, and `quantization: nf4` under `base`.",
        "peft": "Write `lora`.",
        **dict.fromkeys(("sft", "cross_entropy", "ce", "soft", "kl"), "Write `soft_cross_entropy`."),
        **dict.fromkeys(("full_finetuning", "finetune"), "Write `full`."),
    },
}


def hint_for_key(key: object) -> str | None:
    """What to write instead of a key that other programs have, or None for one that is not known from them."""
    return _KEYS.get(key.casefold().replace("-", "_")) if isinstance(key, str) else None


def hint_for_value(key: object, value: object) -> str | None:
    """What to write instead of `value` under `key`, or None for one that is not known from other programs."""
    return _VALUES.get(str(key), {}).get(str(value).casefold())
