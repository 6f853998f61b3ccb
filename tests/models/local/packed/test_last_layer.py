"""The last layer is right where it is asked for, reads no token besides, and is whole again afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support import tiny_models

from runner.models.local.packed.last_layer import scored_at, skip_unscored_positions


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("places", [[0, 7, 11], [11], []])
def test_the_last_layer(kind: str, places: list[int]) -> None:
    model = tiny_models.model(kind, 300).base_model
    ids = torch.arange(12)[None]
    at = torch.tensor(places, dtype=torch.long)
    read: list[int] = []
    last = model.layers[-1]
    parts = last.mlp.gate_proj, last.self_attn.q_proj, last.self_attn.o_proj, last.self_attn.k_proj
    with torch.inference_mode():
        whole = model(input_ids=ids).last_hidden_state[0]
        with skip_unscored_positions(model), scored_at(at, 12):
            counting = [
                part.register_forward_hook(lambda _, given, __: read.append(given[0].shape[1])) for part in parts
            ]
            found = model(input_ids=ids).last_hidden_state[0]
        for hook in counting:
            hook.remove()
        assert sorted(read) == sorted([*[len(places) or 1] * 3, 12])
        assert torch.allclose(found[at], whole[at], atol=1e-6)
        if len(places) > 1:
            assert not torch.allclose(found, whole, atol=1e-3)
        assert torch.equal(model(input_ids=ids).last_hidden_state[0], whole)


def test_the_last_layer_is_whole_after_a_failure() -> None:
    model = tiny_models.model("llama", 300).base_model
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        whole = model(input_ids=ids).last_hidden_state
        with pytest.raises(IndexError), skip_unscored_positions(model), scored_at(torch.tensor([99]), 12):
            model(input_ids=ids)
        assert torch.equal(model(input_ids=ids).last_hidden_state, whole)


def test_where_nobody_said_where_it_is_whole() -> None:
    model = tiny_models.model("llama", 300).base_model
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        whole = model(input_ids=ids).last_hidden_state
        with skip_unscored_positions(model):
            with scored_at(torch.tensor([3]), 12):
                assert not torch.equal(model(input_ids=ids).last_hidden_state, whole)
            assert torch.equal(model(input_ids=ids).last_hidden_state, whole)


def test_two_threads_look_at_places_of_their_own() -> None:
    model = tiny_models.model("llama", 300).base_model
    rows = [torch.arange(12)[None], torch.arange(40, 60)[None]]
    places = [torch.tensor([2, 9]), torch.tensor([0, 11, 19])]
    together = threading.Barrier(2)

    def look(which: int) -> torch.Tensor:
        with torch.inference_mode(), scored_at(places[which], rows[which].numel()):
            together.wait(60)
            return model(input_ids=rows[which]).last_hidden_state[0, places[which]]

    with torch.inference_mode():
        whole = [model(input_ids=row).last_hidden_state[0, at] for row, at in zip(rows, places, strict=True)]
    with skip_unscored_positions(model), ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            for found, expected in zip(pool.map(look, range(2)), whole, strict=True):
                assert torch.allclose(found, expected, atol=1e-6)
