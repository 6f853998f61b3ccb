"""An item that is scored is found among those to train on, whatever was done to its surface."""

from collections.abc import Callable

import pytest
from support.recipe_factory import Workshop, dilemma

from runner.core.errors import InvalidInput
from runner.core.types import Item
from runner.training.leaks import Leak, find

STORY = "I told my neighbour that I would water her plants while she was away, and then I forgot it for two weeks. " * 3


def item(name: str, *texts: str) -> Item:
    return Item(name, {f"field{number}": text for number, text in enumerate(texts)}, (1, 1), None, None)


def test_an_id_is_enough() -> None:
    assert find([item("a", "one"), item("b", "two")], [item("b", "three")]) == [Leak("b", "id", "b")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Lying to a friend", "Taking the cake"), ("lying to a friend.", "Taking  the\ncake!")),
        (("Lying to a friend", "Taking the cake"), ("Taking the cake", "Lying to a friend")),
        (("Ｌying to a friend", "x"), ("Lying to a friend", "x")),
        (("AITA?", STORY), ("Am I wrong", STORY.upper())),
    ],
    ids=["punctuation", "swapped", "width", "another title"],
)
def test_the_same_text_is_the_same_item(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert find([item("a", *one)], [item("b", *other)]) == [Leak("a", "text", "b")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Lying to a friend", "Taking the cake"), ("Lying to a friend", "Taking a cake")),
        (("", ""), ("", "")),
        (("A title", ""), ("", STORY)),
    ],
    ids=["one action in common", "empty", "nothing in common"],
)
def test_other_texts_are_other_items(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert find([item("a", *one)], [item("b", *other)]) == []


TRAIN = [dilemma(f"t{number}", f"doing thing {number}", f"leaving thing {number}") for number in range(12)]
DEV = [dilemma(f"d{number}", f"seeing thing {number}", f"hearing thing {number}") for number in range(12)]
OWN = {"suite": "own", "tasks": ["dilemmas"], "benchmark": "benchmark.yaml", "items": None}


def test_a_leak_is_refused_with_counts_and_examples(workshop: Workshop, own_data: Callable[..., None]) -> None:
    test = [dilemma("t3", "a", "b"), dilemma("x", "Leaving thing 5!", "doing thing 5"), dilemma("y", "c", "d")]
    own_data(train=TRAIN, dev=DEV, test=test)
    with pytest.raises(InvalidInput) as caught:
        workshop.train(data=OWN)
    [fault] = caught.value.faults
    assert fault.code == "LEAK"
    expected = "2 of 12 items to train on are in own/test (1 by id and 1 by text): t3, t5 (the same text as x)."
    assert fault.message == expected
    assert not (workshop.home / "out" / "made" / "submission.yaml").exists()


@pytest.mark.slow
def test_leaks_can_be_dropped_and_are_counted(workshop: Workshop, own_data: Callable[..., None]) -> None:
    test = [dilemma("t3", "a", "b"), dilemma("x", "Leaving thing 5!", "doing thing 5")]
    own_data(train=TRAIN, dev=[*DEV, dilemma("t4", "e", "f")], test=test)
    _, record = workshop.train(data={**OWN, "leaks": "drop"})
    assert record["leaks"]["dropped"] == {"dilemmas": 3}
    assert record["leaks"]["compared"] == {"dilemmas: own/dev": 13, "dilemmas: own/test": 2}
    assert {one["item"] for one in record["leaks"]["examples"]} == {"t3", "t4", "t5"}
    assert record["trained_on"]["dilemmas"]["items"] == 9


@pytest.mark.slow
def test_what_is_absent_is_said(workshop: Workshop, own_data: Callable[..., None]) -> None:
    own_data(train=TRAIN, dev=DEV, test=TRAIN)
    (workshop.home / "data" / "test.jsonl").unlink()
    _, record = workshop.train(data=OWN)
    assert record["leaks"]["not_compared_since_absent"] == ["own/test"]
    assert list(record["leaks"]["compared"]) == ["dilemmas: own/dev"]


def test_a_file_that_is_not_the_declared_one_is_refused(workshop: Workshop, own_data: Callable[..., None]) -> None:
    own_data(train=TRAIN, dev=DEV, test=DEV)
    (workshop.home / "data" / "test.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        workshop.train(data=OWN)
    assert {fault.code for fault in caught.value.faults} == {"DATA_DIGEST"}
