"""Change the program at random places and see whether the fast tests notice: make mutants [SAMPLE=40] [ROOM=signing].

Every change that no test noticed is printed. Those that are the same program are listed in equal.json, with why.
mutmut makes the changes, finds the tests that run a changed function, and runs those in a fork. A seed draws the
sample. What people read is left alone: a change of a text with spaces, of an annotation or of a docstring is no mutant.
With REPLAY=1 only those that the last run left unnoticed are tried again, after a test was written for them.
Exit code 1: fewer than nine of ten were noticed.
"""

import argparse
import ast
import difflib
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mutmut.configuration import reset_config
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "results" / "mutants"
PAGE = ROOT / "CONTRIBUTING.md"
EQUAL = Path(__file__).with_name("equal.json")
BESIDE = ("schemas", "submissions", "docs", "requirements", "benchmark.yaml", "README.md")
ENOUGH = 0.9
MUTMUT = "from mutmut.__main__ import cli; cli()"  # as its command does; `-m` would read that module twice


@dataclass(frozen=True)
class Room:
    """What is changed, and which tests must notice."""

    sources: tuple[str, ...]
    """Patterns of files below the checkout."""
    tests: tuple[str, ...]
    """Files and folders; their slow tests are left out."""


ROOMS = {
    "signing": Room(("runner/signing/*.py",), ("tests/signing", "tests/conformance/test_conformance.py")),
    "scoring": Room(("runner/scoring/*.py",), ("tests/scoring",)),
    "core": Room(("runner/core/*.py",), ("tests/core",)),
    "archive": Room(
        ("runner/archive/*.py", "runner/archive/leaderboard/*.py"),
        (
            *(
                "tests/archive/test_archive.py",
                "tests/archive/test_archive_text.py",
                "tests/archive/test_archive_store.py",
            ),
            *("tests/archive/test_objects_bounds.py", "tests/archive/leaderboard"),
        ),
    ),
    "journal": Room(
        ("runner/evaluation/journal.py",),
        ("tests/evaluation/test_journal.py", "tests/evaluation/test_kept_thoughts.py"),
    ),
}


@dataclass(frozen=True)
class Mutant:
    """One small change of one function."""

    name: str
    """mutmut's name: module, function, number."""
    file: str
    before: str
    """Text of the function as it is."""
    after: str

    @property
    def diff(self) -> str:
        """The changed lines, with one line around them, under the file's name."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        return f"{self.file}\n" + "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))

    @property
    def key(self) -> str:
        """The change without its number, which moves when the function grows: file and changed lines."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=0)
        changed = [line[0] + line[1:].strip() for line in lines if not line.startswith(("---", "+++", "@@"))]
        return " ".join([self.file, *changed])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=40, help="mutants of each room; 0: all (hours)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="keep the mutants and the map of tests of the last run")
    parser.add_argument("--replay", action="store_true", help="only what the last run left unnoticed; implies --again")
    parser.add_argument("--write", action="store_true", help=f"write the rooms' rows into {PAGE.name}")
    parser.add_argument("rooms", nargs="*", help=", ".join(ROOMS))
    given = parser.parse_args()
    equal = json.loads(EQUAL.read_text(encoding="utf-8"))
    rows = []
    for name in given.rooms or list(ROOMS):
        started = time.monotonic()
        prepare(name, ROOMS[name], again=given.again or given.replay)
        sources = _digests(ROOMS[name])  # now: somebody may work on them while the tests run
        if given.replay:
            made, drawn = read_unnoticed(sources)
            MAP.unlink(missing_ok=True)  # a test of the same name may run other functions now
        else:
            drawn = list(itertools.islice(draw_mutants(ROOMS[name], given.seed), given.sample or None))
            made = len(drawn)
        codes = run_mutants([mutant.name for mutant in drawn], given.processes)
        unnoticed = [mutant for mutant in drawn if codes[mutant.name] in UNNOTICED]
        write_unnoticed(sources, made, unnoticed)
        same = [mutant for mutant in unnoticed if mutant.key in equal]
        for mutant in drawn:
            if status_by_exit_code[codes[mutant.name]] == "timeout":
                print(f"\n{mutant.name}: noticed by its time alone\n{mutant.diff}")
        for mutant in unnoticed:
            why = equal.get(mutant.key)
            print(f"\n{mutant.name}: {UNNOTICED[codes[mutant.name]]}{f'; the same program: {why}' if why else ''}")
            print(f"{mutant.diff}\n{json.dumps(mutant.key, ensure_ascii=False)}")
        row = {
            "room": name,
            "made": made,
            "noticed": made - len(unnoticed),
            "same program": len(same),
            "not noticed": len(unnoticed) - len(same),
        }
        rows.append(row)
        print(f"\n{row}, {time.monotonic() - started:.0f} s", flush=True)
    print("\n" + table(rows))
    if given.write:
        write(rows)
    noticed = sum(row["noticed"] for row in rows) / sum(row["made"] - row["same program"] for row in rows)
    return 0 if noticed >= ENOUGH else 1


UNNOTICED = {0: "every test passes", 5: "no test runs it", 33: "no test runs it"}


def draw_mutants(room: Room, seed: int) -> Iterator[Mutant]:
    """The room's mutants in a random order that the seed gives, without those that change words only.

    A mutant's place depends on its own name alone, so that a changed function leaves the draw of all others as it was.
    """
    from mutmut.__main__ import create_mutants_for_file  # here, since it reads the settings of the present folder

    possible = []
    for file in _sources(room):
        output = Path("mutants", file)
        output.parent.mkdir(parents=True, exist_ok=True)
        if (error := create_mutants_for_file(Path(file), output).error) is not None:
            raise error
        data = SourceFileMutationData(path=file)
        data.load()
        functions = _functions(file, output.read_text(encoding="utf-8"))
        possible += [(file, functions, name) for name in data.exit_code_by_key]
    possible.sort(key=lambda each: hashlib.sha256(f"{seed} {each[2]}".encode()).digest())
    for file, functions, name in possible:
        mutated = name.rpartition(".")[2]
        function = mutated.rpartition("__mutmut_")[0]
        before = functions[f"{function}__mutmut_orig"].replace(f"{function}__mutmut_orig", function)
        after = functions[mutated].replace(mutated, function)
        if _without_words(before) != _without_words(after):
            yield Mutant(name, file, before, after)


def _sources(room: Room) -> list[str]:
    return [str(path.relative_to(ROOT)) for pattern in room.sources for path in sorted(ROOT.glob(pattern))]


def _functions(file: str, code: str) -> dict[str, str]:
    """Every function of a file that mutmut wrote, as it is and changed, by its name there."""
    spans = MutantLineSpans.load(file)
    if spans is None:
        raise SystemExit(f"mutmut wrote no list of lines for {file}")
    lines = code.splitlines(keepends=True)
    named = spans.span_by_function_name.items()
    return {name: "".join(lines[span.start - 1 : span.end]).lstrip("\n") for name, span in named}


LAST = Path("unnoticed.json")
MAP = Path("mutants", "mutmut-stats.json")
"""Which test runs which functions."""


def write_unnoticed(sources: dict[str, str], made: int, unnoticed: list[Mutant]) -> None:
    """Keep what a replay tries again, in the room's folder."""
    last = {"made": made, "sources": sources, "unnoticed": [asdict(mutant) for mutant in unnoticed]}
    LAST.write_text(json.dumps(last, indent=1), encoding="utf-8")


def read_unnoticed(sources: dict[str, str]) -> tuple[int, list[Mutant]]:
    """How many the last run made, and those that it left unnoticed: of the very same sources only."""
    last: dict[str, Any] = json.loads(LAST.read_text(encoding="utf-8"))
    if last["sources"] != sources:
        raise SystemExit("The room's sources are not those of the last run: run it whole.")
    return last["made"], [Mutant(**mutant) for mutant in last["unnoticed"]]


def _digests(room: Room) -> dict[str, str]:
    return {file: hashlib.sha256(ROOT.joinpath(file).read_bytes()).hexdigest() for file in _sources(room)}


class _Words(ast.NodeTransformer):
    """Takes out of a tree what only people and type checkers read: texts with spaces, in arguments too, and casts."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) and " " in node.value else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        words = any(isinstance(part, ast.Constant) and " " in str(part.value) for part in node.values)
        return ast.Constant("") if words else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.args = [argument for argument in node.args if not _empty(argument)]
        node.keywords = [keyword for keyword in node.keywords if not _empty(keyword.value)]
        is_cast = isinstance(node.func, ast.Name) and node.func.id == "cast" and node.args
        return node.args[-1] if is_cast else node


def _empty(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in ("message", "hint")  # as every Fault's words are called
    return isinstance(node, ast.Constant) and node.value in ("", None)


def _without_words(source: str) -> str:
    """The program in a source of one function or method."""
    return ast.dump(_Words().visit(ast.parse(source if source[0] != " " else f"class _:\n{source}")))


def prepare(name: str, room: Room, *, again: bool) -> None:
    """Enter a folder of the room's own, with the settings that mutmut reads there; it copies what stands there."""
    work = WORK / name
    shutil.rmtree(work / "mutants" / "tests" if again else work, ignore_errors=True)
    if not work.is_dir():
        work.mkdir(parents=True)
        for each in ("runner", "tests", *BESIDE):
            work.joinpath(each).symlink_to(ROOT / each)
    work.joinpath("pyproject.toml").write_text(_settings(room), encoding="utf-8")
    os.chdir(work)
    reset_config()


def run_mutants(mutants: list[str], processes: int) -> dict[str, int]:
    """Exit codes of pytest for the mutants, by their names; mutmut runs in the present folder."""
    if not mutants:
        return {}  # without a name mutmut would run all
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MUTMUT, "run", "--max-children", str(processes), *mutants]
    with Path("log.txt").open("w") as log:
        done = subprocess.run(command, env=surroundings, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"mutmut ended with {done.returncode}:\n{Path('log.txt').read_text()[-3000:]}")
    codes: dict[str, int] = {}
    for meta in Path("mutants").rglob("*.meta"):
        codes.update(json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"])
    return {mutant: codes[mutant] for mutant in mutants}


def _settings(room: Room) -> str:
    """The project's own settings, and those of mutmut for a room."""
    lines = {
        "source_paths": ["runner"],
        "only_mutate": list(room.sources),
        "also_copy": list(BESIDE),
        "pytest_add_cli_args_test_selection": list(room.tests),
        "pytest_add_cli_args": ["-m", "not slow", "-p", "no:cacheprovider", "--durations=0"],
        "timeout_constant": 5.0,
    }
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
    return ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8") + f"\n[tool.mutmut]\n{settings}\n"


def table(rows: list[dict[str, str | int]]) -> str:
    """The rows as Markdown."""
    head = list(rows[0])
    cells = [head, ["---"] * len(head), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def write(rows: list[dict[str, str | int]]) -> None:
    """Put the rows in the place of those of the same rooms."""
    before, old, after = re.split(r"(?<=<!-- mutants -->\n)|(?=<!-- /mutants -->)", PAGE.read_text(encoding="utf-8"))
    lines = [line.strip("| ").split(" | ") for line in old.splitlines()]
    known = {cells[0]: dict(zip(rows[0], cells, strict=True)) for cells in lines[2:]}
    known |= {str(row["room"]): {name: str(value) for name, value in row.items()} for row in rows}
    in_order = [known[name] for name in ROOMS if name in known]
    PAGE.write_text(f"{before}{table(in_order)}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
