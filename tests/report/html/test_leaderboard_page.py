"""The leaderboard's page: rows in order with their own numbers, names as text, small enough for ten thousand."""

import random
import re
from dataclasses import replace

import pytest
from support.html_reader import numbers, shows, tag, tree

from runner.archive.leaderboard.values import (
    CardWarning,
    ComparisonKey,
    Group,
    Leaderboard,
    Reference,
    Row,
    Run,
    Section,
    Unranked,
)
from runner.report.html import leaderboard_page, words
from runner.report.html.leaderboard import leaderboard_chart
from runner.scorecard.warn import CODES

_SHARED = CardWarning("items", "few of them")
_HOSTILE = "<script>alert(1)</script>\"'"


def row(rank: int, value: float, rows: int) -> Row:
    card = f"{rank:064x}"
    return Row(
        rank=rank,
        best=max(1, rank - 2),
        worst=min(rows, rank + 3),
        tied=rank > 1,
        paired=True,
        name=f"laboratory-{rank}-some-model-7b-instruct-qlora",
        kind="model",
        model=f"an-organisation/some-model-7b-instruct-v0.{rank % 10}",
        submission=f"sha256:{card}",
        card=card,
        value=value,
        standard_error=0.005,
        lower=value - 0.011,
        upper=value + 0.0107,
        finished_at="2026-01-02T03:04:05Z",
        added_at="2026-01-02T03:04:05Z",
        keyid="ab" * 32,
        signed_by=f"Laboratory {rank % 40}",
        submissions_of_signer=1,
        runs=(Run(card, rank, "2026-01-02T03:04:05Z", value),),
        claimed=None,
        skill=round((0.6931 - value) / (0.6931 - 0.4942), 4),
        skill_lower=-0.1,
        skill_upper=0.9,
        warnings=(_SHARED, CardWarning("order_gap", "a message")) if rank == 3 else (_SHARED,),
        format="chat",
    )


def board(rows: int) -> Leaderboard:
    generator = random.Random(5)
    values = sorted(generator.uniform(0.5, 0.75) for _ in range(rows))
    ranked = tuple(row(rank, value, rows) for rank, value in enumerate(values, start=1))
    group = Group(
        measures=ComparisonKey(
            benchmark="moral-ambiguity",
            version="1.0.0",
            benchmark_digest=f"sha256:{'0' * 64}",
            suite="full",
            task="dilemmas",
            split="test",
            dataset="scruples-dilemmas",
            data_sha256="1" * 64,
            items=2360,
            labels=("first", "second"),
            prompts=(("dilemmas-letters", f"sha256:{'2' * 64}"),),
            views=("dilemmas-letters/0",),
        ),
        metric="cross_entropy",
        lower_is_better=True,
        level=0.95,
        sections=(Section("self-reported", ranked),),
        references=(
            Reference("ceiling", "ceiling", 0.4942),
            Reference("panel", "file", 0.5573, 0.547, 0.568, "c" * 64),
            Reference("other people", "panel", 0.5603, skill=0.66),
            Reference("prior", "baseline", 0.6931),
        ),
        notes=("A note.",),
        warnings=(_SHARED,),
    )
    apart = Unranked("not comparable", "tried", "d" * 64, f"sha256:{'e' * 64}", ("dilemmas",), ("limited to 10 items",))
    return Leaderboard("/home/somebody/archive", "f" * 64, rows + 1, (group,), (apart,), ())


def test_rows_stand_in_order_with_their_own_numbers() -> None:
    made = board(40)
    root = tree(leaderboard_page(made))
    table = next(element for element in root.iter("table") if "board" in (element.get("class") or ""))
    rows = list(table.iter("tr"))[1:]
    assert len(rows) == 40
    for element, own in zip(rows, made.groups[0].sections[0].rows, strict=True):
        cells = ["".join(cell.itertext()).strip() for cell in element]
        assert len(cells) == 6
        assert cells[0] == f"{'=' if own.tied else ''}{own.rank}{own.best}–{own.worst}"
        assert own.name in cells[1]
        assert own.model is not None
        assert own.model in cells[1]
        skill, exact = numbers(element)
        assert skill.value == own.skill
        assert exact.value == own.value
        assert shows(exact.text, own.value)
        ends = re.findall(r"\d\.\d{4}", cells[4])[1:]
        assert own.lower is not None
        assert own.upper is not None
        assert shows(ends[0], own.lower)
        assert shows(ends[1], own.upper)
        assert own.signed_by is not None
        assert own.signed_by in cells[5]
        assert "2026-01-02" in cells[5]
        assert ("the order of the options matters" in cells[1]) == (own.rank == 3)
        assert "few items" not in cells[1]
    text = " ".join("".join(root.itertext()).split())
    for said in ("Human ceiling", "0.4942", "0.5573", "limited to 10 items", "A note.", "41 cards in the archive"):
        assert said in text
    assert "/home/somebody" not in text


@pytest.mark.slow
def test_the_chart_shows_the_best_between_named_references() -> None:
    made = board(40)
    root = tree(leaderboard_page(made))
    (chart,) = [element for element in root.iter() if element.get("class") == "chart"]
    words = [" ".join("".join(element.itertext()).split()) for element in chart.iter() if tag(element) == "text"]
    assert words[:4] == ["human ceiling 0.4942", "panel 0.5573", "other people 0.5603", "prior 0.6931"]
    assert len(words) == 4 + 2 * 12
    best = made.groups[0].sections[0].rows[0]
    assert words[4].startswith(best.name[:30])
    assert words[5].startswith("1. ")
    assert leaderboard_chart(made.groups[0]).count('class="dot"') == 12


def test_names_are_links_where_the_page_knows_the_cards() -> None:
    made = board(3)
    assert not list(tree(leaderboard_page(made)).iter("a"))
    links = [element.get("href") for element in tree(leaderboard_page(made, lambda card: f"to/{card[:8]}")).iter("a")]
    cards = [row.card for row in made.groups[0].sections[0].rows]
    assert links == [f"to/{card[:8]}" for card in ("c" * 64, *cards, "d" * 64)]


def test_a_trial_says_so_before_anything_else() -> None:
    made = board(2)
    group = replace(made.groups[0], measures=replace(made.groups[0].measures, trial=True))
    assert "Trial: not a result." not in leaderboard_page(made)
    assert leaderboard_page(replace(made, groups=(group,))).count("Trial: not a result.") == 1


def test_every_warning_has_words() -> None:
    assert words.WARNINGS.keys() == CODES.keys()


@pytest.mark.slow
def test_ten_thousand_rows_stay_below_five_megabytes() -> None:
    page = leaderboard_page(board(10_000))
    assert len(page.encode()) < 5_000_000
    assert page.count("<tr>") == 10_000 + 1


def test_names_of_strangers_stay_text() -> None:
    made = board(1)
    group = made.groups[0]
    one = replace(group.sections[0].rows[0], name=_HOSTILE, model=_HOSTILE, signed_by=_HOSTILE, claimed=0.5)
    group = replace(
        group,
        measures=replace(group.measures, task=_HOSTILE, labels=(_HOSTILE,), prompts=None),
        notes=(_HOSTILE,),
        sections=(Section(_HOSTILE, (one,)),),
    )
    apart = replace(made.apart[0], name=_HOSTILE, reasons=(_HOSTILE,), tasks=(_HOSTILE,), kind="refused")
    root = tree(leaderboard_page(replace(made, groups=(group, group), apart=(apart,), damage=(_HOSTILE,))))
    assert not [element for element in root.iter() if tag(element) == "script"]
    assert not [name for element in root.iter() for name in element.attrib if str(name).startswith("on")]
    text = "".join(root.itertext())
    assert text.count("<script>alert(1)</script>") > 10
    assert "The archive is damaged" in text
    assert "claimed" in text


def test_an_empty_archive_has_a_page() -> None:
    empty = Leaderboard("archive", None, 0, (), (), ())
    assert "There is no card that can be ranked." in leaderboard_page(empty)


def test_a_group_without_references_or_intervals_has_a_page() -> None:
    made = board(3)
    rows = tuple(
        replace(one, lower=None, upper=None, model=None, signed_by=None, kind="file")
        for one in made.groups[0].sections[0].rows
    )
    group = replace(made.groups[0], references=(), sections=(Section("self-reported", rows),))
    root = tree(leaderboard_page(replace(made, groups=(group,))))
    assert len(numbers(root)) == 6
    text = "".join(root.itertext())
    assert "abababababab" in text
    assert "letters/0" in text
    assert text.count("predictions from a file") == 3
