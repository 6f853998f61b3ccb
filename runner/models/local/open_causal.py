"""Load a causal language model from its folders."""

from pathlib import Path

from runner.core.types import Submission
from runner.models.base import LoadOptions
from runner.models.local import devices, general, loading
from runner.models.local.causal import Causal, base_of, wrap
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import Format


def open_causal(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    load: LoadOptions,
) -> Causal:
    """Load a causal language model, its tokenizer and, where there is one, its adapter; raises `BackendError`."""
    model_devices = devices.choose_all(load.device)
    if model_devices[0].type == "cpu":
        devices.keep_freed_memory()
    tokenizer = load_tokenizer(model_folder)
    named = submission.model
    model = loading.load_model(model_folder, load.dtype or named.dtype, *model_devices, quantization=named.quantization)
    if adapter_folder is not None:
        model = loading.apply_adapter(model, adapter_folder)
    if not loading.packed_limit(base_of(model).config):
        general.check_head(base_of(model))
    form: Format = "chat" if named.format == "chat" else "plain"
    return wrap(
        model,
        tokenizer,
        form,
        load.batch_tokens,
        arguments=named.template_arguments,
        thinking=named.thinking,
        system_prompt=named.system_prompt,
    )
