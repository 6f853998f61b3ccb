"""The archive and leaderboard commands as their users have them: words, formats, exit codes."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.card_factory import People, keyring_document
from support.command import Command
from support.forked import Forked

from runner.archive.index import name_of
from runner.cli import archive, main
from runner.core.canonical import sha256_file
from runner.scorecard import filenames

Make = Callable[..., Path]


Run = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command line in this process; what is no `SystemExit` is raised."""
    for name, value in Command(tmp_path).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object, code: int = 0) -> Result:
        found = CliRunner().invoke(main, list(map(str, arguments)), prog_name="benchmark", catch_exceptions=False)
        assert found.exit_code == code, found.output
        return found

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def keyring(tmp_path: Path, people: People) -> Path:
    path = tmp_path / "trusted_keys.json"
    path.write_text(json.dumps(keyring_document(*people.entries)))
    return path


@pytest.fixture
def pem(tmp_path: Path, people: People) -> Path:
    path = tmp_path / "maintainer.pem"
    path.touch(mode=0o600)
    path.write_bytes(people.maintainer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.mark.slow
def test_the_life_of_an_archive(
    command: Run, make: Make, keyring: Path, pem: Path, people: People, tmp_path: Path
) -> None:
    first, second = make("first", 0.55), make("second", 0.60, key=people.verifier)
    said = command("archive", "add", "kept", first, second, "--keyring", keyring, "--key", pem).stdout
    assert [line.split(": ")[1] for line in said.splitlines()] == ["entry 1", "entry 2"]
    assert "there already" in command("archive", "add", "kept", first, "--keyring", keyring).stdout
    assert command("archive", "add", "kept", first, "--keyring", keyring, "--quiet").stdout == ""

    listed = json.loads(command("archive", "list", "kept", "--format", "json").stdout)
    assert [entry["summary"]["name"] for entry in listed] == ["first", "second"]
    assert listed[1]["previous"] == listed[0]["sha256"] == sha256_file(tmp_path / "kept" / name_of(1))
    table = command("archive", "list", "kept").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "first" in table

    found = json.loads(command("archive", "check", "kept", "--keyring", keyring, "--format", "json").stdout)
    assert found["whole"]
    assert found["cards_per_second"] > 0
    assert found["signed_head"]["sequence"] == 2
    head = found["head"]
    assert head in command("archive", "check", "kept", "--keyring", keyring, "--expect-head", head).stdout

    digest = sha256_file(first / filenames.BUNDLE)
    place = command("archive", "get", "kept", digest[:12], "--output-dir", "back").stdout.splitlines()[-1]
    command("verify", place, "--keyring", keyring)
    assert "No card" in command("archive", "get", "kept", "third", code=1).stderr

    shown = command("leaderboard", "kept", "--keyring", keyring).stdout
    assert shown.index("independently reproduced") < shown.index("self-reported")
    for name in archive._FORMATS[1:]:
        assert "second" in command("leaderboard", "kept", "--keyring", keyring, "--format", name).stdout

    (tmp_path / "kept" / name_of(1)).unlink()
    broken = command("archive", "check", "kept", "--keyring", keyring, code=4)
    assert "ARCHIVE_GAP" in broken.stderr
    assert "whole" not in broken.stdout
    command("archive", "list", "kept", code=4)
    ranking = command("leaderboard", "kept", "--keyring", keyring, code=4).stdout
    assert ranking.startswith("DAMAGED")


def test_a_forged_card_is_refused_with_four(
    command: Run, make: Make, keyring: Path, people: People, tmp_path: Path
) -> None:
    forged = make("forged", 0.1, key=people.stranger)
    assert "SIG_UNTRUSTED" in command("archive", "add", "kept", forged, "--keyring", keyring, code=4).stderr
    assert not (tmp_path / "kept").exists()


def test_what_is_no_archive_is_told(command: Run, keyring: Path) -> None:
    for arguments in (["archive", "list"], ["archive", "check"], ["leaderboard"]):
        more = [] if arguments[-1] == "list" else ["--keyring", keyring]
        assert "ARCHIVE_MISSING" in command(*arguments, "nothing-here", *more, code=1).stderr


@pytest.mark.slow
def test_real_cards_from_prediction_to_rank(scruples: Path, tmp_path: Path) -> None:
    """Real Dilemmas, the user's own key: a limited card stays apart, numbers are rebuilt, a forger gets nowhere."""
    command = Forked(tmp_path)
    data = ["--task", "dilemmas", "--split", "dev", "--data-dir", scruples]
    for name in ("uniform", "panel"):
        command("baseline", name, *data, "-o", f"{name}.jsonl")
    runs = [
        command("score", f"{name}.jsonl", *data, "-o", "results", "-q").stdout.splitlines()[-1]
        for name in ("uniform", "panel")
    ]
    rows = (tmp_path / "panel.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(rows[:50]))
    runs.append(command("score", "few.jsonl", *data, "--limit", "50", "-o", "results", "-q").stdout.splitlines()[-1])
    command("archive", "add", "kept", *runs, "--recompute", "--data-dir", scruples)
    board = json.loads(command("leaderboard", "kept", "--data-dir", scruples, "--format", "json").stdout)
    (group,) = board["groups"]
    assert [row["name"] for row in group["sections"][0]["rows"]] == ["panel", "uniform"]
    assert all(row["paired"] and row["best"] == row["worst"] for row in group["sections"][0]["rows"])
    assert [(one["name"], one["kind"]) for one in board["apart"]] == [("few", "not comparable")]

    stranger = Forked(tmp_path / "elsewhere")
    stranger.home.mkdir()
    forged = stranger("score", tmp_path / "panel.jsonl", *data, "-q").stdout.splitlines()[-1]
    command("archive", "add", "kept", stranger.home / forged, code=4)
