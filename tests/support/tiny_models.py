"""Small models, tokenizers, adapters and prompts of the kinds that are measured, made on the spot from fixed seeds."""

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from runner.core.types import AdapterRef, ModelRef, Prompt, Submission

# Models this small are fastest on one thread, and then do not wait for each other's threads on a busy machine.
torch.set_num_threads(1)

# Chat templates of our own, in the manner of each family.
HEADERS = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
BRACKETS = "{{ bos_token }}{% for message in messages %}[INST] {{ message['content'] }}[/INST]{% endfor %}"
LINES = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

ACTIONS = (
    "telling my neighbour that his dog barks at night",
    "not paying back the ten dollars I borrowed from a friend",
    "eating the last slice of cake without asking",
    "leaving a party early because I was tired",
    "reading my sister's diary while she was away",
    "asking a guest to take off their shoes at the door",
    "forgetting a birthday",
    "keeping a wallet that I found in the street and never looking for its owner, though there was a card in it",
)
QUESTION = "Here are two actions that people have described.\n\nA: $first\nB: $second\n\nWhich is less ethical?"
_CORPUS = [
    *ACTIONS,
    QUESTION,
    "Answer: A\nAnswer: B\nAnswer: the author, the other person, everybody, nobody or more information.",
    "user assistant yes Yes no No \n\n",
]


def prompt(
    first: str = ACTIONS[0],
    second: str = ACTIONS[1],
    *,
    item: str = "1",
    options: Sequence[Sequence[str]] = ((" A",), (" B",)),
    template: str = QUESTION,
    cue_plain: str = "\nAnswer:",
    cue_chat: str = "Answer:",
    shorten: str | None = None,
    max_tokens: int = 512,
    name: str = "letters",
) -> Prompt:
    """A prompt about two actions."""
    return Prompt(
        task="dilemmas",
        split="dev",
        item_id=item,
        prompt_id=name,
        order=0,
        template=template,
        values={"first": first, "second": second},
        cue_plain=cue_plain,
        cue_chat=cue_chat,
        options=tuple(tuple(forms) for forms in options),
        max_tokens=max_tokens,
        shorten=shorten,
    )


WORDS = ((" the author", " The author"), (" the other person",), (" everybody", " Everybody"), (" nobody",))


def prompts(options: Sequence[Sequence[str]] = ((" A",), (" B",)), name: str = "letters") -> list[Prompt]:
    """Every ordered pair of neighbours among the actions, of many lengths."""
    pairs = zip(ACTIONS, ACTIONS[3:] + ACTIONS[:3], strict=True)
    return [prompt(*pair, item=str(number), options=options, name=name) for number, pair in enumerate(pairs)]


def byte_tokenizer(*, bos: bool = True, template: str | None = HEADERS) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as Llama 3's: a post-processor puts the BOS before a text (without `bos`, as Qwen's: none)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    if bos:
        special.insert(0, "<|begin_of_text|>")
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>" if bos else None,
        eos_token="<|end_of_text|>",
        chat_template=template,
    )


def piece_tokenizer(*, template: str | None = BRACKETS, letters: bool = False) -> PreTrainedTokenizerFast:
    """SentencePiece's BPE as Llama 2 and Mistral have it: a leading ▁ on every text, bytes for unknown letters.

    With `letters` it has ▁A and ▁B as pieces, as the real ones do; without, an option takes two.
    """
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    learnt_from = [*_CORPUS, *["A B"] * 100] if letters else _CORPUS
    pieces.train_from_iterator(learnt_from, trainers.BpeTrainer(vocab_size=260, show_progress=False))
    learnt = json.loads(pieces.to_str())["model"]
    vocabulary = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary += [piece for piece in learnt["vocab"] if piece not in vocabulary]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(vocabulary)},
            merges=[tuple(merge) for merge in learnt["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in vocabulary[:5]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )


_SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    # Far wider than is usual, so that the probabilities of a random model differ from prompt to prompt.
    "initializer_range": 0.25,
    "max_position_embeddings": 512,
}


def model(kind: str, vocabulary: int, seed: int = 0, **changes: Any) -> Any:
    """A randomly initialised model of the family `kind`: llama, mistral, qwen2 or qwen3."""
    torch.manual_seed(seed)
    shape = {**_SHAPE, "vocab_size": vocabulary, "bos_token_id": None, "eos_token_id": None, **changes}
    match kind:
        case "llama":
            scaling = {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
            made = LlamaForCausalLM(LlamaConfig(**{"rope_parameters": scaling, **shape}))
        case "mistral":
            made = MistralForCausalLM(MistralConfig(**{"sliding_window": 256, **shape}))
        case "qwen2":
            made = Qwen2ForCausalLM(Qwen2Config(**shape))
        case "qwen3":
            made = Qwen3ForCausalLM(Qwen3Config(**{"head_dim": 16, **shape}))
        case other:
            raise ValueError(other)
    return made.eval()


def adapter(base: Any, targets: Sequence[str] = ("q_proj", "v_proj"), seed: int = 1, **settings: Any) -> Any:
    """A copy of `base` with a random LoRA adapter that has an effect, as a `PeftModel`."""
    from peft import LoraConfig, get_peft_model  # seconds, which most tests do without

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=list(targets), task_type="CAUSAL_LM", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft still asks transformers by a name that will go
        adapted = get_peft_model(copy.deepcopy(base), config)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    return adapted.eval()


def save(folder: Path, made: Any, tokenizer: Any | None = None) -> Path:
    """Save a model, or an adapter, and its tokenizer as a submission's folder holds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # peft says that it saves the base's head beside LoRA on it
        made.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def submission(
    folder: Path, adapter_folder: Path | None = None, *, form: str = "plain", dtype: str = "float32"
) -> Submission:
    """A submission of a local folder."""
    return Submission(
        name="tiny",
        description="",
        digest="sha256:" + "0" * 64,
        source=b"",
        model=ModelRef("causal", str(folder), None, None, None, form, dtype, None),
        adapter=AdapterRef(str(adapter_folder), None, None, None) if adapter_folder else None,
    )
