"""Every file under examples/ is a test; those in invalid/ name their faults: `# expect: CODE line:column`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import EXAMPLES

from runner.config import check_file, load_benchmark, load_recipe, load_submission
from runner.config.detect import kind_of
from runner.config.source import BENCHMARK_BYTES, read
from runner.config.sweep import load_sweep

EXPECTED = re.compile(r"^# expect: (\S+) (\d+):(\d+)$", re.MULTILINE)
VALID = sorted(path for path in (EXAMPLES / "valid").glob("*.yaml"))
INVALID = sorted(path for path in (EXAMPLES / "invalid").rglob("*.yaml") if EXPECTED.search(path.read_text("utf-8")))

# Where a comment would itself change the fault.
BYTES = {
    "empty": (b"", "YAML_SYNTAX", (1, 1)),
    "only-a-comment": (b"# nothing\n", "YAML_SYNTAX", (1, 1)),
    "byte-order-mark": (b"\xef\xbb\xbfname: x\n", "YAML_ENCODING", (1, 1)),
    "utf-16": ("name: x\n".encode("utf-16"), "YAML_ENCODING", (1, 1)),
    "utf-32": ("name: x\n".encode("utf-32"), "YAML_ENCODING", (1, 1)),
    "latin-1": ("name: x\ndescription: é\n".encode("latin-1"), "YAML_ENCODING", (2, 14)),
    "latin-1-after-carriage-returns": ("a: b\r\nc: d\re: é".encode("latin-1"), "YAML_ENCODING", (3, 4)),
    "null-byte": (b"name: x\x00\n", "YAML_ENCODING", (1, 8)),
    "escape-sequence": (b"name: x\ndescription: \x1b[31m\n", "YAML_ENCODING", (2, 14)),
    "next-line": ("name: x\ndescription: a\u0085b\n".encode(), "YAML_ENCODING", (2, 15)),
    "long-version": (b"%YAML " + b"1" * 5000 + b".2\n---\na: b\n", "YAML_SYNTAX", (1, 7)),
    "large": (b"name: " + b"x" * (64 << 10) + b"\n", "YAML_TOO_LARGE", (1, 1)),
    "large-benchmark": (b"datasets: " + b"x" * (1 << 20) + b"\n", "YAML_TOO_LARGE", (1, 1)),
}


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_files_have_no_fault(path: Path) -> None:
    assert check_file(path) == ()
    kind = kind_of(read(path, BENCHMARK_BYTES))
    if kind == "sweep":
        assert load_sweep(path).items
        return
    load = {"benchmark": load_benchmark, "submission": load_submission, "recipe": load_recipe}
    assert load[kind](path).source == path.read_bytes()


@pytest.mark.parametrize("path", INVALID, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_invalid_files_have_exactly_the_named_faults_at_their_places(path: Path) -> None:
    expected = [
        (code, int(line), int(column)) for code, line, column in EXPECTED.findall(path.read_text(encoding="utf-8"))
    ]
    faults = check_file(path)
    assert [(fault.code, fault.line, fault.column) for fault in faults] == expected, "\n".join(map(str, faults))
    assert {fault.file for fault in faults} == {str(path)}


def test_no_yaml_example_is_left_out() -> None:
    folders = {path.parent.name for path in INVALID}
    kinds = ("yaml", "submission", "recipe", "benchmark", "sweep")
    assert set(kinds) <= folders
    for folder in kinds:
        assert {path for path in INVALID if path.parent.name == folder} == set(
            (EXAMPLES / "invalid" / folder).glob("*.yaml")
        )


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_no_comment_can_describe(name: str, tmp_path: Path) -> None:
    data, code, place = BYTES[name]
    path = tmp_path / f"{name}.yaml"
    path.write_bytes(data)
    faults = check_file(path)
    assert [(fault.code, (fault.line, fault.column)) for fault in faults] == [(code, place)]


def test_a_long_submission_is_refused_even_where_its_yaml_is_right(tmp_path: Path) -> None:
    path = tmp_path / "submission.yaml"
    text = (EXAMPLES / "valid" / "submission-quoted.yaml").read_bytes()
    path.write_bytes(text + b"#" * ((64 << 10) - len(text)))
    assert check_file(path) == ()
    path.write_bytes(path.read_bytes() + b"#")
    assert [fault.code for fault in check_file(path)] == ["YAML_TOO_LARGE"]


def test_what_is_not_a_file(tmp_path: Path) -> None:
    def code(path: Path) -> list[str]:
        return [fault.code for fault in check_file(path)]

    assert code(tmp_path / "nowhere.yaml") == ["FILE_MISSING"]
    assert code(tmp_path) == ["FILE_NOT_REGULAR"]
    assert code(tmp_path / "a\0b") == ["FILE_MISSING"]
    assert code(tmp_path / ("a" * 300)) == ["FILE_UNREADABLE"]
    (tmp_path / "file").touch()
    assert code(tmp_path / "file" / "below.yaml") == ["FILE_UNREADABLE"]


@pytest.mark.slow
def test_validation_needs_neither_torch_nor_numpy() -> None:
    script = f"""
import sys
from pathlib import Path
from runner.report.faults import render
from runner.config import check_file
assert not check_file(Path({str(EXAMPLES / "valid" / "benchmark-small.yaml")!r}))
faults = check_file(Path({str(EXAMPLES / "invalid" / "submission" / "typo.yaml")!r}))
assert len(faults) == 1
for format in ("rich", "json", "github"):
    assert render(faults, format)
heavy = {{"torch", "transformers", "peft", "safetensors", "numpy", "scipy", "requests", "urllib.request"}}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
