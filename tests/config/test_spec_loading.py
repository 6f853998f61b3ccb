"""From valid files to frozen records."""

import dataclasses
from pathlib import Path

import pytest
import rfc8785
import yaml
from support.paths import EXAMPLES

from runner.config import is_released, load_benchmark, load_submission
from runner.config.released import RELEASED
from runner.config.service import base_url_fault, normal_base_url, travels_in_clear
from runner.core.benchmark_types import Benchmark
from runner.core.canonical import sha256_bytes
from runner.core.errors import InvalidInput

VALID = EXAMPLES / "valid"
SUBMISSION = """\
schema_version: "1"
name: a
model: {backend: causal, path: PATH, format: plain, dtype: float32}
"""


@pytest.fixture
def small() -> Benchmark:
    return load_benchmark(VALID / "benchmark-small.yaml")


def test_benchmark_says_what_its_file_says(small: Benchmark) -> None:
    assert (small.name, small.version, small.description) == ("small", "1.0.0", "A small benchmark.")
    dataset = small.datasets["letters"]
    assert (dataset.name, dataset.synthetic, dataset.embedded, dataset.url, dataset.folder) == (
        "letters", True, "sample", None, None,
    )  # fmt: skip
    pinned = dataset.splits["test"]
    assert (pinned.dataset, pinned.split, pinned.file, pinned.rows, pinned.sha256, pinned.git_blob) == (
        "letters", "test", "test.jsonl", 20, None, "0123456789abcdef" * 2 + "01234567",
    )  # fmt: skip
    task = small.tasks["which"]
    assert (task.labels, task.without_votes, task.prompts, task.strata) == (
        ("left", "right"), "skip", ("which-letters",), ("unanimity",),
    )  # fmt: skip
    assert (task.item.id, dict(task.item.fields), task.item.votes, task.item.panel, task.item.group) == (
        "id", {"story": "story"}, "votes", None, None,
    )  # fmt: skip
    prompt = small.prompts["which-letters"]
    assert prompt.orders == (("left", "right"), ("right", "left"))
    assert prompt.options == ((" A",), (" B",))
    assert prompt.template == "$story\nA: $option_1\nB: $option_2\nA or B?"
    assert (prompt.cue_plain, prompt.cue_chat, prompt.max_tokens, prompt.shorten) == (
        "\nAnswer:", "Answer:", 512, "story",
    )  # fmt: skip
    assert dict(prompt.shows) == {"left": "on the left", "right": "on the right"}
    scoring = small.scoring
    assert (scoring.primary, scoring.metrics) == ("cross_entropy", ("cross_entropy", "total_variation"))
    assert dataclasses.astuple(scoring.fit) == ("dev", 20, 5, 1)
    assert dataclasses.astuple(scoring.intervals) == ("percentile", 100, 0.95, 3)
    assert (scoring.ceiling_draws, scoring.ceiling_seed, scoring.self_check_prompts) == (100, 2, 2)
    assert dict(scoring.self_check_tolerance) == {"float32": 0.0001, "bfloat16": 0.25, "float16": 0.0625}
    assert scoring.recompute_tolerance == 1e-9
    suite = small.suites["sample"]
    assert (suite.comparable, suite.split, dict(suite.datasets)) == (False, "test", {"which": "letters"})


def test_records_cannot_be_changed(small: Benchmark) -> None:
    with pytest.raises(TypeError):
        small.tasks["other"] = small.tasks["which"]  # type: ignore[index]
    with pytest.raises(TypeError):
        small.tasks["which"].item.fields["other"] = "other"  # type: ignore[index]


def test_digest_is_that_of_the_meaning_and_source_that_of_the_bytes(small: Benchmark, tmp_path: Path) -> None:
    text = (VALID / "benchmark-small.yaml").read_text(encoding="utf-8")
    value = yaml.safe_load(text.replace("1e-9", "0.000000001"))
    assert small.digest == f"sha256:{sha256_bytes(rfc8785.dumps(value))}"
    other = tmp_path / "benchmark.yaml"
    other.write_text(f"# a comment\n{text}", encoding="utf-8")
    assert load_benchmark(other).digest == small.digest
    assert load_benchmark(other).source == other.read_bytes() != small.source
    other.write_text(text.replace("seed: 3", "seed: 4"), encoding="utf-8")
    assert load_benchmark(other).digest != small.digest


def test_whole_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.yaml"
    text = (VALID / "benchmark-small.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("ceiling: {draws: 100", "ceiling: {draws: 1e2"), encoding="utf-8")
    draws = load_benchmark(path).scoring.ceiling_draws
    assert draws == 100
    assert type(draws) is int
    assert load_benchmark(path).digest == load_benchmark(VALID / "benchmark-small.yaml").digest


def test_loading_raises_every_fault_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_benchmark(VALID.parent / "invalid" / "benchmark" / "several.yaml")
    assert len(caught.value.faults) == 5
    with pytest.raises(InvalidInput) as caught:
        load_submission(VALID.parent / "invalid" / "submission" / "several.yaml")
    assert len(caught.value.faults) == 5


def test_submission_by_path_is_made_absolute() -> None:
    submission = load_submission(VALID / "submission-path.yaml")
    assert submission.model.path == str(VALID / "weights")
    assert submission.adapter is not None
    assert submission.adapter.path == str(VALID / "weights")
    assert (submission.model.repository, submission.model.revision, submission.model.digest) == (None, None, None)
    assert (submission.model.quantization, submission.description) == (None, "")


def test_submission_by_repository() -> None:
    submission = load_submission(VALID / "submission-repository.yaml")
    assert submission.name == "a.b_c-1"
    assert submission.description == 'JSON is YAML: é "no" 1:30'
    model = submission.model
    assert (model.backend, model.path, model.repository) == ("causal", None, "organisation/model")
    assert model.revision == "0123456789abcdef" * 2 + "01234567"
    assert model.digest == "sha256:" + "0123456789abcdef" * 4
    assert (model.format, model.dtype, model.quantization) == ("chat", "bfloat16", "nf4")
    assert submission.adapter is not None
    assert submission.adapter.repository == "organisation/adapter"


def test_quantization_none_is_no_quantization() -> None:
    assert load_submission(VALID / "submission-quoted.yaml").model.quantization is None


@pytest.mark.parametrize("written", ["model", "./model", "other/../model", "model/."])
def test_relative_paths_stay_inside(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "submission.yaml").write_text(SUBMISSION.replace("PATH", written), encoding="utf-8")
    assert load_submission(tmp_path / "submission.yaml").model.path == str(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert load_submission(Path("submission.yaml")).model.path == str(tmp_path / "model")


def test_absolute_paths_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "submission").mkdir()
    path = tmp_path / "submission" / "submission.yaml"
    for written in (str(tmp_path / "model"), str(tmp_path / "submission" / ".." / "model")):
        path.write_text(SUBMISSION.replace("PATH", written), encoding="utf-8")
        assert load_submission(path).model.path == str(tmp_path / "model")


@pytest.mark.parametrize("written", ["../model", "a/../../model", "./../model"])
def test_a_relative_path_may_name_a_neighbour(written: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "submission").mkdir()
    path = tmp_path / "submission" / "submission.yaml"
    path.write_text(SUBMISSION.replace("PATH", written), encoding="utf-8")
    assert load_submission(path).model.path == str(tmp_path / "model")


@pytest.mark.parametrize("written", ["../../model", "..", "a/../../../model", "./../../model", "../x/../../model"])
def test_relative_paths_may_not_leave(written: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "submission").mkdir()
    path = tmp_path / "submission" / "submission.yaml"
    path.write_text(SUBMISSION.replace("PATH", written), encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        load_submission(path)
    assert [fault.code for fault in caught.value.faults] == ["PATH_ESCAPES"]


def test_relative_paths_may_not_leave_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission" / "inside").mkdir()
    (tmp_path / "submission" / "model").symlink_to(tmp_path / "model")
    (tmp_path / "submission" / "linked").symlink_to("inside")
    path = tmp_path / "submission" / "submission.yaml"
    path.write_text(SUBMISSION.replace("PATH", "model"), encoding="utf-8")
    with pytest.raises(InvalidInput, match="PATH_ESCAPES"):
        load_submission(path)
    path.write_text(SUBMISSION.replace("PATH", "linked"), encoding="utf-8")
    assert load_submission(path).model.path == str(tmp_path / "submission" / "linked")


def test_a_changed_benchmark_is_not_a_released_one(small: Benchmark) -> None:
    (name, version), digest = next(iter(RELEASED.items()))
    released = dataclasses.replace(small, name=name, version=version, digest=digest)
    assert is_released(released)
    assert not is_released(dataclasses.replace(released, digest=small.digest))
    assert not is_released(dataclasses.replace(released, version="999.0.0"))
    assert not is_released(small)


def test_a_service_has_an_address_and_no_folder() -> None:
    submission = load_submission(VALID / "submission-api.yaml")
    assert (submission.model.backend, submission.model.format, submission.model.dtype) == ("api", "plain", "")
    assert (submission.model.path, submission.model.repository, submission.adapter) == (None, None, None)
    service = submission.service
    assert service is not None
    assert (service.base_url, service.model, service.api) == ("http://127.0.0.1:8080/v1", "some-model", "completions")
    assert (service.top_logprobs, service.echo) == (5, True)
    assert service.price is not None
    assert dataclasses.astuple(service.price) == ("USD", 2.5, 10.0)


def test_a_service_without_address_is_the_official_one(tmp_path: Path) -> None:
    path = tmp_path / "submission.yaml"
    path.write_text("schema_version: '1'\nname: a\nmodel: {backend: api, api: chat, model: m}\n", encoding="utf-8")
    submission = load_submission(path)
    assert submission.service is not None
    assert (submission.service.base_url, submission.service.top_logprobs) == ("https://api.openai.com/v1", 20)
    assert (submission.service.echo, submission.service.price, submission.model.format) == (False, None, "chat")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("HTTPS://API.Example.com:443/v1//", "https://api.example.com/v1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
        ("https://api.example.com:8443/V1/", "https://api.example.com:8443/V1"),
    ],
)
def test_an_address_is_written_in_one_way(written: str, normal: str) -> None:
    assert base_url_fault(written) is None
    assert normal_base_url(written) == normal
    assert base_url_fault(normal) is None
    assert normal_base_url(normal) == normal


@pytest.mark.parametrize(
    ("written", "in_clear"),
    [
        ("http://127.0.0.1.example.com/v1", True), ("http://0.0.0.0/v1", True), ("http://169.254.169.254/latest", True),
        ("http://node7:8000/v1", True), ("http://localhost:8000/v1", False), ("http://[::1]/v1", False),
        ("https://node7/v1", False),
    ],
)  # fmt: skip
def test_what_leaves_this_machine_unencrypted_is_seen(written: str, in_clear: bool) -> None:
    assert base_url_fault(written) is None
    assert travels_in_clear(normal_base_url(written)) is in_clear


@pytest.mark.parametrize(
    "written",
    [
        "ftp://127.0.0.1/", "https:///v1", "https://api.example.com\\@other.example/v1",
        "https://api%2eexample.com/v1", "https://[::1/v1",
        "https://api.example.com/v1?", "https://api.example.com/v1#",
    ],
)  # fmt: skip
def test_no_address_leads_elsewhere_than_it_says(written: str) -> None:
    assert base_url_fault(written) is not None


def test_equal_files_in_two_folders_have_the_data_beside_each(tmp_path: Path) -> None:
    """What is kept by content must not keep a folder: a run's copy of a benchmark has no data beside it."""
    source = (EXAMPLES / "valid" / "benchmark-small.yaml").read_text(encoding="utf-8")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = source.replace("{embedded: sample}", "{path: data}")
        (tmp_path / name / "benchmark.yaml").write_text(text, encoding="utf-8")
    loaded = [load_benchmark(tmp_path / name / "benchmark.yaml") for name in ("one", "two", "one")]
    assert [benchmark.datasets["letters"].path for benchmark in loaded] == [
        str(tmp_path / name / "data") for name in ("one", "two", "one")
    ]
    assert loaded[0] == loaded[2]
