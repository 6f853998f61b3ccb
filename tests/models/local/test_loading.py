"""A folder that is not whole, or not what it says, is refused with a sentence and never scored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny_models

from runner.artifacts import PrivateView, check_model, model_manifest
from runner.core.errors import BackendError, UserError
from runner.core.types import ModelRef
from runner.models.base import LoadOptions
from runner.models.hub import resolve_model
from runner.models.local.causal import Causal
from runner.models.local.loading import apply_adapter, load_model
from runner.models.local.open import load_tokenizer, open_backend, show_tokens

CPU = torch.device("cpu")
Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model in `model/` with its tokenizer, its adapter in `adapter/`."""
    folder = tmp_path_factory.mktemp("saved")
    tokenizer = tiny_models.byte_tokenizer()
    base = tiny_models.model("llama", len(tokenizer))
    tiny_models.save(folder / "model", base, tokenizer)
    tiny_models.save(folder / "adapter", tiny_models.adapter(base))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of `saved` to break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit_tensors(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(call: Callable[[], Any], *said: str) -> str:
    """The code of the one fault that is raised, on one line in which all words of `said` stand."""
    with pytest.raises(UserError) as caught:
        call()
    (fault,) = caught.value.faults
    message = str(caught.value)
    assert "\n" not in message
    assert [words for words in said if words not in message] == []
    return fault.code


@pytest.mark.slow
def test_a_whole_folder_scores_as_the_model_it_was_saved_from(saved: Path) -> None:
    tokenizer = tiny_models.byte_tokenizer()
    base = tiny_models.model("llama", len(tokenizer))
    prompts = tiny_models.prompts(tiny_models.WORDS)
    for adapted, adapter_folder in ((base, None), (tiny_models.adapter(base), saved / "adapter")):
        submission = tiny_models.submission(saved / "model", adapter_folder)
        opened = open_backend(submission, saved / "model", adapter_folder, LoadOptions(device="cpu", batch_tokens=400))
        (batch,) = opened.plan(prompts[:3])
        found = list(opened.predict([prompts[number] for number in batch]))
        expected = Causal(adapted, tokenizer, "plain", 400).predict([prompts[number] for number in batch])
        for one, other in zip(found, expected, strict=True):
            assert one.log_scores == pytest.approx(other.log_scores, abs=1e-5)
        assert (opened.without_adapter() is None) == (adapter_folder is None)
        opened.close()


def test_generation_settings_change_nothing(folder: Path) -> None:
    prompts = tiny_models.prompts()
    submission = tiny_models.submission(folder / "model")
    before = [each.log_scores for each in open_backend(submission, folder / "model", None).predict(prompts)]
    (folder / "model" / "generation_config.json").write_text('{"suppress_tokens": [1, 2], "forced_bos_token_id": 3}')
    after = [each.log_scores for each in open_backend(submission, folder / "model", None).predict(prompts)]
    assert before == after


def test_the_dtype_of_the_call_wins(saved: Path) -> None:
    submission = tiny_models.submission(saved / "model", dtype="float32")
    opened = open_backend(submission, saved / "model", None, LoadOptions(dtype="bfloat16"))
    assert opened.describe()["dtype"] == "bfloat16"


class TestWeights:
    def test_a_missing_tensor(self, folder: Path) -> None:
        edit_tensors(folder / "model" / "model.safetensors", lambda tensors: tensors.pop(Q))
        assert refusal(lambda: load_model(folder / "model", "float32", CPU), Q, "missing") == "LOAD_KEYS"

    def test_a_tensor_too_many(self, folder: Path) -> None:
        edit_tensors(folder / "model" / "model.safetensors", lambda tensors: tensors.update(extra=torch.ones(2)))
        assert refusal(lambda: load_model(folder / "model", "float32", CPU), "extra") == "LOAD_KEYS"

    def test_a_tensor_of_another_shape(self, folder: Path) -> None:
        edit_tensors(folder / "model" / "model.safetensors", lambda tensors: tensors.update({Q: torch.ones(3, 48)}))
        assert refusal(lambda: load_model(folder / "model", "float32", CPU), Q, "shape") == "LOAD_KEYS"

    def test_a_tied_head_is_not_missing(self, tmp_path: Path) -> None:
        tiny_models.save(tmp_path, tiny_models.model("llama", 480, tie_word_embeddings=True))
        assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
        loaded = load_model(tmp_path, "float32", CPU)
        assert loaded.lm_head.weight is loaded.model.embed_tokens.weight

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_number_that_is_none(self, folder: Path, value: float) -> None:
        edit_tensors(folder / "model" / "model.safetensors", lambda tensors: tensors[Q].__setitem__((0, 0), value))
        assert refusal(lambda: load_model(folder / "model", "float32", CPU), Q) == "WEIGHTS_NON_FINITE"

    def test_a_number_that_the_dtype_cannot_hold(self, folder: Path) -> None:
        edit_tensors(folder / "model" / "model.safetensors", lambda tensors: tensors[Q].__setitem__((0, 0), 1e6))
        load_model(folder / "model", "float32", CPU)
        assert refusal(lambda: load_model(folder / "model", "float16", CPU), Q) == "WEIGHTS_NON_FINITE"

    def test_bytes_that_are_no_safetensors(self, folder: Path) -> None:
        (folder / "model" / "model.safetensors").write_bytes(b"not this")
        assert refusal(lambda: load_model(folder / "model", "float32", CPU)) == "LOAD_WEIGHTS"

    def test_a_pickle_is_not_read(self, folder: Path) -> None:
        tensors = load_file(folder / "model" / "model.safetensors")
        (folder / "model" / "model.safetensors").unlink()
        torch.save(tensors, folder / "model" / "pytorch_model.bin")
        assert refusal(lambda: load_model(folder / "model", "float32", CPU), "safetensors") == "LOAD_WEIGHTS"


class TestConfiguration:
    def test_an_adapter_in_the_model_s_folder(self, folder: Path) -> None:
        for path in (folder / "adapter").iterdir():
            shutil.copy(path, folder / "model")
        assert refusal(lambda: load_model(folder / "model", "float32", CPU)) == "LOAD_HIDDEN_ADAPTER"

    def test_an_architecture_that_is_not_known_to_be_scored_right(self, folder: Path) -> None:
        edit_json(folder / "model" / "config.json", model_type="xglm")
        assert refusal(lambda: load_model(folder / "model", "float32", CPU), "xglm") == "MODEL_TYPE"

    @pytest.mark.parametrize("changes", [{"hidden_size": "x"}, {"num_attention_heads": 5}, {"model_type": "nothing"}])
    def test_settings_that_make_no_sense(self, folder: Path, changes: Any) -> None:
        edit_json(folder / "model" / "config.json", **changes)
        assert refusal(lambda: load_model(folder / "model", "float32", CPU)) == "LOAD_CONFIG"

    def test_no_configuration(self, folder: Path) -> None:
        (folder / "model" / "config.json").unlink()
        assert refusal(lambda: load_model(folder / "model", "float32", CPU)) == "LOAD_CONFIG"

    def test_quantised_weights(self, folder: Path) -> None:
        edit_json(folder / "model" / "config.json", quantization_config={"quant_method": "bitsandbytes"})
        assert refusal(lambda: load_model(folder / "model", "float32", CPU)) == "QUANTIZATION"

    def test_code_in_the_folder_is_not_run(self, folder: Path) -> None:
        (folder / "model" / "evil.py").write_text("raise SystemExit('run')\n")
        edit_json(folder / "model" / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"})
        assert type(load_model(folder / "model", "float32", CPU)).__name__ == "LlamaForCausalLM"


class TestAdapter:
    def load(self, folder: Path) -> Any:
        return apply_adapter(load_model(folder / "model", "float32", CPU), folder / "adapter")

    def test_renamed_tensors(self, folder: Path) -> None:
        def rename(tensors: dict[str, Any]) -> None:
            name = sorted(tensors)[0]
            tensors[name.replace("q_proj", "o_proj")] = tensors.pop(name)

        edit_tensors(folder / "adapter" / "adapter_model.safetensors", rename)
        with pytest.raises(BackendError) as caught:
            self.load(folder)
        assert [fault.code for fault in caught.value.faults] == ["ADAPTER_TENSORS"] * 2
        assert "o_proj" in str(caught.value)
        assert "missing" in str(caught.value)

    def test_tensors_for_another_size(self, folder: Path) -> None:
        edit_tensors(
            folder / "adapter" / "adapter_model.safetensors",
            lambda tensors: tensors.update({name: torch.zeros(4, 99) for name in tensors if "lora_A" in name}),
        )
        assert refusal(lambda: self.load(folder), "shapes") == "ADAPTER_TENSORS"

    def test_targets_that_the_model_does_not_have(self, folder: Path) -> None:
        edit_json(folder / "adapter" / "adapter_config.json", target_modules=["nothing"])
        assert refusal(lambda: self.load(folder), "nothing") == "ADAPTER_LOAD"

    def test_nan(self, folder: Path) -> None:
        path = folder / "adapter" / "adapter_model.safetensors"
        edit_tensors(path, lambda tensors: tensors[min(tensors)].__setitem__((0, 0), float("nan")))
        assert refusal(lambda: self.load(folder), "lora_A") == "WEIGHTS_NON_FINITE"

    def test_a_pickle_is_not_read(self, folder: Path) -> None:
        path = folder / "adapter" / "adapter_model.safetensors"
        torch.save(load_file(path), folder / "adapter" / "adapter_model.bin")
        path.unlink()
        assert refusal(lambda: self.load(folder), "safetensors") == "ADAPTER_LOAD"

    def test_weights_of_the_base_may_come_along_but_not_replace_it(self, folder: Path) -> None:
        base = load_model(folder / "model", "float32", CPU)
        tiny_models.save(folder / "adapter", tiny_models.adapter(base, ("q_proj", "lm_head")))
        path = folder / "adapter" / "adapter_model.safetensors"
        name = "base_model.model.lm_head.base_layer.weight"
        own = load_file(path)[name]  # as peft saves it
        assert torch.equal(self.load(folder).get_base_model().lm_head.base_layer.weight, own)
        edit_tensors(path, lambda tensors: tensors[name].add_(1))
        assert refusal(lambda: self.load(folder), name) == "ADAPTER_FULL_WEIGHT"
        edit_tensors(path, lambda tensors: tensors.pop(name))
        assert torch.equal(self.load(folder).get_base_model().lm_head.base_layer.weight, own)

    def test_the_base_that_it_names_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        other = tiny_models.save(tmp_path / "other", tiny_models.model("llama", 480, seed=7))
        edit_json(folder / "adapter" / "adapter_config.json", base_model_name_or_path=str(other))
        loaded = self.load(folder)
        expected = load_file(folder / "model" / "model.safetensors")["model.embed_tokens.weight"]
        assert torch.equal(loaded.get_base_model().model.embed_tokens.weight, expected)


class TestTokenizer:
    def test_bytes_that_are_no_tokenizer(self, folder: Path) -> None:
        for content in ("{", "{}", '{"model": 3}'):
            (folder / "model" / "tokenizer.json").write_text(content)
            assert refusal(lambda: load_tokenizer(folder / "model")) == "TOKENIZER_LOAD"

    def test_none(self, folder: Path) -> None:
        (folder / "model" / "tokenizer.json").unlink()
        assert refusal(lambda: load_tokenizer(folder / "model")) == "TOKENIZER_KIND"

    def test_token_ids_are_shown_without_weights(self, folder: Path) -> None:
        (folder / "model" / "model.safetensors").unlink()
        tokenizer = load_tokenizer(folder / "model")
        prompts = tiny_models.prompts()
        rows = list(show_tokens(tiny_models.submission(folder / "model"), prompts))
        assert len(rows) == len(prompts)
        for row in rows:
            assert tokenizer.decode(row["token_ids"]).endswith("less ethical?\nAnswer:")
            assert [tokenizer.decode(tail["token_ids"]) for tail in row["tails"]] == [" A", " B"]
            assert [tail["label"] for tail in row["tails"]] == [0, 1]
        json.dumps(rows)


class TestOpening:
    def test_a_device_that_is_not_there(self, saved: Path) -> None:
        for device in ("cuda:99", "tpu", "mps"):
            code = refusal(
                lambda device=device: open_backend(  # type: ignore[misc]
                    tiny_models.submission(saved / "model"), saved / "model", None, LoadOptions(device=device)
                ),
                device,
            )
            assert code == "DEVICE"

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        ref = tiny_models.submission(tmp_path / "nothing").model
        assert refusal(lambda: resolve_model(ref), "nothing") == "MODEL_MISSING"

    def test_a_local_folder_is_taken_as_it_is(self, tmp_path: Path) -> None:
        assert resolve_model(tiny_models.submission(tmp_path).model) == tmp_path

    def test_a_revision_that_is_not_in_the_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        ref = ModelRef("causal", None, "nobody/nothing", "0" * 40, None, "plain", "float32", None)
        assert refusal(lambda: resolve_model(ref), "nobody/nothing", "HF_HUB_OFFLINE") == "HUB"

    def test_a_connection_that_breaks_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The HTTP library's own errors are no OSErrors."""
        from huggingface_hub.errors import HTTPError

        def broken(*_: object, **__: object) -> None:
            raise HTTPError("peer closed connection")

        monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
        ref = ModelRef("causal", None, "nobody/nothing", "0" * 40, None, "plain", "float32", None)
        assert refusal(lambda: resolve_model(ref), "nobody/nothing", "peer closed connection") == "HUB"

    def test_links_of_the_cache_are_followed_inside_the_cache_only(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path
    ) -> None:
        from huggingface_hub import constants

        repository = tmp_path / "hub" / "models--nobody--something"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        shutil.copytree(saved / "model", repository / "blobs")
        (repository / "blobs" / "consolidated.safetensors").write_bytes(b"the same weights once more")
        for blob in (repository / "blobs").iterdir():
            (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        ref = ModelRef("causal", None, "nobody/something", "0" * 40, None, "plain", "float32", None)
        assert resolve_model(ref, weights=False) == resolve_model(ref) == snapshot
        assert check_model(snapshot)[0] == ()
        assert model_manifest(snapshot) == model_manifest(saved / "model")
        with PrivateView(snapshot, "model") as view:
            names = {path.name for path in view.folder.iterdir()}
            assert "consolidated.safetensors" not in names
            load_model(view.folder, "float32", CPU)
        (tmp_path / "outside.json").write_bytes((saved / "model" / "config.json").read_bytes())
        (snapshot / "config.json").unlink()
        (snapshot / "config.json").symlink_to(tmp_path / "outside.json")
        assert [fault.code for fault in check_model(snapshot)[0]] == ["FILE_NOT_REGULAR"]


def test_opening_imports_torch_and_nothing_before_does() -> None:
    import subprocess
    import sys

    code = "import sys, runner.models.local.open; print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
