"""A site: whole, the same every time, without a text that nobody gave data for, and no card that does not verify."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from support.html_reader import tag, tree

from runner.archive.add import add
from runner.archive.index import read_index
from runner.archive.store import Store, open_store
from runner.cli import main
from runner.core import resources
from runner.core.errors import InvalidInput
from runner.evaluation import run_dir
from runner.evaluation.baselines import write_baseline
from runner.evaluation.score import score_file
from runner.report.site import Settings, build_site
from runner.report.site.folder import MARKER
from runner.scorecard import filenames
from runner.signing.keyring import Keyring
from runner.tasks.predictions import to_line
from runner.tasks.selection import RunConfig, select

TRIAL = Settings(include_trial=True)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, drawing: Any, key: Any) -> list[Path]:
    """Two runs on the Dilemmas of the sample, and the baseline uniform."""
    folder = tmp_path_factory.mktemp("site")
    choice = RunConfig(resources.benchmark_file(), "sample", tasks=("dilemmas",))
    write_baseline("uniform", choice, folder / "uniform.jsonl")
    for name, seed in (("invented", 1), ("other", 2)):
        lines = map(to_line, drawing.example_rows(select(choice), seed=seed))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return [
        score_file(folder / f"{name}.jsonl", choice, None, folder / "runs", None, lambda: key)[0]
        for name in ("invented", "other", "uniform")
    ]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, runs: list[Path], keyring: Keyring) -> Store:
    store = open_store(str(tmp_path_factory.mktemp("site-archive") / "archive"))
    add(store, runs, keyring)
    return store


@pytest.fixture
def small(tmp_path: Path, runs: list[Path], keyring: Keyring) -> Store:
    """An archive of one card."""
    store = open_store(str(tmp_path / "small"))
    add(store, runs[:1], keyring)
    return store


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, store: Store, keyring: Keyring) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    assert build_site(store, keyring, folder, TRIAL).damage == ()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sample_texts() -> set[str]:
    """The texts of the sample's Dilemmas."""
    file = resources.embedded_data("sample") / "test.sample-dilemmas.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {action["description"] for row in rows for action in row["actions"]}


# --- what it holds ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_link_leads_to_a_page_and_every_anchor_to_a_place(site: Path) -> None:
    roots = {path: tree(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    places = {path: {element.get("id") for element in root.iter()} for path, root in roots.items()}
    linked = {site / "index.html"}
    for path, root in roots.items():
        for element in root.iter("a"):
            address, _, anchor = (element.get("href") or "").partition("#")
            assert ":" not in address, (path, address)
            target = (path.parent / address).resolve() if address else path
            assert target.is_file(), (path, address)
            linked.add(target)
            if anchor and target.suffix == ".html":
                assert anchor in places[target], (path, address, anchor)
    # Nothing lies there that no reader finds.
    assert {path.resolve() for path in roots} <= {path.resolve() for path in linked}
    kinds = {path.parent.name for path in roots}
    assert {"cards", "boards", "comparisons"} <= kinds


@pytest.mark.slow
def test_the_same_archive_gives_the_same_bytes(site: Path, store: Store, keyring: Keyring, tmp_path: Path) -> None:
    build_site(store, keyring, tmp_path / "again", TRIAL)
    assert contents(tmp_path / "again") == contents(site)


@pytest.mark.slow
def test_no_text_of_an_item_is_there_unless_data_was_named(
    site: Path, store: Store, keyring: Keyring, tmp_path: Path
) -> None:
    texts = sample_texts()
    assert len(texts) > 20
    plain = "\n".join(data.decode() for data in contents(site).values())
    assert not [text for text in texts if text in plain]
    build_site(store, keyring, tmp_path / "with", Settings(include_trial=True, data_dir=tmp_path))
    shown = [
        "".join(tree(path.read_text(encoding="utf-8")).itertext())
        for path in (tmp_path / "with" / "items").rglob("part-*.html")
    ]
    assert all(any(text in page for page in shown) for text in texts)


@pytest.mark.slow
def test_pages_forbid_themselves_everything_but_their_own_script(site: Path) -> None:
    scripts = 0
    for path in site.rglob("*.html"):
        root = tree(path.read_text(encoding="utf-8"))
        policy = next(
            element.get("content") or ""
            for element in root.iter("meta")
            if element.get("http-equiv") == "Content-Security-Policy"
        )
        found = list(root.iter("script"))
        scripts += len(found)
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert ("script-src 'sha256-" in policy) == bool(found)
        assert "unsafe" not in policy
        assert not [name for element in root.iter() for name in element.attrib if str(name).startswith("on")]
        assert not [element for element in root.iter() if element.get("src") or element.get("style")]
    assert scripts > 0
    script = (Path(resources.__file__).parents[1] / "report/html/templates/table.js.j2").read_text(encoding="utf-8")
    assert len(script.splitlines()) < 100


@pytest.mark.slow
def test_the_items_of_a_page_say_what_people_and_both_models_said(site: Path, runs: list[Path]) -> None:
    rows: dict[str, list[list[float]]] = {}
    for line in (runs[0] / "predictions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["task"] == "dilemmas" and row["split"] == "test":
            weights = [math.exp(score) for score in row["log_scores"]]
            rows.setdefault(row["item_id"], []).append([weight / sum(weights) for weight in weights])
    sections = [
        element
        for page in site.glob("items/dilemmas-test-*/part-*.html")
        for element in tree(page.read_text(encoding="utf-8")).iter("section")
        if "item" in (element.get("class") or "").split()
    ]
    assert len(sections) == len(rows)
    for section in sections:
        item = "".join(section.find("h2").itertext()).split()[-1]
        table = {
            "".join(row[0].itertext()): [float(data.get("value") or "") for data in row.iter("data")]
            for row in section.find("table").find("tbody")
        }
        assert {"People", "Other people", "invented", "other"} == table.keys()
        mean = [sum(shares[label] for shares in rows[item]) / len(rows[item]) for label in (0, 1)]
        assert table["invented"] == pytest.approx(mean)


def test_a_comparison_lists_what_b_fixed_and_broke(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (site / "comparisons").glob("*.html")]
    # Against the first of the board, and both against the baseline.
    assert len(pages) == 3
    text = " ".join("".join(tree(pages[0]).itertext()).split())
    assert re.search(r"B fixed: \d+", text)
    assert re.search(r"B broke: \d+", text)


def test_the_feed_and_the_badges_are_xml_that_names_the_cards(
    site: Path, small: Store, keyring: Keyring, tmp_path: Path
) -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    feed = ElementTree.parse(site / "feed.xml").getroot()
    assert feed.tag == f"{atom}feed"
    assert [len(feed.findall(f"{atom}{name}")) for name in ("id", "title", "updated", "author")] == [1, 1, 1, 1]
    entries = feed.findall(f"{atom}entry")
    assert len(entries) == 3
    for entry in entries:
        href = entry.find(f"{atom}link").get("href")  # type: ignore[union-attr]
        assert (site / str(href)).is_file()
        assert (entry.findtext(f"{atom}id") or "").startswith("urn:sha256:")
    badges = list((site / "badges").glob("*.svg"))
    assert len(badges) == 2  # the baseline is a reference
    for badge in badges:
        text = "".join(ElementTree.parse(badge).getroot().itertext())
        assert "trial: " in text
        assert " of 2" in text
    build_site(small, keyring, tmp_path / "there", Settings(url="https://example.org/board"))
    absolute = ElementTree.parse(tmp_path / "there" / "feed.xml").getroot()
    assert {link.get("href") for link in absolute.iter(f"{atom}link")} > {"https://example.org/board/index.html"}


# --- strangers -------------------------------------------------------------------------------------------------------

_HOSTILE = "<script>alert(1)</script>]]>&\"'\u202e\ufffe{{ 7*7 }}"


@pytest.mark.slow
def test_names_of_strangers_stay_text_everywhere(runs: list[Path], key: Any, keyring: Keyring, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(runs[0], renamed)
    card = json.loads((renamed / filenames.CARD).read_text(encoding="utf-8"))
    card["submission"]["name"] = _HOSTILE
    for name in (filenames.BUNDLE, filenames.CARD):
        (renamed / name).unlink()
    run_dir.write_card(renamed, card, key)
    hostile = open_store(str(tmp_path / "archive"))
    add(hostile, [renamed], keyring)
    folder = tmp_path / "site"
    build_site(hostile, keyring, folder, TRIAL)
    named = 0
    for path in folder.rglob("*.html"):
        root = tree(path.read_text(encoding="utf-8"))
        scripts = [element for element in root.iter() if tag(element) == "script"]
        assert all("alert" not in "".join(element.itertext()) for element in scripts)
        assert len(scripts) <= 1
        named += "<script>alert(1)</script>" in "".join(root.itertext())
    assert named > 5
    for path in (folder / "feed.xml", *folder.rglob("*.svg")):
        root = ElementTree.parse(path).getroot()
        assert not [element for element in root.iter() if str(element.tag).endswith("script")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["invented", "uniform"])
def test_a_card_that_does_not_verify_has_no_page_and_no_rank(
    store: Store, keyring: Keyring, tmp_path: Path, name: str
) -> None:
    shutil.copytree(store.address, tmp_path / "archive")
    damaged = open_store(str(tmp_path / "archive"))
    entry = next(one for one in read_index(damaged).entries if one.summary["name"] == name)
    predictions = entry.files["predictions"]
    (path,) = (tmp_path / "archive" / "predictions").rglob(f"{predictions}.jsonl.xz")
    path.write_bytes(b"nothing")
    # With data the board notices by itself; without, the walk over the cards does.
    settings = Settings(include_trial=True, data_dir=tmp_path if name == "uniform" else None)
    built = build_site(damaged, keyring, tmp_path / "site", settings)
    assert (built.cards, built.refused) == (2, 1)
    assert len(built.damage) == 1
    assert not (tmp_path / "site" / "cards" / f"{entry.card}.html").exists()
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "ARCHIVE_DAMAGED" in index
    assert entry.card not in re.sub(
        r"<section class=\"sheet\" aria-labelledby=\"apart\">.*?</section>", "", index, flags=re.S
    )
    for board in (tmp_path / "site" / "boards").glob("*.html"):
        assert entry.card not in board.read_text(encoding="utf-8")
        assert ("invented" in board.read_text(encoding="utf-8")) == (name == "uniform")


# --- the folder ------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_site_is_left_alone(store: Store, keyring: Keyring, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(own)
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / MARKER).write_text("{}", encoding="utf-8")
    for folder in (own, tmp_path / "file", tmp_path / "link", fake):
        before = contents(tmp_path)
        with pytest.raises(InvalidInput, match="OUTPUT_EXISTS"):
            build_site(store, keyring, folder, TRIAL)
        assert contents(tmp_path) == before


@pytest.mark.slow
def test_a_site_is_replaced_as_a_whole_or_stays(small: Store, keyring: Keyring, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "site"
    folder.mkdir(parents=True)  # an empty folder is nobody's
    build_site(small, keyring, folder, TRIAL)
    (folder / "old.html").write_text("of a card that is gone", encoding="utf-8")
    before = contents(folder)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "items":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_site(small, keyring, folder, TRIAL, stop)
    assert contents(folder) == before
    build_site(small, keyring, folder, TRIAL)
    assert contents(folder).keys() == before.keys() - {"old.html"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["site"]


# --- the command -----------------------------------------------------------------------------------------------------


def command(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.mark.slow
def test_the_command_says_where_and_how_it_ended(
    store: Store, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.cli.options.trusted_keys", lambda file: keyring)
    monkeypatch.chdir(tmp_path)
    done = command("site", store.address, "--quiet")
    assert done.stdout == "site/index.html\n"
    assert "There is no card that can be ranked." in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    command("site", store.address, "--url", "javascript:alert(1)", code=2)
    command("site", tmp_path / "nothing", code=1)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "OUTPUT_EXISTS" in command("site", store.address, "--output-dir", "file", code=1).output
    assert "OUTPUT_UNWRITABLE" in command("site", store.address, "--output-dir", "file/below", code=3).output


def test_a_file_elsewhere_that_fails_is_not_taken_for_the_output(
    small: Store, keyring: Keyring, tmp_path: Path
) -> None:
    def lose(stage: str, done: int, total: int) -> None:
        (tmp_path / "no such file").read_bytes()

    with pytest.raises(FileNotFoundError, match="no such file"):
        build_site(small, keyring, tmp_path / "site", TRIAL, lose)
    assert not (tmp_path / "site").exists()
