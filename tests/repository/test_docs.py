"""What the documents say can be done, can be done; what they name, is there."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path

import click
import pytest
from support.command import BENCHMARK, Command
from support.forked import Forked
from support.paths import ROOT

from runner.cli import main

FENCE = re.compile(r"^(?P<mark><!-- \w+ -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def tracked() -> list[Path]:
    """Files of the checkout as git knows them; without git, all that a reader would find."""
    try:
        found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [path for name in found.decode().split("\0") if name and (path := ROOT / name).is_file()]


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "submissions").rglob("*.md")])


def blocks(page: Path, kind: str = "sh", mark: str | None = None) -> list[str]:
    """Fenced blocks of a kind; with `mark`, those after such a comment."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [
        match["text"]
        for match in found
        if match["kind"] == kind and (mark is None or match["mark"] == f"<!-- {mark} -->\n")
    ]


def command_lines(page: Path) -> list[list[str]]:
    """The arguments of each `benchmark …` in the page's shell blocks, without comments and what follows a pipe."""
    lines = []
    for block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            words = list(shlex.shlex(line, posix=True, punctuation_chars="|;&<>"))
            if words and Path(words[0]).name == "benchmark":
                lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
                lexer.whitespace_split = True
                words = list(lexer)
                end = next((at for at, word in enumerate(words) if set(word) <= set("|;&<>")), len(words))
                lines.append(words[1:end])
    return lines


LINES = [(page, line) for page in PAGES for line in command_lines(page)]


def test_the_readme_has_commands_to_look_at() -> None:
    shown = {line[0] for page, line in LINES if page.name == "README.md"}
    assert {"validate", "evaluate", "score", "verify", "compare", "prompts", "ceiling", "data"} <= shown


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page.name}: {' '.join(line)}" for page, line in LINES])
def test_a_documented_command_line_is_understood(page: Path, line: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main, info_name="benchmark")
    arguments = line
    while isinstance(command, click.Group):
        name, child, arguments = command.resolve_command(context, arguments)
        assert child is not None, line
        context = click.Context(child, context, info_name=name)
        command = child
    command.make_context(line[0], arguments, parent=context.parent)


def test_the_list_of_commands_is_that_of_the_program(tmp_path: Path) -> None:
    [block] = blocks(ROOT / "README.md", "text", "help")
    shown = Command(tmp_path)("--help").stdout
    assert textwrap.dedent(block).strip() in textwrap.dedent(shown)
    assert {line.split()[0] for line in block.splitlines()[1:] if line.strip()} == set(main.commands)


def test_every_command_is_in_the_changelog_and_every_exit_code_in_the_readme() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"`{name}`" in changelog or f"`benchmark {name}" in changelog, name
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## Commands\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| (\d) \|", section, re.MULTILINE) == list("012345")


@pytest.mark.slow
def test_what_the_readme_shows_runs(tmp_path: Path) -> None:
    missing = [name for name in ("tiny-llama", "tiny-llama-lora") if not (ROOT / "submissions" / name).is_dir()]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not in this checkout")
    shutil.copytree(ROOT / "submissions", tmp_path / "submissions")
    shutil.copy(ROOT / "benchmark.yaml", tmp_path)
    environment = Command(tmp_path).environment()
    environment["PATH"] = f"{BENCHMARK.parent}{os.pathsep}{environment['PATH']}"
    shown = blocks(ROOT / "README.md", mark="run")
    assert shown
    for block in shown:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=900,
        )
        said = f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.returncode == 0, said
        assert "Traceback" not in done.stderr, said
    # What ran once must run again, over the results, cards and pages that are there by now.
    again = Forked(tmp_path)
    for line in "".join(shown).replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "benchmark", line
        again(*arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    gone = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not gone


def drawn_tree(heading: str) -> dict[str, str]:
    """The indented lines under a heading of CONTRIBUTING.md: each path, and what is said of it."""
    section = CONTRIBUTING.split(f"## {heading}\n")[1].split("\n## ")[0]
    [block, *_] = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    tree: dict[str, str] = {}
    parents: list[str] = []
    for line in textwrap.dedent(block).splitlines():
        name, _, purpose = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name]
        assert "".join(parents) not in tree, line
        tree["".join(parents)] = purpose.strip()
    return tree


def tracked_folders(top: str = "") -> set[str]:
    """Folders below `top` that hold a tracked file, as `runner/cli/`, without those whose name begins with a dot."""
    folders = {parent.as_posix() + "/" for path in tracked() for parent in path.relative_to(ROOT).parents}
    return {name for name in folders if name.startswith(top) and not name.startswith(".")}


def test_the_tree_in_contributing_is_the_tree() -> None:
    tree = drawn_tree("Where things are")
    for name in tree:
        path = ROOT / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), name
    assert {name for name in tracked_folders() if name.count("/") == 1} == {name for name in tree if name[-1] == "/"}
    for mentioned in re.findall(r"`((?:runner|tests|docs|schemas|requirements)/[\w./-]+)`", CONTRIBUTING):
        assert (ROOT / mentioned).exists(), mentioned


def test_every_room_of_the_package_is_in_the_tree_with_its_purpose() -> None:
    tree = drawn_tree("The rooms of the package")
    assert set(tree) == tracked_folders("runner/")
    assert all(tree.values())
    for folder, purpose in tree.items():
        for name in re.findall(r"[\w.]+\.py\b", purpose):
            assert (ROOT / folder / name).is_file(), f"{folder}{name}"


def test_tests_mirror_the_rooms_and_the_other_folders_are_listed() -> None:
    rooms = {name for name in tracked_folders("runner/") if name.count("/") == 2}
    others = {f"tests/{name}" for name in drawn_tree("The tests")}
    mirrored = {name.replace("runner/", "tests/", 1) for name in rooms - {"runner/embedded/"}}
    assert {name for name in tracked_folders("tests/") if name.count("/") == 2} == mirrored | others
    assert not mirrored & others


def test_the_layers_in_contributing_are_those_that_are_checked() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    checked = [line.strip() for line in config["importlinter:contract:layers"]["layers"].split("\n") if line.strip()]
    inside = [line.strip() for line in config["importlinter:contract:models"]["layers"].split("\n") if line.strip()]
    drawn = CONTRIBUTING.split("Imports point down only.")[1].split("\n\n")[1].splitlines()
    assert [line.strip().split("   ")[0] for line in drawn] == checked
    [models] = [line.split("inside models: ")[1] for line in drawn if "inside models" in line]
    assert models.split(" > ") == inside


def test_every_page_is_reached_by_links_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.is_file():  # a link that leads nowhere fails above
            reached.add(page)
            links = LINK.findall(page.read_text(encoding="utf-8"))
            waiting += [target for link in links if (target := (page.parent / link).resolve()).suffix == ".md"]
    assert set((ROOT / "docs").glob("*.md")) <= reached


@pytest.mark.slow
def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """Neither the folder of the checkout, nor anybody's home."""
    here = f"{ROOT}/".encode() if len(ROOT.parts) > 2 else None
    somebody = re.compile(rb"(?<![\w.])/(?:home|Users)/(?!(?:user|you|worker|runner|somebody)\b)[a-z]\w+/")
    for path in tracked():
        data = path.read_bytes()
        assert here is None or here not in data, path
        assert not somebody.search(data), path
