"""Small BERT and RoBERTa models with a head, and their kinds of tokenizer, made on the spot from fixed seeds."""

import copy
import string
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support import tiny_models
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMultipleChoice,
    RobertaForSequenceClassification,
)

from runner.core.types import AdapterRef, HeadSpec, ModelRef, Prompt, Submission

ANECDOTES = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
STORIES = (
    ("WIBTA for leaving early?", "My friend gave a party. I was tired and went home at nine, and he is angry now."),
    ("AITA", "I ate the last slice of cake without asking, though I knew that my sister wanted it for her birthday."),
    ("Am I wrong about the dog?", "It barks at night. I told him so, twice, and then I called the landlord. " * 9),
    ("A wallet", ""),
)


def piece_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece as an uncased BERT has it: lower case, [CLS] and [SEP], a pair in two segments."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    # Each letter once at the start of a word and once inside: a real vocabulary spells every word in ASCII.
    letters = [2 * letter for letter in string.ascii_lowercase + string.digits]
    texts = [*tiny_models.ACTIONS, *(part for story in STORIES for part in story)]
    tokenizer.train_from_iterator([*texts, *letters, *string.punctuation], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE as RoBERTa has it: <s> and </s>, two of these between the texts of a pair, filler number 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*tiny_models.ACTIONS, *(part for story in STORIES for part in story)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


@cache
def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family; made once, since equally good pieces are learnt in no fixed order."""
    return piece_tokenizer() if family == "bert" else byte_tokenizer()


_SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    # Far wider than is usual, so that the scores of a random model differ from text to text.
    "initializer_range": 0.25,
}


def model(
    family: str, kind: str, vocabulary: int, labels: Sequence[str] = ANECDOTES, seed: int = 0, **changes: Any
) -> Any:
    """A randomly initialised `bert` or `roberta` with a `classification` or a `ranking` head."""
    torch.manual_seed(seed)
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    shape = {**_SHAPE, "vocab_size": vocabulary, **(named if kind == "classification" else {}), **changes}
    if family == "bert":
        config = BertConfig(**{"max_position_embeddings": 512, "pad_token_id": 0, **shape})
        made = (BertForMultipleChoice if kind == "ranking" else BertForSequenceClassification)(config)
    else:
        more = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0}
        config = RobertaConfig(**{**more, "eos_token_id": 2, **shape})
        made = (RobertaForMultipleChoice if kind == "ranking" else RobertaForSequenceClassification)(config)
    return made.eval()


def adapter(base: Any, seed: int = 1) -> Any:
    """A copy of `base` with a random LoRA adapter and a head of its own, as a `PeftModel`."""
    from peft import LoraConfig, get_peft_model  # seconds, which most tests do without

    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules=["query", "value"], modules_to_save=["classifier"], task_type="SEQ_CLS"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft still asks transformers by a name that will go
        adapted = get_peft_model(copy.deepcopy(base), config)
    for name, value in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(value, std=0.1)
    return adapted.eval()


RANKING = HeadSpec("dilemmas", "ranking", 92, (), None, "fitted")
CLASSIFICATION = HeadSpec("anecdotes", "classification", 128, ("title", "text"), None, "fitted")


def submission(folder: Path, head: HeadSpec, adapter_folder: Path | None = None, dtype: str = "float32") -> Submission:
    """A submission of a local folder."""
    return Submission(
        name="tiny-encoder",
        description="",
        digest="sha256:" + "0" * 64,
        source=b"",
        model=ModelRef("encoder", str(folder), None, None, None, None, dtype, None, head),
        adapter=AdapterRef(str(adapter_folder), None, None, None) if adapter_folder else None,
    )


def dilemmas() -> list[Prompt]:
    """Pairs of actions in both orders of the answers."""
    pairs = zip(tiny_models.ACTIONS, tiny_models.ACTIONS[3:] + tiny_models.ACTIONS[:3], strict=True)
    return [
        Prompt(
            task="dilemmas",
            split="dev",
            item_id=str(number),
            prompt_id="letters",
            order=order,
            template="A: $option_1\nB: $option_2",
            values={
                "first": pair[0],
                "second": pair[1],
                "option_1": pair[order],
                "option_2": pair[1 - order],
            },
            cue_plain="\nAnswer:",
            cue_chat="Answer:",
            options=((" A",), (" B",)) if order == 0 else ((" B",), (" A",)),
            max_tokens=512,
            shorten=None,
            labels=("first", "second"),
            shown=pair,
        )
        for number, pair in enumerate(pairs)
        for order in (0, 1)
    ]


def anecdotes(labels: tuple[str, ...] = ANECDOTES) -> list[Prompt]:
    """Stories with a title; one is long, one has no text."""
    return [
        Prompt(
            task="anecdotes",
            split="dev",
            item_id=str(number),
            prompt_id="words",
            order=0,
            template="$title\n$text",
            values={"title": title, "text": text},
            cue_plain="",
            cue_chat="",
            options=tuple((f" {label}",) for label in labels),
            max_tokens=512,
            shorten="text",
            labels=labels,
        )
        for number, (title, text) in enumerate(STORIES)
    ]


def save_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors as a model's weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
