"""What the documents say can be done, can be done; what they name, is there."""

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
from support.paths import ROOT

from runner.cli import main

FENCE = re.compile(r"^(?P<mark><!-- \w+ -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
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
    sentence = re.search(r"Exit codes:(.*?)Tab completion", readme, re.DOTALL)
    assert sentence is not None
    assert re.findall(r"(?:^|· )\s*(\d) ", sentence[1].strip(), re.MULTILINE)[:6] == list("012345")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    gone = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not gone


def test_the_tree_in_contributing_is_the_tree() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Where things are\n")[1].strip("\n").split("\n\n")[0]
    names = [line.split()[0] for line in section.splitlines()]
    assert len(names) > 5
    for name in names:
        path = ROOT / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), name
    top = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert {name for name in top if not name.startswith(".")} == {name.rstrip("/") for name in names if name[-1] == "/"}
    for mentioned in re.findall(r"`((?:runner|tests|docs|schemas|requirements)/[\w./-]+)`", text):
        assert (ROOT / mentioned).exists(), mentioned


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """Neither the folder of the checkout, nor anybody's home."""
    here = f"{ROOT}/".encode() if len(ROOT.parts) > 2 else None
    somebody = re.compile(rb"(?<![\w.])/(?:home|Users)/(?!(?:user|you|worker|runner|somebody)\b)[a-z]\w+/")
    for path in tracked():
        data = path.read_bytes()
        assert here is None or here not in data, path
        assert not somebody.search(data), path
