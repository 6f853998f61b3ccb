"""Exports against the rules of their formats, and against the card: nothing altered, nothing lost in silence."""

import copy
import csv
import hashlib
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from runner.core.errors import InvalidInput, NotComparable
from runner.report import export
from runner.report.export.table import COLUMNS
from runner.scorecard.load import OpenCard, open_card
from runner.scoring.metrics import METRICS
from runner.signing.keyring import Keyring

HERE = Path(__file__).parent
Json = dict[str, Any]


def rules(name: str) -> Draft202012Validator:
    schema = json.loads((HERE / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture
def from_hub(opened: OpenCard) -> OpenCard:
    """The card as if a model of the Hub with an adapter had been run on the full suite."""
    card: Json = copy.deepcopy(dict(opened.card))
    card["comparable"], card["not_comparable"] = True, []
    card["submission"]["model"] = {
        "repository": "an-organisation/a-model",
        "revision": "1" * 40,
        "folder": None,
        "digest": f"sha256:{'2' * 64}",
        "backend": "causal",
        "format": "chat",
        "dtype": "bfloat16",
        "quantization": None,
        "facts": {"versions": {"transformers": "5.23.0"}},
    }
    return replace(opened, card=card)


# --- csv ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_csv_has_a_row_per_task_and_metric_with_all_digits(opened: OpenCard) -> None:
    rows = list(csv.DictReader(io.StringIO(export.table([opened, opened]), newline="")))
    expected = [
        (name, metric, estimate)
        for name, task in opened.card["tasks"].items()
        for block in ("metrics", "ablations")
        for metric, estimate in task[block].items()
    ]
    assert len(rows) == 2 * len(expected)
    for row, (task, metric, estimate) in zip(rows, 2 * expected, strict=True):
        assert tuple(row) == COLUMNS
        assert (row["task"], row["metric"]) == (task, metric)
        if estimate["value"] is None:  # few items of the sample have the votes that it needs
            assert (metric, row["value"], row["lower"]) == ("entropy_correlation", "", "")
        else:
            assert float(row["value"]) == estimate["value"]
            assert float(row["lower"]) == estimate["confidence_interval"]["lower"]
        assert row["lower_is_better"] == json.dumps(estimate["lower_is_better"]).replace("null", "")
        assert row["assurance"] == "self-reported"
        assert row["card_sha256"] == opened.sha256


def test_csv_says_unverified_and_runs_no_formula(run: Path) -> None:
    unverified = open_card(run, None)
    card = copy.deepcopy(dict(unverified.card))
    card["submission"]["name"] = "=1+1"
    card["tasks"]["dilemmas"]["metrics"]["skill"] |= {
        "value": None,
        "confidence_interval": None,
        "reason": '@a "quoted"\nreason, with a comma',
    }
    rows = list(csv.DictReader(io.StringIO(export.table([replace(unverified, card=card)]), newline="")))
    assert {row["assurance"] for row in rows} == {"unverified"}
    assert {row["signed_by_key"] for row in rows} == {""}
    assert {row["submission"] for row in rows} == {"'=1+1"}
    (skill,) = (row for row in rows if (row["task"], row["metric"]) == ("dilemmas", "skill"))
    assert skill["value"] == skill["lower"] == ""
    assert skill["reason"] == '\'@a "quoted"\nreason, with a comma'


# --- Every Eval Ever --------------------------------------------------------------------------------------------------

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.json")


def _bound(value: float | str) -> float:
    return {"Infinity": math.inf, "-Infinity": -math.inf}[value] if isinstance(value, str) else value


@pytest.mark.parametrize("which", ["opened", "from_hub"])
def test_eee_meets_the_rules_of_schema_and_gate(which: str, request: pytest.FixtureRequest) -> None:
    opened: OpenCard = request.getfixturevalue(which)
    made = export.every_eval_ever(opened, 1_700_000_000)
    record = json.loads(made.content, parse_constant=pytest.fail)
    assert [error.message for error in rules("every_eval_ever").iter_errors(record)] == []
    top, collection, developer, model, file = made.path.parts
    assert (top, collection) == ("data", "moral-ambiguity")
    assert _UUID4.fullmatch(file)
    assert (developer, model) == (("an-organisation", "a-model") if which == "from_hub" else ("unknown", "invented"))
    for result in record["evaluation_results"]:
        config = result["metric_config"]
        assert _bound(config["min_score"]) <= result["score_details"]["score"] <= _bound(config["max_score"])


@pytest.mark.slow
def test_the_rules_would_notice(opened: OpenCard) -> None:
    record = json.loads(export.every_eval_ever(opened, 0).content)
    for break_it in (
        lambda broken: broken.pop("eval_library"),
        lambda broken: broken.update(more=1),
        lambda broken: broken["model_info"]["additional_details"].update(deployment_type="local"),
        lambda broken: broken["source_metadata"]["additional_details"].update(comparable=False),
        lambda broken: broken["evaluation_results"][0]["metric_config"].pop("max_score"),
        lambda broken: broken["evaluation_results"][0]["metric_config"].update(lower_is_better=None),
    ):
        broken = copy.deepcopy(record)
        break_it(broken)
        assert list(rules("every_eval_ever").iter_errors(broken))


def test_eee_has_every_score_or_says_why_not(opened: OpenCard) -> None:
    card = copy.deepcopy(dict(opened.card))
    card["tasks"]["dilemmas"]["metrics"]["kl"] |= {"value": None, "confidence_interval": None, "reason": "lost it"}
    made = export.every_eval_ever(replace(opened, card=card), 0)
    record = json.loads(made.content)
    scores = {result["evaluation_result_id"]: result for result in record["evaluation_results"]}
    told = " ".join(made.lost)
    for name, task in card["tasks"].items():
        for metric, estimate in (*task["metrics"].items(), *task["ablations"].items()):
            result = scores.pop(f"{name}/{task['split']}/{metric}", None)
            if result is None:
                assert f"{name}: {metric} is left out" in told
                continue
            assert result["score_details"]["score"] == estimate["value"]
            uncertainty = result["score_details"]["uncertainty"]
            assert uncertainty["standard_error"]["value"] == estimate["standard_error"]
            assert uncertainty["confidence_interval"]["upper"] == estimate["confidence_interval"]["upper"]
            assert uncertainty["num_samples"] == task["items"]
            assert result["metric_config"]["lower_is_better"] == estimate["lower_is_better"]
    assert scores == {}
    assert "dilemmas: kl is left out, since a score is demanded: lost it." in made.lost
    assert "entropy_gap" in told
    assert "signature" in told


def test_eee_names_the_adapter_and_not_its_base(from_hub: OpenCard) -> None:
    card = copy.deepcopy(dict(from_hub.card))
    card["submission"]["adapter"] = {"repository": None, "revision": None, "folder": "adapter", "digest": "sha256:3"}
    record = json.loads(export.every_eval_ever(replace(from_hub, card=card), 0).content)
    assert record["model_info"]["id"] == "invented"
    assert record["model_info"]["additional_details"]["model"] == "an-organisation/a-model"


def test_eee_of_the_same_card_is_the_same_file(opened: OpenCard) -> None:
    assert export.every_eval_ever(opened, 1).path == export.every_eval_ever(opened, 2).path
    with pytest.raises(InvalidInput, match="SAME_FILE"):
        export.refuse_equal_paths([export.every_eval_ever(opened, 1), export.every_eval_ever(opened, 2)])


def test_bounds_are_declared_for_every_metric() -> None:
    from runner.report.export.every_eval_ever import _bounds

    unbounded = {name for name in METRICS if _bounds(name) == ("-Infinity", "Infinity")}
    assert unbounded == {"gap_to_ceiling", "skill", "entropy_gap", "entropy_correlation"}


# --- the Hub ----------------------------------------------------------------------------------------------------------


def test_hub_results_meet_the_documented_rules_and_the_hubs_own_reader(from_hub: OpenCard) -> None:
    from huggingface_hub import EvalResultEntry
    from huggingface_hub._eval_results import parse_eval_result_entries

    made = export.eval_results(from_hub, "an-organisation/moral-ambiguity", "https://example.org/card")
    assert made.path == PurePosixPath("invented/.eval_results/moral-ambiguity.yaml")
    entries = yaml.safe_load(made.content)
    assert [error.message for error in rules("eval_results").iter_errors(entries)] == []
    parsed = parse_eval_result_entries(entries)
    assert all(isinstance(entry, EvalResultEntry) for entry in parsed)
    assert {entry.task_id: entry.value for entry in parsed} == {
        name: task["metrics"]["skill"]["value"] for name, task in from_hub.card["tasks"].items()
    }
    for entry in parsed:
        assert entry.date == from_hub.card["run"]["finished_at"]
        assert entry.notes is not None
        value = from_hub.card["tasks"][entry.task_id]["metrics"]["cross_entropy"]["value"]
        assert f"cross_entropy {value:.4f} nats, lower is better, 95% interval" in entry.notes
        assert "skill: share of the way from the prior (0) to the human ceiling (1), higher is better" in entry.notes
        assert from_hub.sha256 in entry.notes
    assert any("an-organisation/a-model" in sentence for sentence in made.lost)
    assert list(rules("eval_results").iter_errors([{"dataset": {"id": "x/y"}, "value": 1}]))


@pytest.mark.slow
def test_the_better_model_has_the_larger_number(from_hub: OpenCard, other_run: Path, keyring: Keyring) -> None:
    other = open_card(other_run, keyring)
    worse, better = sorted(
        (from_hub, replace(other, card={**other.card, "submission": from_hub.card["submission"]})),
        key=lambda one: -one.card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"],
    )
    values = [
        {
            entry["dataset"]["task_id"]: entry["value"]
            for entry in yaml.safe_load(export.eval_results(one, "a/b").content)
        }
        for one in (worse, better)
    ]
    assert values[0]["dilemmas"] < values[1]["dilemmas"]


def test_a_dev_card_is_no_result_of_the_test_task(from_hub: OpenCard) -> None:
    assert from_hub.split == "test"
    card = copy.deepcopy(dict(from_hub.card))
    for task in card["tasks"].values():
        task["split"] = "dev"
    entries = yaml.safe_load(export.eval_results(replace(from_hub, card=card), "a/b").content)
    assert [entry["dataset"]["task_id"] for entry in entries] == [f"{name}-dev" for name in card["tasks"]]


def test_cards_that_may_not_be_compared_are_refused(opened: OpenCard, from_hub: OpenCard) -> None:
    export.refuse_not_comparable([from_hub])
    with pytest.raises(NotComparable) as caught:
        export.refuse_not_comparable([from_hub, opened, opened])
    assert len(caught.value.faults) == 2
    assert "--force" in (caught.value.faults[0].hint or "")
    forced = copy.deepcopy(dict(from_hub.card))
    forced["comparable"], forced["not_comparable"] = False, ["a reason"]
    (entry, *_) = yaml.safe_load(export.eval_results(replace(from_hub, card=forced), "a/b").content)
    assert "NOT COMPARABLE: a reason" in entry["notes"]


def test_the_hub_is_given_models_with_a_known_skill(from_hub: OpenCard) -> None:
    card = copy.deepcopy(dict(from_hub.card))
    card["submission"]["model"] = None
    with pytest.raises(InvalidInput, match="NO_MODEL"):
        export.eval_results(replace(from_hub, card=card), "a/b")
    with pytest.raises(InvalidInput, match="FILE_MISSING"):
        export.eval_results(replace(from_hub, primary=None), "a/b")
    with pytest.raises(InvalidInput, match="NOT_MEASURED"):
        export.eval_results(replace(from_hub, primary="unheard_of"), "a/b")
    for name in ("a", "a/b/c", "../b", "a/b\n", "a b/c"):
        with pytest.raises(InvalidInput, match="DATASET_ID"):
            export.eval_results(from_hub, name)


# --- rows per item of Every Eval Ever -------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_per_item_meet_the_rules_and_add_up(opened: OpenCard) -> None:
    record, samples = export.with_items(export.every_eval_ever(opened, 0), opened, None, None)
    log = json.loads(record.content)
    assert [error.message for error in rules("every_eval_ever").iter_errors(log)] == []
    link = log["detailed_evaluation_results"]
    assert link["file_path"] == str(samples.path)
    assert samples.path.name == f"{record.path.stem}_samples.jsonl"
    assert link["checksum"] == hashlib.sha256(samples.content.encode()).hexdigest()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in samples.content.splitlines()]
    assert link["total_rows"] == len(lines) == sum(task["items"] for task in opened.card["tasks"].values())
    instance = rules("every_eval_ever_items")
    assert [error.message for line in lines for error in instance.iter_errors(line)] == []
    assert list(instance.iter_errors({**lines[0], "more": 1}))
    results = {result["evaluation_result_id"]: result for result in log["evaluation_results"]}
    for name, task in opened.card["tasks"].items():
        own = [line for line in lines if line["evaluation_result_id"] == f"{name}/{task['split']}/cross_entropy"]
        assert {line["model_id"] for line in own} == {log["model_info"]["id"]}
        assert {line["evaluation_id"] for line in own} == {log["evaluation_id"]}
        score = results[own[0]["evaluation_result_id"]]["score_details"]["score"]
        assert math.fsum(line["evaluation"]["score"] for line in own) / len(own) == pytest.approx(score, rel=1e-12)
        hits = sum(line["evaluation"]["is_correct"] for line in own) / len(own)
        assert hits == pytest.approx(task["metrics"]["accuracy"]["value"], abs=0.1)  # ties count there as shares
        for line in own:
            said = json.loads(line["output"]["raw"][0])
            people = json.loads(line["input"]["reference"][0])
            loss = -sum(share * math.log(said[label]) for label, share in people.items() if share)
            assert line["evaluation"]["score"] == pytest.approx(loss)
            assert line["answer_attribution"][0]["extracted_value"] == max(said, key=lambda label: said[label])


# --- LaTeX ----------------------------------------------------------------------------------------------------------


def test_latex_is_read_by_a_parser_and_has_the_cards_numbers(opened: OpenCard) -> None:
    from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

    text = export.latex([opened, opened])
    nodes, _, _ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    (table,) = [node for node in nodes if node.isNodeType(LatexEnvironmentNode)]
    assert table.environmentname == "tabular"
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines[1:]} == {6}  # one column of names, two a task
    assert lines[0].count("&") == 3
    for name, task in opened.card["tasks"].items():
        assert rf"\multicolumn{{2}}{{c}}{{{name} (test)}}" in text
        metric = task["metrics"]["cross_entropy"]
        interval = metric["confidence_interval"]
        assert f"& {metric['value']:.3f} [{interval['lower']:.3f}, {interval['upper']:.3f}]" in text
        assert f"{task['ceiling']['cross_entropy']['value']:.3f} & 1.000" in text
    assert "Other people" in text
    assert r"invented\textsuperscript{*}" in text


@pytest.mark.parametrize(
    "name", [r"\input{/etc/passwd}", "100% & $x_1^2$ {#} ~", "a\nb\r\x1b[31m", "}\\\\ \\end{tabular}"]
)
def test_a_name_cannot_be_a_command(opened: OpenCard, name: str) -> None:
    from pylatexenc.latex2text import LatexNodes2Text
    from pylatexenc.latexwalker import LatexWalker

    from runner.report.export.latex import escape

    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    assert LatexNodes2Text(keep_comments=True).latex_to_text(escape(name)).replace("ˆ", "^") == shown
    card = {**opened.card, "submission": {**opened.card["submission"], "name": name}}
    text = export.latex([replace(opened, card=card)])
    LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    assert text.count(r"\end{tabular}") == 1
    assert text.count("\n") == export.latex([opened]).count("\n")


def test_cards_that_do_not_measure_the_same_are_in_tables_of_their_own(opened: OpenCard) -> None:
    card = copy.deepcopy(dict(opened.card))
    card["tasks"]["dilemmas"]["split"] = "dev"
    text = export.latex([opened, replace(opened, card=card), opened])
    assert text.count(r"\begin{tabular}") == 2


# --- MLflow ---------------------------------------------------------------------------------------------------------


def test_mlflow_files_are_laid_out_as_its_file_store_reads_them(opened: OpenCard) -> None:
    files = {str(file.path): file.content for file in export.mlflow([opened])}
    (experiment,) = {path.split("/")[1] for path in files}
    run = opened.sha256[:32]
    assert re.fullmatch(r"\d{1,18}", experiment)
    assert yaml.safe_load(files[f"mlruns/{experiment}/meta.yaml"])["experiment_id"] == experiment
    about = yaml.safe_load(files[f"mlruns/{experiment}/{run}/meta.yaml"])
    assert (about["run_id"], about["status"], about["run_name"]) == (run, 3, "invented")
    for path, content in files.items():
        kind = path.split("/")[3] if path.count("/") > 2 else ""
        if kind == "metrics":
            assert re.fullmatch(r"\d{13} -?[\d.e-]+ 0\n", content), path
        if kind in ("params", "tags"):
            assert "\n" not in content, path
            assert len(content) <= 500
        assert re.fullmatch(r"[/\w.\- ]+", path), path
    value = opened.card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"]
    assert float(files[f"mlruns/{experiment}/{run}/metrics/dilemmas/cross_entropy"].split()[1]) == value
    assert json.loads(files[f"mlruns/{experiment}/{run}/artifacts/scorecard.json"]) == opened.card


def test_mlflow_reads_what_was_exported(opened: OpenCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own reader, where it is installed; it is no dependency."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tracking = pytest.importorskip("mlflow.tracking", reason="MLflow is not installed")
    monkeypatch.chdir(tmp_path)
    for file in export.mlflow([opened]):
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_text(file.content, encoding="utf-8")
    client = tracking.MlflowClient(tracking_uri=str(tmp_path / "mlruns"))
    (experiment,) = [one for one in client.search_experiments() if one.name.startswith("moral-ambiguity")]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["suite"] == "sample"
    for name, task in opened.card["tasks"].items():
        for metric, estimate in task["metrics"].items():
            assert run.data.metrics.get(f"{name}/{metric}") == estimate["value"]
    assert run.data.tags["card_sha256"] == opened.sha256


# --- names as paths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [("a-model_1.0", "a-model_1.0"), ("../../etc/x", "etc-x"), ("..", "unnamed"), ("CON", "CON-"), ("data", "data-"),
     ("<script>", "script"), ("ü", "unnamed"), ("a\u202eb", "a-b"), ("nul.txt", "nul.txt-")],
)  # fmt: skip
def test_names_cannot_lead_elsewhere(name: str, path: str) -> None:
    assert export.portable(name) == path
