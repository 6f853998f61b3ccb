"""What the libraries themselves write for a sound model or adapter is accepted, and what they read is what we think."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner.artifacts import ModelFacts, check_adapter, check_model
from runner.artifacts.config import read_config
from runner.artifacts.shapes import expected_tensors
from runner.artifacts.tree import walk

pytestmark = [
    # peft asks transformers for a name that transformers is about to drop.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    # peft takes its own bias of lora_B, a vector, for a shard of a matrix.
    pytest.mark.filterwarnings(r"ignore:Adapter 'default'. \d LoRA tensor.s. have invalid shape"),
]

CHAT = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["the author did something wrong"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def config_of(kind: str, **more: Any) -> Any:
    import transformers

    classes = {
        "llama": transformers.LlamaConfig,
        "mistral": transformers.MistralConfig,
        "qwen2": transformers.Qwen2Config,
        "qwen3": transformers.Qwen3Config,
        "bert": transformers.BertConfig,
        "roberta": transformers.RobertaConfig,
    }
    grouped = {} if kind in ("bert", "roberta") else {"num_key_value_heads": 2}
    return classes[kind](**SIZES, **grouped, **more)


def model_of(kind: str, **more: Any) -> Any:
    import torch
    import transformers

    torch.manual_seed(7)
    head = "AutoModelForSequenceClassification" if kind in ("bert", "roberta") else "AutoModelForCausalLM"
    return getattr(transformers, head).from_config(config_of(kind, **more))


def save(kind: str, folder: Path, shard: str = "5GB", **more: Any) -> ModelFacts:
    model_of(kind, **more).save_pretrained(folder, max_shard_size=shard)
    chat = tokenizer()
    if kind not in ("bert", "roberta"):
        chat.chat_template = CHAT
    chat.save_pretrained(folder)
    faults, facts = check_model(folder)
    assert faults == (), [str(fault) for fault in faults]
    assert facts is not None
    return facts


def trained(adapted: Any) -> Any:
    """With matrices that are zeros in a new adapter, which has no effect and is refused, set to what training might."""
    import torch

    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                torch.nn.init.normal_(weight, std=0.02)
    return adapted


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"head_dim": 16}),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {}),
    ("qwen3", {"attention_bias": True, "head_dim": 8}),
    ("bert", {"num_labels": 5}),
    ("roberta", {"num_labels": 5, "type_vocab_size": 1}),
]


@pytest.mark.parametrize(("kind", "more"), VARIANTS, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_saved_model_has_no_fault_and_the_tensors_we_expect(kind: str, more: dict[str, Any], tmp_path: Path) -> None:
    facts = save(kind, tmp_path, **more)
    model = model_of(kind, **more)
    linear = {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    }
    assert dict(facts.modules) == linear
    _, config = read_config(walk(tmp_path, "model")[1])
    assert config is not None
    expected = expected_tensors(config)
    real = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    heads = {name for name in real if name.startswith("classifier") or ".pooler." in name}
    assert expected == {name: shape for name, shape in real.items() if name not in heads}


def test_a_model_saved_in_shards_has_no_fault(tmp_path: Path) -> None:
    facts = save("llama", tmp_path, shard="20KB")
    assert len(facts.files) > 5


# Published sizes: the model cards, and the number of elements in the published safetensors files.
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "Llama-3.1-8B": (
        {"model_type": "llama", "vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8},
        8_030_261_248,
    ),
    "Mistral-7B-v0.1 and zephyr-7b-beta": (
        {"model_type": "mistral", "vocab_size": 32000, "intermediate_size": 14336, "num_key_value_heads": 8},
        7_241_732_096,
    ),
    "Mistral-7B-Instruct-v0.3": (
        {"model_type": "mistral", "vocab_size": 32768, "intermediate_size": 14336, "num_key_value_heads": 8},
        7_248_023_552,
    ),
    "Qwen2.5-7B": (
        {
            "model_type": "qwen2",
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        7_615_616_512,
    ),
    "Qwen3-8B": (
        {
            "model_type": "qwen3",
            "vocab_size": 151936,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
        8_190_735_360,
    ),
    # 335,141,888 and 355,359,744 with the pooler (1,049,600), which a head may or may not use.
    "bert-large-uncased": (
        {
            "model_type": "bert",
            "vocab_size": 30522,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "type_vocab_size": 2,
            "max_position_embeddings": 512,
        },
        335_141_888 - 1_049_600,
    ),
    "roberta-large": (
        {
            "model_type": "roberta",
            "vocab_size": 50265,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "type_vocab_size": 1,
            "max_position_embeddings": 514,
        },
        355_359_744 - 1_049_600,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_expected_tensors_of_a_published_model_have_its_published_size(name: str, tmp_path: Path) -> None:
    stated, parameters = PUBLISHED[name]
    defaults = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
    (tmp_path / "config.json").write_text(json.dumps({**defaults, **stated}))
    faults, config = read_config(walk(tmp_path, "model")[1])
    assert faults == []
    assert config is not None
    total = 0
    for shape in expected_tensors(config).values():
        elements = 1
        for length in shape:
            elements *= length
        total += elements
    assert total == parameters


ADAPTERS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"target_modules": "all-linear"}),
    ("llama", {"use_dora": True, "target_modules": ["q_proj", "down_proj"]}),
    ("llama", {"use_rslora": True, "init_lora_weights": "gaussian"}),
    ("qwen2", {"lora_bias": True, "target_modules": ["q_proj"]}),
    ("llama", {"target_modules": ["q_proj"], "layers_to_transform": [1]}),
    ("llama", {"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"}),
    ("llama", {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"layers.1.self_attn.q_proj": 2}}),
    ("llama", {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"layers.0.self_attn.v_proj": 3, "v_proj": 2}}),
    ("llama", {"target_modules": ["q_proj", "v_proj"], "alpha_pattern": {"q_proj": 3}}),
    ("llama", {"target_modules": "all-linear", "exclude_modules": ["gate_proj"]}),
    ("mistral", {}),
    ("qwen2", {"target_modules": ["k_proj", "up_proj"]}),
    ("qwen3", {}),
    ("bert", {"task_type": "SEQ_CLS"}),
    ("roberta", {"task_type": "SEQ_CLS", "target_modules": "all-linear"}),
]


@pytest.mark.parametrize(("kind", "more"), ADAPTERS, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_saved_adapter_has_no_fault(kind: str, more: dict[str, Any], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    facts = save(kind, tmp_path / "base")
    settings = {"task_type": "CAUSAL_LM", "r": 4, **more}
    adapted = trained(get_peft_model(model_of(kind), LoraConfig(**settings)))
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer().save_pretrained(tmp_path / "adapter")  # trainers leave one there
    for base in (facts, None):
        faults, found = check_adapter(tmp_path / "adapter", base)
        assert faults == (), [str(fault) for fault in faults]
        assert found is not None
        assert found.parameters == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert found.head is (kind in ("bert", "roberta"))


def test_an_adapter_for_another_size_of_base_is_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    facts = save("llama", tmp_path / "base", head_dim=16)
    get_peft_model(model_of("llama"), LoraConfig(r=4, task_type="CAUSAL_LM")).save_pretrained(tmp_path / "adapter")
    faults, _ = check_adapter(tmp_path / "adapter", facts)
    assert {fault.code for fault in faults} == {"ADAPTER_TENSORS"}


def test_ranks_that_saving_reorders_are_refused_as_peft_itself_refuses_them(tmp_path: Path) -> None:
    """peft takes the first pattern that fits and sorts them when saving: what was trained is not what is described."""
    from peft import LoraConfig, PeftModel, get_peft_model

    facts = save("llama", tmp_path / "base")
    ranks = {"v_proj": 2, "layers.0.self_attn.v_proj": 3}
    settings = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["v_proj"], rank_pattern=ranks)
    get_peft_model(model_of("llama"), settings).save_pretrained(tmp_path / "adapter")
    assert [fault.code for fault in check_adapter(tmp_path / "adapter", facts)[0]] == ["ADAPTER_TENSORS"]
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(model_of("llama"), tmp_path / "adapter")


def test_an_adapter_may_bring_the_embeddings_that_it_is_on(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    facts = save("llama", tmp_path / "base")
    settings = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["embed_tokens", "lm_head"])
    adapted = trained(get_peft_model(model_of("llama"), settings))
    adapted.save_pretrained(tmp_path / "low-rank", save_embedding_layers=False)
    adapted.save_pretrained(tmp_path / "whole", save_embedding_layers=True)
    assert check_adapter(tmp_path / "low-rank", facts)[0] == ()
    assert check_adapter(tmp_path / "whole", facts)[0] == ()  # the loader compares them with the base's own
    elsewhere = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj"])
    other = trained(get_peft_model(model_of("llama"), elsewhere))
    other.save_pretrained(tmp_path / "more", save_embedding_layers=True)
    assert [fault.code for fault in check_adapter(tmp_path / "more", facts)[0]] == ["ADAPTER_TENSORS"]


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer.model", "generation_config.json"])
def test_a_file_we_call_ignored_changes_nothing_that_the_library_loads(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save("qwen2", tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer"}))
    text = "the author did something wrong"
    before = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)(text)["input_ids"]
    (tmp_path / name).write_text('{"a": 0}' if name.endswith(".json") else "#version: 0.2\na b\n")
    after = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)(text)["input_ids"]
    assert check_model(tmp_path)[0] == ()
    assert after == before
    assert len(before) > 0


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("llama", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]}}),
        ("llama", {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}}),
        ("llama", {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}}),
        ("qwen2", {"normalizer": {"type": "NFC"}}),
        ("bert", {"normalizer": {"type": "BertNormalizer", "lowercase": True}}),
        (
            "llama",
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {
                            "type": "Split",
                            "pattern": {
                                "Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                                r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                            },
                            "behavior": "Isolated",
                            "invert": False,
                        },
                        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                    ],
                }
            },
        ),
        (
            "llama",
            {
                "post_processor": {
                    "type": "Sequence",
                    "processors": [
                        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                        {
                            "type": "TemplateProcessing",
                            "single": [
                                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                                {"Sequence": {"id": "A", "type_id": 0}},
                            ],
                            "pair": [],
                            "special_tokens": {},
                        },
                    ],
                }
            },
        ),
    ],
)
def test_the_steps_of_the_usual_tokenizers_are_accepted(kind: str, document: dict[str, Any], tmp_path: Path) -> None:
    save(kind, tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **document}))
    assert check_model(tmp_path)[0] == ()
