"""The last layer is right where it is asked for, reads no token besides, and is whole again afterwards."""

import pytest
import tiny
import torch

from runner.backends.places import last_layer_at


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("places", [[0, 7, 11], [11], []])
def test_the_last_layer(kind: str, places: list[int]) -> None:
    model = tiny.model(kind, 300).base_model
    ids = torch.arange(12)[None]
    at = torch.tensor(places, dtype=torch.long)
    read: list[int] = []
    last = model.layers[-1]
    parts = last.mlp.gate_proj, last.self_attn.q_proj, last.self_attn.o_proj, last.self_attn.k_proj
    with torch.inference_mode():
        whole = model(input_ids=ids).last_hidden_state[0]
        with last_layer_at(at, model):
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
    model = tiny.model("llama", 300).base_model
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        whole = model(input_ids=ids).last_hidden_state
        with pytest.raises(IndexError), last_layer_at(torch.tensor([99]), model):
            model(input_ids=ids)
        assert torch.equal(model(input_ids=ids).last_hidden_state, whole)
