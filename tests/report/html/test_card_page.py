"""A card's page: every number is the card's, names stay text, nothing is loaded, and it says what is not known."""

import base64
import copy
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.html_reader import numbers, other_text, resolve, shows, tag, tree
from support.unseen import UNSEEN

from runner.cli import main
from runner.core import resources
from runner.core.errors import InvalidInput, VerificationError
from runner.evaluation.baselines import write_baseline
from runner.evaluation.score import score_file
from runner.report.html import card_page
from runner.report.html.card import verify_command
from runner.report.html.words import OTHER, in_order, strata_in_order, words
from runner.scorecard import filenames
from runner.scorecard.disagreements import ItemShares, histograms, item_shares, largest_differences
from runner.scorecard.load import OpenCard, open_card
from runner.scoring.metrics import METRICS
from runner.signing.keyring import Keyring
from runner.tasks.selection import RunConfig

Json = dict[str, Any]


@pytest.fixture(scope="session")
def differences(opened: OpenCard) -> Any:
    return largest_differences(opened, 4, None, None, show_texts=False)


@pytest.fixture(scope="session")
def bars(opened: OpenCard) -> Any:
    return {task: histograms(found) for task, found in item_shares(opened, None, None).items()}


@pytest.fixture(scope="session")
def page(opened: OpenCard, differences: Any, bars: Any) -> str:
    return card_page(opened, differences, None, bars)


def source(opened: OpenCard, differences: Any, bars: Any = None) -> Json:
    return {
        "card": opened.card,
        "environment": opened.environment,
        "items": {name: [one.to_json() for one in found] for name, found in differences.items()},
        "histograms": {
            task: {label: one.to_json() for label, one in labels.items()} for task, labels in (bars or {}).items()
        },
    }


# --- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_number_is_the_cards(page: str, opened: OpenCard, differences: Any, bars: Any) -> None:
    found = numbers(tree(page))
    assert len(found) > 500
    where = source(opened, differences, bars)
    for number in found:
        assert number.pointer is not None
        assert resolve(where, number.pointer) == number.value, number
        assert shows(number.text, number.value), number


def test_no_number_stands_outside_of_the_marked_ones(page: str) -> None:
    text = " ".join(other_text(tree(page)))
    assert "human ceiling" in text
    assert set(re.findall(r"\w*\d\w*", text)) == {"F1", "sha256"}


def test_every_metric_with_its_interval_baselines_and_ceiling_is_there(page: str, opened: OpenCard) -> None:
    shown = {number.pointer for number in numbers(tree(page))}
    wanted = set()
    for name, task in opened.card["tasks"].items():
        at = f"/card/tasks/{name}"
        for block in ("metrics", "ablations"):
            for metric, estimate in task[block].items():
                if estimate["value"] is None:  # few items of the sample have the votes that it needs
                    assert metric == "entropy_correlation"
                    continue
                wanted.add(f"{at}/{block}/{metric}/value")
                assert estimate["confidence_interval"] is not None
                wanted |= {f"{at}/{block}/{metric}/confidence_interval/{end}" for end in ("lower", "upper")}
        wanted |= {f"{at}/baselines/{base}/{metric}/value" for base, own in task["baselines"].items() for metric in own}
        wanted |= {f"{at}/ceiling/{metric}/value" for metric in task["ceiling"]}
        for kind, parts in task["strata"].items():
            for part in parts:
                stratum = f"{at}/strata/{kind}/{part}"
                wanted |= {f"{stratum}/items", f"{stratum}/metrics/cross_entropy/value"}
                if parts[part]["ceiling"] is not None:
                    wanted.add(f"{stratum}/ceiling")
        for label, curve in task["reliability"].items():
            wanted |= {f"{at}/reliability/{label}/{axis}/{n}" for axis in curve for n in range(len(curve["items"]))}
        wanted |= {f"{at}/order/gap", f"{at}/order/consistency", f"{at}/answer_mass/mean", f"{at}/items"}
    assert wanted <= shown


@given(st.floats(-1e6, 1e6), st.sampled_from(["4", "+4", "%", "2", "g"]))
def test_what_is_shown_is_the_rounded_value(value: float, form: str) -> None:
    from runner.report.html.render import figure

    assert shows(figure(value, form), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0\u202f%"), (1.0, "100\u202f%"), (0.9996, "99.96\u202f%"), (0.0004, "0.04\u202f%"), (-0.25, "−25\u202f%")],
)
def test_almost_all_is_not_shown_as_all(value: float, text: str) -> None:
    from runner.report.html.render import figure

    assert figure(value, "%") == text


def test_the_reading_test_itself_can_fail() -> None:
    assert not shows("0.5573", 0.55735501)
    assert not shows("68\u202f%", 0.673)
    assert not shows("2,340", 2341)


# --- names stay text -----------------------------------------------------------------------------------------------

_HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}</style>&#0;\u202egnp" + UNSEEN


def _free_text(
    value: Any, schema: Json, root: Json, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Places of a card whose text the schema does not hold to a form."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    for branch in schema.get("oneOf", ()):
        yield from _free_text(value, branch, root, path)
    if isinstance(value, dict):
        for name, inner in value.items():
            below = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if isinstance(below, dict):
                yield from _free_text(inner, below, root, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if isinstance(schema.get("items"), dict):
                yield from _free_text(inner, schema["items"], root, (*path, number))
    elif isinstance(value, str) and schema.get("type") == "string" and not {"pattern", "const", "enum"} & set(schema):
        yield path


def _put(card: Json, path: tuple[str | int, ...], value: object) -> None:
    inner: Any = card
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value


@pytest.mark.slow
def test_names_of_a_stranger_stay_text(resign: Callable[..., Path], opened: OpenCard, keyring: Keyring) -> None:
    schema = json.loads((resources.schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))
    places = set(_free_text(opened.card, schema, schema))
    assert ("submission", "name") in places
    places = {path for path in places if path[-1] not in ("split", "dataset") and path[:2] != ("submission", "files")}

    def change(card: Json) -> None:
        for path in places:
            _put(card, path, _HOSTILE[:40] + UNSEEN if path[-1] == "name" else _HOSTILE)
        for task in card["tasks"].values():
            for block in ("reliability", "strata"):
                task[block] = dict(zip([_HOSTILE], task[block].values(), strict=False))
            task["labels"][0] = _HOSTILE
        card["comparable"], card["not_comparable"] = False, [_HOSTILE]

    page = card_page(open_card(resign(change), keyring), None, _HOSTILE)
    root = tree(page)
    assert {tag(element) for element in root.iter()}.isdisjoint({"script", "img", "iframe", "object", "link", "form"})
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not str(name).lower().startswith("on"), (tag(element), name)
            assert str(name) != "href" or value.startswith("#")
    text = "".join(root.itertext())
    assert "<script>alert(1)</script>" in text
    assert "{{ 7*7 }}" in text
    for character in ("\u202e", *UNSEEN):
        assert character not in page
        assert f"⟨U+{ord(character):04X}⟩" in text


def test_nothing_is_loaded_and_nothing_may_run(page: str) -> None:
    root = tree(page)
    css = next("".join(element.itertext()) for element in root.iter() if tag(element) == "style")
    policy = next(
        element.get("content") or ""
        for element in root.iter()
        if element.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert digest in policy
    assert "url(" not in css
    assert "@import" not in css
    assert not any(element.get("style") for element in root.iter())
    assert not any(element.get("src") for element in root.iter())
    assert not any((element.get("href") or "#")[0] != "#" for element in root.iter())


def test_the_same_card_gives_the_same_bytes(page: str, opened: OpenCard, differences: Any, bars: Any) -> None:
    assert card_page(opened, differences, None, bars) == page


@pytest.mark.slow
def test_tables_have_captions_and_heads(page: str) -> None:
    for table in (element for element in tree(page).iter() if tag(element) == "table"):
        assert "".join(table.find("caption").itertext()).strip()  # type: ignore[union-attr]
        heads = [element for element in table.iter() if tag(element) == "th"]
        assert heads
        assert all(head.get("scope") in ("col", "row", "rowgroup") for head in heads)


# --- what is known of the signature ---------------------------------------------------------------------------------


def test_a_verified_card_says_so_and_by_whom(page: str, opened: OpenCard) -> None:
    assert opened.report is not None
    assert ">Signature verified<" in page
    assert ">self-reported<" in page
    assert opened.report.keyid in page
    assert "Nobody checked" not in page


def test_an_unverified_card_has_a_banner(run: Path, opened: OpenCard) -> None:
    for path in (run, run / filenames.CARD):
        unverified = open_card(path, None)
        assert unverified.card == opened.card
        page = card_page(unverified, None, "none were asked for.")
        assert "Nobody checked who signed this card." in page
        assert "Signature verified" not in page


def test_an_altered_card_has_no_page_unless_it_is_called_unverified(
    run: Path, tmp_path: Path, keyring: Keyring
) -> None:
    bundle = json.loads((run / filenames.BUNDLE).read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b'"invented"', b'"improved"')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    altered = tmp_path / filenames.BUNDLE
    altered.write_text(json.dumps(bundle), encoding="utf-8")
    with pytest.raises(VerificationError, match="SIG_UNTRUSTED"):
        open_card(altered, keyring)
    assert open_card(altered, None).card["submission"]["name"] == "improved"


def test_what_is_no_card_is_refused_with_every_place(run: Path, tmp_path: Path, opened: OpenCard) -> None:
    card = copy.deepcopy(dict(opened.card))
    card["suite"], card["tasks"]["dilemmas"]["items"] = 3, "many"
    file = tmp_path / "card.json"
    file.write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        open_card(file, None)
    assert {fault.path for fault in caught.value.faults} == {"$.suite", "$.tasks.dilemmas.items"}
    for content in (b"[1]", b"{", b"\xff", b'{"dsseEnvelope": 1}'):
        file.write_bytes(content)
        with pytest.raises(InvalidInput):
            open_card(file, None)


@pytest.mark.slow
def test_the_environment_is_shown_only_if_it_is_the_cards(
    run: Path, resign: Callable[..., Path], keyring: Keyring
) -> None:
    folder = resign(lambda card: None)
    page = card_page(open_card(folder, keyring), None, "none")
    assert "versions.numpy" in page
    (folder / filenames.ENVIRONMENT).write_text("{}", encoding="utf-8")
    assert open_card(folder / filenames.BUNDLE, None).environment is None
    (folder / filenames.ENVIRONMENT).unlink()
    page = card_page(open_card(folder, keyring), None, "none")
    assert "versions.numpy" not in page
    assert "The file is not beside the card." in page


@pytest.mark.slow
def test_the_command_on_the_page_verifies_the_card(
    page: str, run: Path, opened: OpenCard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keyring: Keyring
) -> None:
    command = verify_command(opened.card)
    assert command.replace("'", "&#39;") in page
    assert "--data-dir" not in command  # the sample travels with the package
    import shlex

    monkeypatch.setattr("runner.cli.options.trusted_keys", lambda file: {"MINE": keyring}[str(file)])
    monkeypatch.chdir(run)
    arguments = shlex.split(command.replace("KEYRING", "MINE"))[1:]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "recompute" in done.output


# --- cards with less in them ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 2, 12])
def test_what_was_not_measured_is_a_dash_with_its_reason(
    limit: int, tmp_path: Path, key: Any, keyring: Keyring
) -> None:
    choice = RunConfig(resources.benchmark_file(), "sample", limit=limit)
    write_baseline("uniform", choice, tmp_path / "uniform.jsonl")
    folder, card = score_file(tmp_path / "uniform.jsonl", choice, None, tmp_path, None, lambda: key)
    opened = open_card(folder, keyring)
    differences = largest_differences(opened, 3, None, None, show_texts=False)
    root = tree(card_page(opened, differences))
    text = " ".join("".join(root.itertext()).split())
    assert "every item was asked in one order only" in text
    assert f"limited to {limit} items" in text
    for task in card["tasks"].values():
        for estimate in task["metrics"].values():
            if estimate["value"] is None:
                assert estimate["reason"] in text
    for number in numbers(root):
        assert resolve(source(opened, differences), number.pointer or "") == number.value


def test_a_card_without_a_known_primary_metric_says_so(opened: OpenCard) -> None:
    page = card_page(replace(opened, primary=None), None, "none")
    assert "it is not known which metric is the primary one" in page
    assert len(numbers(tree(page))) > 300


def test_fields_that_the_schema_does_not_demand_may_be_missing(opened: OpenCard) -> None:
    card = copy.deepcopy(dict(opened.card))
    task = card["tasks"]["dilemmas"]
    task["answer_mass"] = {"mean": None, "minimum": None, "share_below_half": None, "rows": 0}
    task["order"] = {"gap": None, "consistency": None, "primary_by_order": None}
    task["metrics"] = {"cross_entropy": task["metrics"]["cross_entropy"]}
    task["strata"], task["reliability"], task["ablations"] = {}, {}, {}
    card["tasks"] = {"dilemmas": task}
    page = card_page(replace(opened, card=card, environment=None), None, "none")
    assert "no reason is given" in page
    assert "How far it has come from the prior to the human ceiling was not measured." in " ".join(page.split())


@pytest.mark.parametrize(
    ("value", "lower", "upper", "said"),
    [
        (0.4, 0.3, 0.5, "of the way from the prior to the human ceiling"),
        (0.1, -0.1, 0.3, "not shown to be better than the prior"),
        (-0.4, -0.5, -0.3, "worse than the prior"),
        (1.2, 1.1, 1.3, "at the human ceiling"),
        (0.9, 0.7, 1.1, "of the way from the prior to the human ceiling"),
    ],
)
def test_the_sentence_says_what_the_interval_shows(
    opened: OpenCard, value: float, lower: float, upper: float, said: str
) -> None:
    card = copy.deepcopy(dict(opened.card))
    card["tasks"] = {"dilemmas": card["tasks"]["dilemmas"]}
    card["tasks"]["dilemmas"]["metrics"]["skill"] |= {
        "value": value,
        "confidence_interval": {"lower": lower, "upper": upper, "level": 0.95},
    }
    root = tree(card_page(replace(opened, card=card), None, "none"))
    lead = [" ".join("".join(p.itertext()).split()) for p in root.iter("p") if p.get("class") == "lead"]
    assert said in lead[1]


# --- the items that differ most -------------------------------------------------------------------------------------


def test_the_items_are_those_that_plain_python_finds(run: Path, opened: OpenCard, differences: Any) -> None:
    """Independent of arrays: read the rows, average the orders as probabilities, and sort."""
    import math

    rows: dict[str, list[list[float]]] = {}
    for line in (run / filenames.PREDICTIONS).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["task"] == "dilemmas" and row["split"] == "test":
            weights = [math.exp(score) for score in row["log_scores"]]
            rows.setdefault(row["item_id"], []).append([weight / sum(weights) for weight in weights])
    votes = {}
    sample = resources.embedded_data("sample") / "test.sample-dilemmas.jsonl"
    for line in sample.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        votes[row["id"]] = row["gold_annotations"]
    distance = {
        item: abs(sum(shares[0] for shares in asked) / len(asked) - votes[item][0] / sum(votes[item]))
        for item, asked in rows.items()
    }
    best = sorted(distance, key=lambda item: -distance[item])[:4]
    found = differences["dilemmas"]
    assert [one.item for one in found] == best
    assert [one.distance for one in found] == pytest.approx([distance[item] for item in best])
    assert [list(one.votes) for one in found] == [votes[item] for item in best]


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: ([pair[0], 1 - pair[0]], [pair[1], 1 - pair[1]])),
        min_size=1,
    )
)
def test_every_item_is_in_one_bar_of_each_histogram(rows: list[tuple[list[float], list[float]]]) -> None:
    people, model = (np.array([row[side] for row in rows]) for side in (0, 1))
    for place, one in enumerate(histograms(ItemShares(("a", "b"), (), people, model, True)).values()):
        for bars, shares in ((one.people, people[:, place]), (one.model, model[:, place])):
            counted = [
                sum(left <= share < right or (right == 1.0 and share == 1.0) for share in shares)
                for left, right in itertools.pairwise(np.linspace(0, 1, 11))
            ]
            assert list(bars) == counted


def test_histograms_stand_under_their_curves(page: str, opened: OpenCard, differences: Any) -> None:
    figures = [element for element in tree(page).iter() if tag(element) == "figure"]
    assert figures
    for figure in figures:
        drawn = [element.get("class") for element in figure.iter() if tag(element) == "rect"]
        assert drawn.count("bar") == drawn.count("outline") == 10
    assert 'class="outline"' not in card_page(opened, differences)


def test_the_long_table_and_the_provenance_are_folded(page: str) -> None:
    folds = [element for element in tree(page).iter("details") if element.get("class") == "fold"]
    heads = ["".join(fold.find("summary").itertext()) for fold in folds]  # type: ignore[union-attr]
    assert set(heads) == {"Every metric", "Who, on what, and how"}
    assert heads.count("Who, on what, and how") == 1


def test_people_who_were_not_asked_are_said_to_be_missing(opened: OpenCard) -> None:
    card = copy.deepcopy(dict(opened.card))
    for task in card["tasks"].values():
        task["panel"] = None
        task.pop("panel_reason", None)
    older = card_page(replace(opened, card=card), None, "none")
    assert older.count(": not measured: the data have no second group of people on these items, or too few") == len(
        card["tasks"]
    )
    for task in card["tasks"].values():
        task["panel_reason"] = "for <b>this</b> reason"
    page = card_page(replace(opened, card=card), None, "none")
    assert page.count(": not measured: for &lt;b&gt;this&lt;/b&gt; reason.") == len(card["tasks"])


def test_synthetic_texts_are_shown(page: str, differences: Any) -> None:
    text = "".join(tree(page).itertext())
    for found in differences.values():
        for one in found:
            for field in one.texts.values():
                assert field in text


@pytest.mark.slow
def test_released_texts_are_shown_only_when_asked_for(
    scruples: Path, tmp_path: Path, key: Any, keyring: Keyring
) -> None:
    choice = RunConfig(resources.benchmark_file(), "full", tasks=("dilemmas",), split="dev", data_dir=scruples)
    write_baseline("panel", choice, tmp_path / "panel.jsonl")
    folder, _ = score_file(tmp_path / "panel.jsonl", choice, None, tmp_path, None, lambda: key)
    opened = open_card(folder, keyring)
    hidden = largest_differences(opened, 3, None, scruples, show_texts=False)["dilemmas"]
    shown = largest_differences(opened, 3, None, scruples, show_texts=True)["dilemmas"]
    assert [one.item for one in hidden] == [one.item for one in shown]
    assert all(one.texts is None for one in hidden)
    quiet, loud = (card_page(opened, {"dilemmas": found}) for found in (hidden, shown))
    texts = [text for one in shown for text in (one.texts or {}).values()]
    assert len(texts) == 6
    assert all(text in "".join(tree(loud).itertext()) for text in texts)
    assert not any(text in "".join(tree(quiet).itertext()) for text in texts)
    assert "The text of released data is not shown here." in quiet
    assert "--data-dir DATA" in quiet


# --- words ----------------------------------------------------------------------------------------------------------


def test_every_metric_has_words() -> None:
    for name in METRICS:
        assert words(name).heading != OTHER, name
        assert words(name).meaning.endswith(".")
        assert words(name).meaning.count(".") == 1
    assert words("unheard_of").heading == OTHER


def test_orders() -> None:
    assert in_order(["kl", "x", "cross_entropy_pmi", "cross_entropy"])[-1] == "x"
    assert in_order(["kl", "cross_entropy"]) == ["cross_entropy", "kl"]
    assert strata_in_order(["3-2", "5-0", "4-1"]) == ["5-0", "4-1", "3-2"]
    assert strata_in_order(["high", "low", "middle"]) == ["low", "middle", "high"]
    assert strata_in_order(["b", "a"]) == ["a", "b"]


def test_a_repository_without_a_revision_has_a_page(opened: OpenCard) -> None:
    card = copy.deepcopy(dict(opened.card))
    digest = f"sha256:{'0' * 64}"
    model = {"repository": "a/model", "revision": None, "folder": None, "digest": digest, "facts": {}}
    model |= {"backend": "causal", "format": "plain", "dtype": "float32", "quantization": None}
    card["submission"]["model"] = model
    assert "a/model" in card_page(replace(opened, card=card), None, "none")
