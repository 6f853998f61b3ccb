"""The leaderboard's page: rows in order with their own numbers, names as text, small enough for ten thousand."""

import random
import re
from dataclasses import replace

from support.html_reader import numbers, shows, tag, tree

from runner.archive.leaderboard.values import ComparisonKey, Group, Leaderboard, Reference, Row, Run, Section, Unranked
from runner.report.html import leaderboard_page

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
            Reference("prior", "baseline", 0.6931),
        ),
        notes=("A note.",),
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
        assert len(cells) == 5
        assert cells[0] == f"{own.rank}{own.best}–{own.worst}"
        assert own.name in cells[1]
        assert own.model is not None
        assert own.model in cells[1]
        (exact,) = numbers(element)
        assert exact.value == own.value
        assert shows(exact.text, own.value)
        ends = re.findall(r"\d\.\d{4}", cells[3])[1:]
        assert own.lower is not None
        assert own.upper is not None
        assert shows(ends[0], own.lower)
        assert shows(ends[1], own.upper)
        assert own.signed_by is not None
        assert own.signed_by in cells[4]
        assert "2026-01-02" in cells[4]
    text = " ".join("".join(root.itertext()).split())
    for said in ("Human ceiling", "0.4942", "0.5573", "limited to 10 items", "A note.", "41 cards in the archive"):
        assert said in text
    assert "/home/somebody" not in text


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
    assert len(numbers(root)) == 3
    text = "".join(root.itertext())
    assert "abababababab" in text
    assert "letters/0" in text
    assert text.count("predictions from a file") == 3
