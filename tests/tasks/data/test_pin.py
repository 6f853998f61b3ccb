"""`data pin` writes rows and digests, and nothing else; `init` copies what lies elsewhere and overwrites nothing."""

import hashlib
import re
from pathlib import Path

import pytest
from support.paths import TESTS

from runner.config import load_benchmark
from runner.config.detect import check_file
from runner.core.errors import InvalidInput
from runner.tasks.data.pin import pin_benchmark
from runner.tasks.data.propose import propose

DISHES = TESTS / "benchmarks" / "dishes.yaml"
DATA = (TESTS / "benchmarks" / "data" / "dishes.csv").read_bytes()
SHA256 = hashlib.sha256(DATA).hexdigest()
WRITTEN = f'rows: 24, sha256: "{SHA256}"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dishes.csv").write_bytes(DATA)
    return tmp_path


def pinned(folder: Path, change: tuple[str, str]) -> str:
    """The text of the benchmark after one change (a regular expression and what is put there) and `pin`."""
    text = DISHES.read_text(encoding="utf-8")
    changed = re.sub(change[0], lambda _: change[1], text)
    assert changed != text
    path = folder / "benchmark.yaml"
    path.write_text(changed, encoding="utf-8")
    pin_benchmark(path, None)
    assert load_benchmark(path).datasets["dishes"].splits["test"].sha256 == SHA256
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        (r", rows: 24, sha256: \"\w+\"", ""),
        (r"rows: 24", "rows: 1000000"),
        (r"sha256: \"\w+\"", f'sha256: "{"0" * 64}"'),
        (r"sha256: \"\w+\"", f"git_blob: {'ab' * 20}"),
        (r", rows: 18}", "}"),
        (r", rows: 18}", ", rows: 1}"),
        (r", rows: 24, sha256: \"\w+\"", ", rows: 1, git_blob: '" + "0" * 40 + "'"),
    ],
)
def test_whatever_stood_there_the_same_is_written(change: tuple[str, str], folder: Path) -> None:
    text = pinned(folder, change).replace("file: dishes.csv, sha256", "file: dishes.csv, rows: 24, sha256")
    assert text.count(WRITTEN) == 2
    assert re.sub(r"(, )?rows: \d+", "", text) == re.sub(r"(, )?rows: \d+", "", DISHES.read_text(encoding="utf-8"))
    assert load_benchmark(DISHES).digest == load_benchmark(folder / "benchmark.yaml").digest


def test_lines_of_their_own_and_comments_stay(folder: Path) -> None:
    block = """test:
        # the first of two
        file: dishes.csv  # beside this file
        folds:
          number: 4
          take: [1, 2, 3]
          seed: 1  # of the hash
"""
    text = pinned(folder, (r"test: {file[^\n]*\n", block))
    assert f'file: dishes.csv  # beside this file\n        rows: 24\n        sha256: "{SHA256}"\n' in text
    assert "seed: 1  # of the hash\n          rows: 18\n" in text
    assert "# the first of two" in text


def test_where_anything_is_wrong_nothing_is_written(folder: Path) -> None:
    for content, code in ((b"", "DATA_ROWS"), (b"\x28\xb5\x2f\xfd", "DATA_ENCODING"), (None, "DATA_MISSING")):
        (folder / "data" / "dishes.csv").unlink()
        if content is not None:
            (folder / "data" / "dishes.csv").write_bytes(content)
        path = folder / "benchmark.yaml"
        path.write_bytes(DISHES.read_bytes())
        with pytest.raises(InvalidInput) as refused:
            pin_benchmark(path, None)
        assert {fault.code for fault in refused.value.faults} == {code}
        assert path.read_bytes() == DISHES.read_bytes()
        (folder / "data" / "dishes.csv").write_bytes(DATA)


def test_folds_that_nothing_falls_into(folder: Path) -> None:
    (folder / "data" / "dishes.csv").write_bytes(b"\n".join(DATA.splitlines()[:2]))
    path = folder / "benchmark.yaml"
    path.write_bytes(DISHES.read_bytes())
    with pytest.raises(InvalidInput) as refused:
        pin_benchmark(path, None)
    (fault,) = refused.value.faults
    assert (fault.code, "none of the 1 rows" in fault.message) == ("DATA_FOLDS", True)


@pytest.mark.parametrize("folder", ["n", "true", "2026-01", "Größe & Co"])
@pytest.mark.parametrize("file", ["größe.csv", 'a "b".csv', "-a.csv", "a, b.csv"])
def test_init_finds_names_that_a_benchmark_may_hold(folder: str, file: str, tmp_path: Path) -> None:
    long = b"a name of a column that is far longer than any label may be, " * 2
    (tmp_path / file).write_bytes(DATA.replace(b"mild", b'"' + long + b'"'))
    path, _ = propose(tmp_path / folder, tmp_path / file)
    pin_benchmark(path, None)
    assert {fault.code for fault in check_file(path)} == {"GAP"}
    inside = tmp_path / folder / file
    inside.write_bytes(DATA)
    path.unlink()
    with pytest.raises(InvalidInput, match="DATA_NAME"):
        propose(tmp_path / folder, inside)


def test_init_copies_what_lies_elsewhere_and_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_bytes(DATA)
    path, _ = propose(tmp_path / "own", tmp_path / "votes.csv")
    assert (tmp_path / "own" / "data" / "votes.csv").read_bytes() == DATA
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="BENCHMARK_EXISTS"):
        propose(tmp_path / "own", tmp_path / "votes.csv")
    assert path.read_bytes() == before
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "votes.csv").write_bytes(DATA)
    path, _ = propose(tmp_path / "inside", tmp_path / "inside" / "votes.csv")
    assert sorted(file.name for file in (tmp_path / "inside").iterdir()) == ["benchmark.yaml", "votes.csv"]
    with pytest.raises(InvalidInput, match="DATA_MISSING"):
        propose(tmp_path / "other", tmp_path / "none.csv")
