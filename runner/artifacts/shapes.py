"""Which tensors a config.json calls for, and where a model's weights differ from them."""

import re
from collections.abc import Iterator

from runner.artifacts.config import SHAPED, Config, Sizes
from runner.artifacts.reading import shown, shown_some
from runner.artifacts.safetensors_header import FLOATS, Header
from runner.core.errors import Fault

Shape = tuple[int, ...]
_LAYER = re.compile(r"(?:[a-z_]+\.)*?(?:layers?|h|blocks)\.(\d{1,9})\.")
# The rows of these are the vocabulary.
_EMBEDDINGS = re.compile(r"(?:[a-z_]+\.)*(?:embed_tokens|wte|word_embeddings|embed_in)\.weight")


def expected_tensors(config: Config) -> dict[str, Shape]:
    """Every tensor, by name, that a model of this configuration is made of; for an encoder without its head.

    None of an architecture that is not known tensor by tensor.
    """
    if config.sizes is None:
        return {}
    return dict((_encoder if SHAPED[config.model_type] == "encoder" else _causal)(config, config.sizes))


def modules(config: Config, weights: Header) -> dict[str, tuple[int, int]] | None:
    """The two-dimensional weights that an adapter can aim at: module name to (rows, columns) = (out, in).

    None for an architecture whose tensors may have other names in the file than in the model.
    """
    if config.sizes is None:
        return None
    named: dict[str, Shape] = {
        **{name: tensor.shape for name, tensor in weights.items() if tensor.dtype in FLOATS},
        **expected_tensors(config),  # a tied head is not in the file
    }
    sizes = {}
    for name, shape in named.items():
        match shape:
            case (rows, columns) if name.endswith(".weight"):
                sizes[name.removesuffix(".weight")] = (rows, columns)
    return sizes


def shape_faults(config: Config, weights: Header, file: str) -> list[Fault]:
    """`CONFIG_SHAPES` where weights and config.json (shown as `file`) disagree, `LOAD_KEYS` where a tensor is missing.

    A missing tensor is not an error to the library: it fills in random numbers. Tensors beyond those expected are left
    to the loader, which reports them; and so is all but layers and vocabulary of an architecture that is not known
    tensor by tensor.
    """
    weights = current_names(config.model_type, weights)
    layers = {int(match[1]) for name in weights if (match := _LAYER.match(name))}
    if layers and layers != set(range(config.layers)):
        message = f"It states {config.layers} layers, the weights hold {len(layers)} with numbers up to {max(layers)}."
        return [Fault("CONFIG_SHAPES", message, file=file, path="$.num_hidden_layers")]
    if config.sizes is None:
        return _vocabulary_faults(config, weights, file)
    expected = expected_tensors(config)
    optional = {"lm_head.weight"} if config.sizes.tied else set()
    faults = []
    if missing := set(expected) - set(weights) - optional:
        message = (
            f"{len(missing):,} tensors are missing and would be filled with random numbers: {shown_some(missing)}."
        )
        faults.append(Fault("LOAD_KEYS", message, file=file))
    differing = [name for name, shape in expected.items() if name in weights and weights[name].shape != shape]
    if differing:
        name = differing[0]
        message = (
            f"{len(differing):,} tensors have other shapes than it calls for; {shown(name)} is "
            f"{list(weights[name].shape)}, {list(expected[name])} was expected."
        )
        faults.append(Fault("CONFIG_SHAPES", message, file=file))
    integers = [name for name in expected if name in weights and weights[name].dtype not in FLOATS]
    if integers:
        message = f"{len(integers):,} weights are not floating-point numbers: {shown_some(integers)}."
        faults.append(Fault("CONFIG_SHAPES", message, file=file))
    return faults


def current_names(model_type: str, weights: Header) -> Header:
    """`weights` by the names of today: early encoders were saved with those of the original code."""
    if model_type not in ("bert", "roberta"):
        return weights
    return {re.sub(r"\bgamma$", "weight", re.sub(r"\bbeta$", "bias", name)): t for name, t in weights.items()}


def _vocabulary_faults(config: Config, weights: Header, file: str) -> list[Fault]:
    for name, tensor in weights.items():
        if _EMBEDDINGS.fullmatch(name) and tensor.shape[:1] != (config.vocabulary,):
            message = f"Tensor {shown(name)} is {list(tensor.shape)}, {config.vocabulary:,} rows were expected."
            return [Fault("CONFIG_SHAPES", message, file=file, path="$.vocab_size")]
    return []


def _causal(config: Config, sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    hidden, inner = sizes.hidden, sizes.intermediate
    queries, keys = sizes.heads * sizes.head_dim, sizes.key_value_heads * sizes.head_dim
    kind = config.model_type
    biased = {
        "llama": "qkvo" if sizes.attention_bias else "",
        "mistral": "",
        "qwen2": "qkv",
        "qwen3": "qkvo" if sizes.attention_bias else "",
    }[kind]
    yield "model.embed_tokens.weight", (config.vocabulary, hidden)
    for layer in range(config.layers):
        name = f"model.layers.{layer}"
        attention = {"q": (queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
        for letter, shape in attention.items():
            yield f"{name}.self_attn.{letter}_proj.weight", shape
            if letter in biased:
                yield f"{name}.self_attn.{letter}_proj.bias", shape[:1]
        if kind == "qwen3":
            yield f"{name}.self_attn.q_norm.weight", (sizes.head_dim,)
            yield f"{name}.self_attn.k_norm.weight", (sizes.head_dim,)
        for part, shape in {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}.items():
            yield f"{name}.mlp.{part}_proj.weight", shape
            if kind == "llama" and sizes.mlp_bias:
                yield f"{name}.mlp.{part}_proj.bias", shape[:1]
        yield f"{name}.input_layernorm.weight", (hidden,)
        yield f"{name}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (config.vocabulary, hidden)


def _encoder(config: Config, sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    hidden, inner, prefix = sizes.hidden, sizes.intermediate, config.model_type
    yield f"{prefix}.embeddings.word_embeddings.weight", (config.vocabulary, hidden)
    yield f"{prefix}.embeddings.position_embeddings.weight", (sizes.positions, hidden)
    yield f"{prefix}.embeddings.token_type_embeddings.weight", (sizes.token_types, hidden)
    yield from _norm(f"{prefix}.embeddings.LayerNorm", hidden)
    for layer in range(config.layers):
        name = f"{prefix}.encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _linear(f"{name}.attention.{part}", hidden, hidden)
        yield from _norm(f"{name}.attention.output.LayerNorm", hidden)
        yield from _linear(f"{name}.intermediate.dense", inner, hidden)
        yield from _linear(f"{name}.output.dense", hidden, inner)
        yield from _norm(f"{name}.output.LayerNorm", hidden)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name: str, length: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (length,)
    yield f"{name}.bias", (length,)
