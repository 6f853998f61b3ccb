"""The experiment's committed cards: each verifies, each is recomputed from the data, and the page is made from them."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.forked import Forked

import runner
from runner.archive.get import get
from runner.archive.index import opened
from runner.archive.store import open_store

pytestmark = pytest.mark.slow

RELEASED = ("smollm2-base-released", "smollm2-base-sampled")


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "docs" / "experiment"


@pytest.fixture(scope="module")
def modules(folder: Path) -> Iterator[Any]:
    """docs/experiment/tables.py as `python docs/experiment/tables.py` finds it."""
    sys.path.insert(0, str(folder))
    yield importlib.import_module("tables")
    sys.path.remove(str(folder))
    for name in ("tables", "pictures", "results"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def results(modules: Any) -> Any:
    return modules.load()


@pytest.fixture(scope="module")
def runs(folder: Path, results: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name → folder of the run, as the archive gives it back."""
    index, out = opened(open_store(str(folder / "archive"))), tmp_path_factory.mktemp("runs")
    return {name: get(index, name, out) for name in results.cards}


def test_the_archive_is_whole_and_every_card_is_signed_by_the_keyring(folder: Path, tmp_path: Path) -> None:
    done = Forked(tmp_path)("archive", "check", folder / "archive", "--keyring", folder / "keyring.json")
    assert "No head is signed" not in done.stdout


def test_the_site_has_both_boards_and_every_card(folder: Path, results: Any, tmp_path: Path) -> None:
    trusted = ("--keyring", folder / "keyring.json", "--benchmark", folder / "benchmark.yaml")
    Forked(tmp_path)("site", folder / "archive", *trusted, "--output-dir", tmp_path / "site", "--quiet")
    assert len(list((tmp_path / "site" / "cards").glob("*.html"))) == len(results.cards)
    assert len(list((tmp_path / "site" / "boards").glob("*.html"))) >= 2


def test_the_page_and_the_pictures_are_those_that_the_cards_give(modules: Any, results: Any, folder: Path) -> None:
    page = modules.PAGE.read_text(encoding="utf-8")
    assert "<!-- table: claims -->" in page
    assert modules.filled(page, results) == page
    for name, text in modules.pictures(results).items():
        assert (folder / name).read_text(encoding="utf-8") == text, name


def test_every_number_is_recomputed_from_the_data(folder: Path, runs: dict[str, Path], scruples: Path) -> None:
    for name, run in runs.items():
        benchmark = None if name in RELEASED else folder / "benchmark.yaml"
        report = runner.recompute(run, keyring=folder / "keyring.json", benchmark=benchmark, data_dir=scruples)
        assert [check.state for check in report.checks if check.name == "recompute"] == ["ok"], name


def test_comparisons_are_what_compare_finds(folder: Path, runs: dict[str, Path], results: Any, scruples: Path) -> None:
    """Two of them: every one takes seconds."""
    for a, b in [("smollm2-base-fold-5", "smollm2-soft-cross-entropy-fold-5-seed-1")]:
        found = runner.compare(
            runs[a],
            runs[b],
            keyring=folder / "keyring.json",
            benchmark=folder / "benchmark.yaml",
            data_dir=scruples,
        )["tasks"]["dilemmas"]
        recorded = results.comparisons[f"{a} | {b}"]
        for part in ("metrics", "skills"):
            for metric, row in recorded[part].items():
                expected = {key: value for key, value in row.items() if isinstance(value, float)}
                assert {key: found[part][metric][key] for key in expected} == pytest.approx(expected, abs=1e-12)


def test_a_crossfitted_card_is_the_five_runs_that_did_not_see_the_fold(runs: dict[str, Path], results: Any) -> None:
    crossfitted = [name for name in runs if name.endswith("-crossfit")]
    assert crossfitted
    for name in crossfitted:
        parts = [name.replace("-crossfit", f"-fold-{fold}-seed-1") for fold in range(1, 6)]
        rows = [row for part in parts for row in read_answers(runs[part])]
        assert sorted(read_answers(runs[name])) == sorted(rows)
        assert results.block(name)["items"] == sum(results.block(part)["items"] for part in parts) == 2340


def read_answers(run: Path) -> list[tuple[str, int | None, str]]:
    """Item, order and scores of each row of a run."""
    lines = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(str(row["item_id"]), row.get("order"), json.dumps(row["log_scores"])) for row in rows]


def test_no_text_of_an_item_and_no_private_key_is_committed(
    folder: Path, runs: dict[str, Path], scruples: Path
) -> None:
    lines = (scruples / "dev.scruples-dilemmas.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {action["description"] for line in lines for action in json.loads(line)["actions"]}
    parts = {part for text in texts for part in runs_of_words(text)}
    files = [*folder.rglob("*"), *(file for run in runs.values() for file in run.iterdir())]
    for file in files:
        if file.is_file() and file.suffix not in (".xz", ".pyc"):  # Python's own files are in no commit
            content = file.read_text(encoding="utf-8")
            assert "PRIVATE KEY" not in content, file
            assert parts.isdisjoint(runs_of_words(content)), file


def runs_of_words(text: str, length: int = 8) -> Iterator[str]:
    """Every eight words that follow each other."""
    words = text.split()
    yield from (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))


def test_intervals_over_seeds_widen_with_the_seeds_spread(modules: Any) -> None:
    """Equal seeds leave the items' interval; seeds apart by far more than the items' error, Student's t of theirs."""
    results = sys.modules["results"]
    alike = results.over_seeds([{"difference": 0.1, "standard_error": 0.02}] * 3, 10_000)
    assert (alike.upper - alike.lower) / 2 == pytest.approx(1.96 * 0.02, rel=1e-3)
    apart = results.over_seeds([{"difference": value, "standard_error": 1e-9} for value in (1.0, 2.0, 3.0)], 10_000)
    assert (apart.upper - apart.lower) / 2 == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert apart.value == pytest.approx(2.0)
