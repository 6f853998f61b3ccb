"""What a model is asked: both orders, each option counted for its label, and nothing cut but what may be."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import factories

from runner.config.prompt_checks import variables
from runner.core.benchmark_types import PromptSpec
from runner.core.types import Item, VerbalizedFormat
from runner.tasks.prompts import all_prompts, prompt_sha256, prompts_of, text
from runner.tasks.verbalized import form

ITEM = Item("i", {"first": "eating", "second": "sleeping", "title": "t"}, (3, 2), None, None)
SPEC = PromptSpec(
    name="letters",
    task="dilemmas",
    elicitation="logprob",
    orders=(("first", "second"), ("second", "first")),
    shows={"first": "$first", "second": "$second"},
    template="A: $option_1\nB: $option_2\nWhich? It costs $$5.",
    cue_plain="\nAnswer:",
    cue_chat="Answer:",
    options=((" A",), (" B",)),
    max_tokens=100,
    shorten=None,
)
LABELS = ("first", "second")


def test_both_orders_are_put_and_options_come_back_in_the_order_of_the_labels():
    first, second = prompts_of(SPEC, LABELS, "dev", ITEM)
    assert text(first) == "A: eating\nB: sleeping\nWhich? It costs $5."
    assert text(second) == "A: sleeping\nB: eating\nWhich? It costs $5."
    # Under the second order, label `first` is shown as B: the form " B" counts for it.
    assert first.options == ((" A",), (" B",))
    assert second.options == ((" B",), (" A",))
    assert (first.order, second.order) == (0, 1)
    assert (first.task, first.split, first.item_id, first.prompt_id) == ("dilemmas", "dev", "i", "letters")


@given(st.permutations(range(4)))
def test_an_option_always_counts_for_the_label_that_it_shows(order):
    labels = tuple("wxyz")
    spec = replace(
        SPEC,
        orders=(tuple(labels[place] for place in order),),
        shows={label: f"the {label}" for label in labels},
        template="1 $option_1\n2 $option_2\n3 $option_3\n4 $option_4",
        options=((" 1",), (" 2",), (" 3",), (" 4",)),
    )
    (prompt,) = prompts_of(spec, labels, "dev", ITEM)
    shown = dict(line.split(" the ") for line in text(prompt).splitlines())
    for label, forms in zip(labels, prompt.options, strict=True):
        assert shown[forms[0].strip()] == label


def test_text_of_people_is_never_a_template():
    """A dollar, braces or a variable's name in a story stay what they are."""
    hostile = "I paid $first and ${second} $$ {0} %s {{ title }} $option_1 \\n"
    item = replace(ITEM, fields={"first": hostile, "second": "sleeping", "title": "t"})
    for prompt in prompts_of(SPEC, LABELS, "dev", item):
        assert hostile in text(prompt)
        assert text(prompt).count(hostile) == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.integers(0, 40))
def test_only_the_named_field_is_cut_and_only_at_its_end(story, keep):
    spec = replace(SPEC, template="T: $title\nS: $first\nE: $second", shows={}, shorten="first")
    item = replace(ITEM, fields={"first": story, "second": "b" * 50, "title": "c" * 50})
    prompt = next(prompts_of(spec, LABELS, "dev", item))
    assert text(prompt, keep) == f"T: {'c' * 50}\nS: {story[:keep]}\nE: {'b' * 50}"
    assert text(prompt) == f"T: {'c' * 50}\nS: {story}\nE: {'b' * 50}"


def test_nothing_is_cut_where_nothing_may_be():
    prompt = next(prompts_of(SPEC, LABELS, "dev", ITEM))
    assert text(prompt, 0) == text(prompt)


def test_the_digest_is_that_of_the_uncut_question_with_its_cue():
    prompt = next(prompts_of(SPEC, LABELS, "dev", ITEM))
    whole = "A: eating\nB: sleeping\nWhich? It costs $5.\nAnswer:"
    assert prompt_sha256(prompt) == hashlib.sha256(whole.encode()).hexdigest()
    for change in ({"cue_plain": "Answer:"}, {"template": "$option_1"}, {"values": {**prompt.values, "option_1": "x"}}):
        assert prompt_sha256(replace(prompt, **change)) != prompt_sha256(prompt)


def test_prompts_come_prompt_by_prompt_and_order_by_order():
    items = (ITEM, replace(ITEM, id="j"))
    other = replace(SPEC, name="other", orders=(("first", "second"),))
    asked = [(one.prompt_id, one.item_id, one.order) for one in all_prompts([SPEC, other], LABELS, "dev", iter(items))]
    assert asked == [
        ("letters", "i", 0),
        ("letters", "i", 1),
        ("letters", "j", 0),
        ("letters", "j", 1),
        ("other", "i", 0),
        ("other", "j", 0),
    ]


@pytest.mark.parametrize(
    ("template", "names"), [("", []), ("$a ${b}c $$d $a", ["a", "b"]), ("no $1 name", []), ("$option_1.", ["option_1"])]
)
def test_variables_are_those_that_are_filled_in(template, names):
    assert variables(template) == names


@pytest.mark.parametrize("name", list(factories.benchmark().prompts))
def test_every_prompt_of_the_benchmark_shows_each_label_and_each_text(name):
    known = factories.benchmark()
    spec = known.prompts[name]
    task = known.tasks[spec.task]
    fields = {field: f"«{field} of the item»" for field in task.item.fields}
    item = Item("i", fields, (1,) * len(task.labels), None, None)
    found = list(prompts_of(spec, task.labels, "dev", item))
    assert len(found) == len(spec.orders)
    for prompt in found:
        asked = text(prompt)
        assert "$" not in asked
        assert all(
            asked.count(value) == 1 for key, value in fields.items() if key != "title" or "$title" in spec.template
        )
        mark = ". " if spec.elicitation == "sampled" else ": "
        assert all(asked.count(f"{mark}{shown}") == 1 for shown in spec.shows.values() if "$" not in shown)
        if spec.elicitation == "sampled":
            assert prompt.options == ()
            assert prompt.sampling is not None
            assert prompt.sampling.samples * len(spec.orders) == spec.samples
            for label, forms in zip(task.labels, prompt.sampling.answers, strict=True):
                assert forms == spec.options[spec.orders[prompt.order].index(label)]
        elif spec.elicitation == "verbalized":
            assert prompt.options == ()
            names = tuple(name for (name,) in spec.options)
            assert form(names) in asked.splitlines(), "the question shows the line that is read"
            assert prompt.writing == VerbalizedFormat(
                names,
                tuple(task.labels.index(label) for label in spec.orders[prompt.order]),
                spec.zero_percent,
                spec.max_new_tokens,
            )
        else:
            assert sorted(map(str, prompt.options)) == sorted(map(str, spec.options))
    # Over the orders of a prompt with letters, each label has been shown under more than one.
    if len(found) > 1:
        assert found[0].options != found[1].options or not found[0].scored
        assert (found[0].writing, found[0].sampling) != (found[1].writing, found[1].sampling) or found[0].scored


@pytest.mark.parametrize("name", ["dilemmas-letters", "dilemmas-written", "dilemmas-sampled"])
def test_examples_stand_before_the_question_in_its_order_with_the_answer_of_most(name):
    known = factories.benchmark()
    spec = replace(known.prompts[name], few_shot=1)
    example = Item("e", {"first": "paying $5", "second": "running"}, (1, 4), None, None)
    item = Item("i", {"first": "eating", "second": "sleeping"}, (3, 2), None, None)
    alone = list(all_prompts([spec], LABELS, "dev", [item]))
    shown = list(all_prompts([spec], LABELS, "dev", [item], [example, example]))
    for order, (bare, full) in enumerate(zip(alone, shown, strict=True)):
        begun = text(full).removesuffix(text(bare))
        assert begun.count("paying $5") == 1
        answer = {
            "dilemmas-letters": "BA"[order],
            "dilemmas-written": ("A: 20%, B: 80%", "A: 80%, B: 20%")[order],
            "dilemmas-sampled": "BA"[order],
        }[name]
        assert begun.endswith(f"\nAnswer: {answer}\n\n")
        assert prompt_sha256(full) != prompt_sha256(bare)
