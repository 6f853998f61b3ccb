"""Answers of services: what they tell is exact, what they do not tell is bounded, and what is wrong is refused."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.models.api.answers import TopLogprobs, Unusable, echoed, parse_top_logprobs, score, usage_of

LETTERS = ((" A",), (" B",), (" C",))


def told(shares: dict[str, float], drawn: str | None = None) -> TopLogprobs:
    return TopLogprobs(tuple((text, math.log(share)) for text, share in shares.items()), drawn)


def chat(*tokens: dict[str, Any], drawn: str = " A", drawn_log_prob: Any = -0.5) -> dict[str, Any]:
    """An answer of the chat interface, as the official documentation shows it."""
    first = {"token": drawn, "logprob": drawn_log_prob, "bytes": list(drawn.encode()), "top_logprobs": list(tokens)}
    message = {"role": "assistant", "content": drawn, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": {"content": [first]}, "finish_reason": "length"}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    return {"id": "x", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": usage}


def completion(top: dict[str, float], drawn: str = " A") -> dict[str, Any]:
    """An answer of the older interface."""
    log_probs = {"tokens": [drawn], "token_logprobs": [top.get(drawn)], "top_logprobs": [top], "text_offset": [5]}
    return {"choices": [{"text": drawn, "index": 0, "logprobs": log_probs, "finish_reason": "length"}]}


def token(text: str, log_prob: Any) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": log_prob}


# --- scores --------------------------------------------------------------------------------------------------------


def test_what_is_told_is_exact() -> None:
    found = score(told({" A": 0.5, " B": 0.3, " C": 0.1, " D": 0.05}), LETTERS, any_spacing=False)
    assert found.log_scores == pytest.approx([math.log(0.5), math.log(0.3), math.log(0.1)])
    assert found.bounded == ()
    assert found.answer_mass == pytest.approx(0.9)


def test_surface_forms_add_up_and_others_do_not_count() -> None:
    options = (("yes", "Yes"), ("no", "No"))
    found = score(told({"yes": 0.4, "Yes": 0.2, "YES": 0.1, " yes": 0.1, "No": 0.05}), options, any_spacing=False)
    assert found.log_scores == pytest.approx([math.log(0.6), math.log(0.05)])
    assert found.bounded == ()


def test_in_a_chat_spacing_does_not_count() -> None:
    shares = {"A": 0.4, " A": 0.1, "\nB": 0.2, "B ": 0.1, "C": 0.1}
    assert score(told(shares), LETTERS, any_spacing=True).log_scores == pytest.approx(
        [math.log(0.5), math.log(0.3), math.log(0.1)]
    )
    plain = score(told(shares), LETTERS, any_spacing=False)
    assert plain.bounded == (1, 2)


def test_an_untold_label_is_no_likelier_than_the_least_likely_told_token() -> None:
    found = score(told({" A": 0.6, "x": 0.2, " B": 0.1}), LETTERS, any_spacing=False)
    assert found.bounded == (2,)
    assert found.log_scores[2] == pytest.approx(math.log(0.1))
    assert found.answer_mass == pytest.approx(0.7)


def test_nor_than_what_the_told_ones_leave() -> None:
    found = score(told({" A": 0.6, " B": 0.399}), LETTERS, any_spacing=False)
    assert found.log_scores[2] == pytest.approx(math.log(0.001))


def test_a_bound_is_never_zero() -> None:
    found = score(told({" A": 0.75, " B": 0.25}), LETTERS, any_spacing=False)
    assert found.bounded == (2,)
    assert found.log_scores[2] == pytest.approx(math.log(1e-6))


@pytest.mark.parametrize("unlikely", [" B", " X"])
def test_a_told_probability_that_is_no_number_above_zero_keeps_its_logarithm(unlikely: str) -> None:
    """exp(-800) is 0 in double precision; services tell such values of tokens that a grammar or a bias forbids."""
    found = score(TopLogprobs(((" A", -0.1), (unlikely, -800.0)), None), LETTERS, any_spacing=False)
    assert found.log_scores == (-0.1, -800.0, -800.0)
    assert found.bounded == ((2,) if unlikely == " B" else (1, 2))


def test_a_drawn_token_that_is_told_out_of_turn_is_no_floor() -> None:
    shares = {" A": 0.6, " B": 0.2, "zebra": 1e-9}
    assert score(told(shares, drawn="zebra"), LETTERS, any_spacing=False).log_scores[2] == pytest.approx(math.log(0.2))
    assert score(told(shares, drawn=" A"), LETTERS, any_spacing=False).log_scores[2] == pytest.approx(math.log(1e-9))


def test_a_told_token_that_begins_an_option_may_go_on_to_it() -> None:
    options = ((" yes",), (" no",))
    found = score(told({" yes": 0.5, " n": 0.3, "x": 0.1}), options, any_spacing=False)
    assert found.bounded == (1,)
    assert found.log_scores[1] == pytest.approx(math.log(0.4))
    spaced = score(told({"A": 0.5, "\n": 0.3, "x": 0.1}), (("A",), ("B",)), any_spacing=True)
    assert spaced.log_scores[1] == pytest.approx(math.log(0.4))


def test_where_no_option_is_told_nothing_is_guessed() -> None:
    with pytest.raises(Unusable) as caught:
        score(told({"I": 0.9, "Sorry": 0.05}), LETTERS, any_spacing=True)
    assert (caught.value.code, caught.value.again) == ("API_NO_OPTION", False)
    assert "'I'" in caught.value.message


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.booleans())
def test_bounds_hold_and_told_scores_are_exact_for_any_distribution(seed: int, most: int, out_of_turn: bool) -> None:
    """The whole distribution is the oracle; the service tells the likeliest of it, and one more that was drawn."""
    random = np.random.default_rng(seed)
    names = [" A", " B", " C", *(f"w{number}" for number in range(17))]
    shares = random.dirichlet(np.full(len(names), 0.3))
    order = np.argsort(-shares)
    kept = list(order[:most])
    drawn = int(order[-1]) if out_of_turn else int(order[0])
    if drawn not in kept:
        kept.append(drawn)
    tokens = tuple((names[number], math.log(max(shares[number], 1e-300))) for number in kept)
    try:
        found = score(TopLogprobs(tokens, names[drawn]), LETTERS, any_spacing=False)
    except Unusable:
        assert not {0, 1, 2} & set(kept)
        return
    for label, value in enumerate(found.log_scores):
        true = math.log(max(shares[label], 1e-300))
        if label in found.bounded:
            assert value >= true - 1e-9
        else:
            assert value == pytest.approx(true)
        assert math.isfinite(value)
        assert value <= 0


# --- what is read --------------------------------------------------------------------------------------------------


def test_both_interfaces_are_read() -> None:
    assert parse_top_logprobs(chat(token(" A", -0.5), token(" B", -1.5))) == TopLogprobs(
        ((" A", -0.5), (" B", -1.5)), " A"
    )
    assert parse_top_logprobs(completion({" A": -0.5, " B": -1.5})) == TopLogprobs(((" A", -0.5), (" B", -1.5)), " A")


def test_a_token_is_its_bytes_where_they_are_told() -> None:
    odd = {"token": "\\xf0", "bytes": [0xF0], "logprob": -1.0}
    bare = {"token": " B", "logprob": -2.0}
    assert parse_top_logprobs(chat(token("é", -0.7), odd, bare, drawn_log_prob=None)).tokens == (
        ("é", -0.7),
        ("�", -1.0),
        (" B", -2.0),
    )


def test_too_unlikely_to_tell_is_not_told() -> None:
    found = parse_top_logprobs(chat(token(" A", -0.1), token(" B", -2.5), token(" C", -9999.0), drawn_log_prob=-0.1))
    assert [text for text, _ in found.tokens] == [" A", " B"]
    assert score(found, LETTERS, any_spacing=False).bounded == (2,)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda reply: reply.update(choices=[]), "API_MALFORMED"),
        (lambda reply: reply["choices"][0].update(logprobs=None), "API_NO_LOGPROBS"),
        (lambda reply: reply["choices"][0].update(finish_reason="content_filter"), "API_REFUSAL"),
        (lambda reply: reply["choices"][0]["logprobs"].update(content=[]), "API_EMPTY"),
        (lambda reply: reply["choices"][0]["logprobs"].update(content=[], refusal=[{"token": "I"}]), "API_REFUSAL"),
        (lambda reply: reply["choices"][0]["logprobs"].update(content=None), "API_NO_LOGPROBS"),
        (lambda reply: reply["choices"][0]["logprobs"]["content"][0].update(top_logprobs=[]), "API_MALFORMED"),
        (lambda reply: reply["choices"][0]["logprobs"]["content"][0].update(top_logprobs=[1]), "API_MALFORMED"),
        (lambda reply: reply["choices"][0]["logprobs"]["content"][0].pop("top_logprobs"), "API_MALFORMED"),
    ],
)
def test_answers_without_what_was_asked_for_are_named(change: Any, code: str) -> None:
    reply = chat(token(" A", -0.5), token(" B", -1.5))
    change(reply)
    with pytest.raises(Unusable) as caught:
        parse_top_logprobs(reply)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.5, True, "-1", [], "x" * 10_000], ids=str)
def test_what_is_no_log_probability_is_refused(value: Any) -> None:
    with pytest.raises(Unusable) as caught:
        parse_top_logprobs(chat(token(" A", value), token(" B", -1.0)))
    assert caught.value.code == "API_MALFORMED"
    assert len(caught.value.message) < 150


def test_what_adds_up_to_more_than_one_is_refused() -> None:
    with pytest.raises(Unusable, match="one distribution"):
        parse_top_logprobs(chat(token(" A", -0.1), token(" B", -0.1), drawn_log_prob=-0.1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def refusal(read: Callable[[], Any]) -> Any:
    """The code of an answer that is refused, or what is read in it: whatever else is raised is a bug."""
    try:
        return read()
    except Unusable as problem:
        return problem.code


@given(json_values, st.sampled_from(["whole", "choice", "logprobs", "content", "first", "token", "bytes"]))
def test_whatever_a_service_says_ends_in_words(value: Any, where: str) -> None:
    reply: Any = chat(token(" A", -0.5), token(" B", -1.5))
    match where:
        case "whole":
            reply = value
        case "choice":
            reply["choices"] = value
        case "logprobs":
            reply["choices"][0]["logprobs"] = value
        case "content":
            reply["choices"][0]["logprobs"]["content"] = value
        case "first":
            reply["choices"][0]["logprobs"]["content"][0] = value
        case "token":
            reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1] = value
        case "bytes":
            reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["bytes"] = value
    usage = usage_of(reply)
    assert usage is None or all(type(count) is int and count >= 0 for count in usage)
    code = refusal(lambda: echoed(reply, "a", "b"))
    assert code in {"API_MALFORMED", "API_NO_ECHO"}
    found = refusal(lambda: parse_top_logprobs(reply))
    if isinstance(found, str):
        assert found in {"API_MALFORMED", "API_NO_LOGPROBS", "API_EMPTY", "API_REFUSAL"}
    else:
        assert found.tokens
        assert all(isinstance(text, str) and -9999 < log_prob <= 0 for text, log_prob in found.tokens)
        assert sum(math.exp(log_prob) for _, log_prob in found.tokens) <= 1 + 1e-3


# --- echo ----------------------------------------------------------------------------------------------------------


def echo(tokens: list[tuple[str, float | None]], written: str = "") -> dict[str, Any]:
    offsets, at = [], 0
    for text, _ in tokens:
        offsets.append(at)
        at += len(text)
    whole = "".join(text for text, _ in tokens)
    values = [value for _, value in tokens]
    log_probs = {"tokens": [text for text, _ in tokens], "token_logprobs": values, "text_offset": offsets}
    return {"choices": [{"text": whole + written, "logprobs": log_probs}]}


def test_an_echo_is_the_sum_over_the_options_own_tokens() -> None:
    reply = echo([("Who", None), ("?", -3.0), (" the", -0.5), (" author", -0.25), (" did", -9.0)])
    assert echoed(reply, "Who?", " the author") == (pytest.approx(-0.75), 2)


def test_a_token_across_the_join_is_refused() -> None:
    with pytest.raises(Unusable) as caught:
        echoed(echo([("Who", None), ("? the", -3.0), (" author", -0.25)]), "Who?", " the author")
    assert caught.value.code == "API_JOIN"


def test_what_was_not_echoed_is_refused() -> None:
    reply = echo([(" did", -0.2)])
    with pytest.raises(Unusable) as caught:
        echoed(reply, "Who?", " the author")
    assert caught.value.code == "API_NO_ECHO"


def test_places_that_do_not_rise_are_refused() -> None:
    reply = echo([("Who?", None), (" the", -0.5), (" author", -0.25)])
    reply["choices"][0]["logprobs"]["text_offset"] = [0, 8, 4]
    with pytest.raises(Unusable, match="rise"):
        echoed(reply, "Who?", " the author")


def test_usage_is_a_pair_of_counts_or_unknown() -> None:
    assert usage_of(chat(token(" A", -0.5))) == (9, 1)
    assert usage_of(json.loads('{"usage": {"prompt_tokens": 3}}')) == (3, 0)
    for odd in ({}, {"usage": None}, {"usage": {"prompt_tokens": -1}}, {"usage": {"prompt_tokens": 1.5}}, []):
        assert usage_of(odd) is None
