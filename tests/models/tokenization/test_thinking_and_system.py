"""A turn of the system, and a thought that the template begins before answers that are drawn."""

from dataclasses import replace

import pytest
from support import tiny_models

from runner.core.errors import InvalidInput
from runner.core.types import SamplingFormat, Thinking
from runner.models.tokenization import PromptEncoder, encode_with

TURNS = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}<assistant>"
DEAF = "<user>{{ messages[-1]['content'] }}\n<assistant>"
DRAWN = SamplingFormat((("A",), ("B",)), 4, 1.0, 1.0, 8)
THINKS = Thinking("<think>", "</think>", 50)


def read(template: str, *, thinking: Thinking | None = None, system: str | None = None, drawn: bool = True) -> str:
    tokenizer = tiny_models.byte_tokenizer(template=template)
    prompt = tiny_models.prompt()
    if drawn:
        prompt = replace(prompt, options=(), labels=("first", "second"), sampling=DRAWN)
    encoder = PromptEncoder(tokenizer, "chat", None, thinking, system)
    [encoded] = encode_with(encoder, [prompt], 4096)
    return str(tokenizer.decode(encoded.prefix.tolist()))


@pytest.mark.parametrize("drawn", [True, False])
def test_the_system_prompt_is_a_turn_before_the_question(drawn: bool) -> None:
    told = read(TURNS, system="Be careful: $5.", drawn=drawn)
    assert "<system>Be careful: $5.\n<user>" in told
    assert told.endswith("<assistant>Answer:")
    assert "<system>" not in read(TURNS, drawn=drawn)


def test_a_template_that_drops_the_system_prompt_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not show the system prompt"):
        read(DEAF, system="Be careful.")
    assert read(DEAF).endswith("<assistant>Answer:")


def test_a_thought_that_the_template_begins_needs_the_marks_of_the_submission() -> None:
    begun = TURNS + "<think>"
    with pytest.raises(InvalidInput) as caught:
        read(begun)
    assert caught.value.faults[0].code == "TEMPLATE_OPEN_THOUGHT"
    assert "thinking: {open" in str(caught.value.faults[0].hint)
    # The model begins its own turn: the cue of an answer has no place in front of a thought, or in it.
    assert read(begun, thinking=THINKS).endswith("<assistant><think>")
    with pytest.raises(InvalidInput):
        read(begun, thinking=THINKS, drawn=False)


def test_an_answer_that_is_drawn_has_room_for_its_thought_behind_the_prompt() -> None:
    """To the token: what the context leaves beside the longest thought and the longest answer."""
    prompt = replace(tiny_models.prompt(), options=(), labels=("first", "second"), sampling=DRAWN, shorten=None)
    tokenizer = tiny_models.byte_tokenizer(template=TURNS + "<think>")
    encoder = PromptEncoder(tokenizer, "chat", None, THINKS, None)
    tokens = len(encode_with(encoder, [prompt], 4096)[0].prefix)
    room = THINKS.max_thought_tokens + DRAWN.max_new_tokens
    assert len(encode_with(encoder, [prompt], tokens + room)[0].prefix) == tokens
    with pytest.raises(InvalidInput, match="PROMPT_TOO_LONG"):
        encode_with(encoder, [prompt], tokens + room - 1)
