"""The images do what their users and their hosts rely on, run as strangers' submissions are run."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from engine import IMAGES, UID

from runner import __version__

LORA = "submissions/tiny-llama-lora/submission.yaml"
SAMPLE = ("--suite", "sample", "--threads", 1, "--quiet")
SHARE = "/usr/share/benchmark"

pytestmark = pytest.mark.image


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# --- what is in the images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", IMAGES)
def test_labels_and_user(inspect, root: Path, image: str) -> None:
    labels = json.loads(inspect(image, "{{json .Labels}}"))
    named = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    pinned = re.search(r"^FROM (\S+)@(sha256:[0-9a-f]{64}) AS", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert pinned is not None
    assert (named["base.name"], named["base.digest"]) == pinned.groups()
    assert named["version"] == __version__
    assert named["revision"] == os.environ["BENCHMARK_IMAGE_TEST"].removesuffix("unknown")
    assert {"title", "description", "licenses", "created"} <= named.keys()
    assert inspect(image, "{{.User}}") == "65532:65532"
    assert json.loads(inspect(image, "{{json .Config.Entrypoint}}")) == ["benchmark"]
    assert inspect(image, "{{.Config.Volumes}}") == "map[]"


INSIDE = """
import importlib.util, json, os, shutil, socket, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def fails(action):
    try: action()
    except OSError: return True
    return False
print(json.dumps({
    "uid": os.getuid(),
    **{name: status[name].strip() for name in ("CapEff", "NoNewPrivs", "Seccomp")},
    "read_only": [fails(lambda: open(place + "/new", "w")) for place in ("/", "/venv", "/work", "/usr", "/results")],
    "no_network": fails(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
    "installers": [name for name in ("pip", "ensurepip") if importlib.util.find_spec(name)],
    "programs": [name for name in "cc gcc g++ c++ make pip pip3 uv git curl".split() if shutil.which(name)],
    "models": [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name)],
    "variables": [os.environ.get(name) for name in ("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "HF_HUB_OFFLINE")],
}))
"""


@pytest.mark.parametrize("image", IMAGES)
def test_from_inside_there_is_little(containers, image: str) -> None:
    found = json.loads(containers(image, "-c", INSIDE, more=("--entrypoint", "python3")).stdout)
    assert found["uid"] == UID
    assert int(found["CapEff"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert all(found["read_only"])
    assert found["no_network"]
    assert found["installers"] == found["programs"] == []
    assert found["models"] == (["torch", "transformers", "peft"] if image == "benchmark" else [])
    assert found["variables"] == ["0", ":4096:8", "1"]
    # The interpreter of the system has no installer either.
    look = "import importlib.util as u; print([name for name in ('pip', 'ensurepip') if u.find_spec(name)])"
    path = ("--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--entrypoint", "python3")
    assert containers(image, "-c", look, more=path).stdout == "[]\n"


INSTALLED = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("image", "lock"), [("benchmark", "cpu.lock"), ("benchmark-verify", "verify.lock")])
def test_the_bill_of_materials_lists_what_is_installed_and_the_lock_pins_it(
    containers, root: Path, image: str, lock: str
) -> None:
    installed = json.loads(containers(image, "-c", INSTALLED, more=("--entrypoint", "python3")).stdout)
    installed = {normal(name): version for name, version in installed.items()}
    said = json.loads(containers(image, f"{SHARE}/sbom.cdx.json", more=("--entrypoint", "cat")).stdout)
    assert said["bomFormat"] == "CycloneDX"
    assert {normal(part["name"]): part["version"] for part in said["components"]} == installed
    kept = containers(image, f"{SHARE}/{lock}", more=("--entrypoint", "cat")).stdout
    assert kept == (root / "requirements" / lock).read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", kept, re.MULTILINE))
    torch = {"torch": "2.13.0+cpu"} if image == "benchmark" else {}
    assert installed == {**pinned, **torch, "moral-ambiguity-benchmark": __version__}
    if torch:
        sums = containers(image, f"{SHARE}/torch-wheel.sha256", more=("--entrypoint", "cat")).stdout
        assert re.fullmatch(r"[0-9a-f]{64}  \S+/torch-2\.13\.0\+cpu-\S+\.whl\n", sums)


@pytest.mark.parametrize("image", IMAGES)
def test_a_sound_submission_is_valid(containers, image: str) -> None:
    said = containers(image, "validate", LORA).stdout.splitlines()
    assert said[0] == f"{LORA}: valid"
    assert all(line.startswith("  ignored in ") for line in said[1:])


# --- a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def run(containers, inspect, key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the embedded tiny model with its adapter, as the host sees it."""
    results = tmp_path_factory.mktemp("run")
    os.chown(results, UID, UID)
    digest = inspect("benchmark", "{{.Digest}}")
    more = ("-v", f"{results}:/results", *key.mounts, "-e", f"BENCHMARK_IMAGE_DIGEST={digest}")
    done = containers("benchmark", "evaluate", LORA, *SAMPLE, *key.option, more=more)
    assert done.stdout.startswith("/results/tiny-llama-lora/")
    assert "stay inside" not in done.stderr
    return results / Path(done.stdout.strip()).relative_to("/results")


@pytest.fixture(scope="session")
def outside(key, root: Path, run: Path) -> Path:
    """The same run on the host, with the same key."""
    done = key.host("evaluate", root / LORA, *SAMPLE, "--output-dir", key.host.home / "results")
    return Path(done.stdout.strip())


def test_the_run_says_what_ran_it_and_belongs_to_who_asked(run: Path, inspect, root: Path) -> None:
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in (run, *run.iterdir())}
    assert owners == {(UID, UID)}
    found = read(run / "environment.json")
    assert found["image_digest"] == inspect("benchmark", "{{.Digest}}")
    assert (
        found["source_revision"]
        == json.loads(inspect("benchmark", "{{json .Labels}}"))["org.opencontainers.image.revision"]
    )
    assert found["backend"]["device"]["threads"] == 1
    assert found["variables"]["PYTHONHASHSEED"] == "0"
    card = read(run / "scorecard.json")
    assert set(card["run"]["isolation"].values()) == {"active"}, card["run"]["isolation"]
    assert {"files", "network", "processes"} <= card["run"]["isolation"].keys()
    assert card["run"]["image_digest"] == found["image_digest"]


def test_the_card_verifies_outside_and_in_the_image_that_has_no_model(run: Path, key, containers, root: Path) -> None:
    assert key.host("verify", run, "--recompute").returncode == 0
    keyring = read(root / "tests" / "conformance" / "keyring.json")
    shown = key.host("keys", "show").stdout
    entry = {
        **keyring["keys"][0],
        "keyid": re.search(r"keyid\s+(\S+)", shown)[1],
        "pem": shown[shown.index("-----BEGIN") :],
        "not_before": "2020-01-01T00:00:00Z",
        "not_after": "2100-01-01T00:00:00Z",
    }
    (key.folder / "keyring.json").write_text(json.dumps({**keyring, "keys": [entry]}), encoding="utf-8")
    more = ("-v", f"{run}:/work:ro", *key.mounts)
    words = ("verify", "/work", "--recompute", "--keyring", "/keys/keyring.json")
    assert containers("benchmark-verify", *words, more=more).returncode == 0


def test_an_altered_card_does_not_verify(run: Path, key, containers, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "altered")
    rows = tmp_path / "altered" / "predictions.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"-0.", b"-1.", 1))
    more = ("-v", f"{tmp_path}/altered:/work:ro", *key.mounts)
    words = ("verify", "/work", "--keyring", "/keys/keyring.json")
    assert containers("benchmark-verify", *words, more=more, code=4).returncode == 4


def test_inside_and_outside_predict_the_same(run: Path, outside: Path) -> None:
    """To the last bit: the libraries are the same files, and both ran on this machine with one thread."""
    inside, host = read(run / "environment.json"), read(outside / "environment.json")
    assert {**inside["versions"], "python": ""} == {**host["versions"], "python": ""}
    assert (run / "predictions.jsonl").read_bytes() == (outside / "predictions.jsonl").read_bytes()
    assert read(run / "scorecard.json")["tasks"] == read(outside / "scorecard.json")["tasks"]


def test_the_image_without_a_model_scores_compares_and_ranks(run: Path, key, containers, results: Path) -> None:
    where = ("-v", f"{results}:/results", "-v", f"{run}:/work:ro", *key.mounts)

    def verify(*words: object, code: int = 0) -> str:
        return containers("benchmark-verify", *words, more=where, code=code).stdout

    scored = verify("score", "predictions.jsonl", "--suite", "sample", "--quiet", *key.option).strip()
    trust = ("--keyring", "/keys/keyring.json")
    assert "cross_entropy" in verify("compare", "/work", scored, *trust)
    verify("archive", "add", "/results/cards", "/work", scored, *trust)
    board = json.loads(verify("leaderboard", "/results/cards", *trust, "--format", "json"))
    assert "tiny-llama-lora" in json.dumps(board)
    assert (
        "MODEL_LIBRARIES"
        in containers("benchmark-verify", "evaluate", LORA, "--suite", "sample", more=where[:2], code=3).stderr
    )


# --- what goes wrong -----------------------------------------------------------------------------------------------


def pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def with_code(model: Path) -> None:
    config = read(model / "config.json")
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model"}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "fault"), [(pickled, "FILE_MISSING"), (with_code, "CONFIG_FORBIDDEN")], ids=["pickle", "code"]
)
def test_a_hostile_submission_is_refused(containers, results: Path, root: Path, tmp_path: Path, spoil, fault) -> None:
    shutil.copytree(root / "submissions" / "tiny-llama", tmp_path / "work")
    spoil(tmp_path / "work" / "model")
    more = ("-v", f"{tmp_path}/work:/work:ro", "-v", f"{results}:/results")
    for image, words in (("benchmark-verify", ("validate",)), ("benchmark", ("evaluate", "--suite", "sample"))):
        done = containers(image, words[0], "submission.yaml", *words[1:], more=more, code=1)
        assert fault in done.stdout + done.stderr
    assert not [file for file in results.rglob("*") if file.is_file()]


def test_a_killed_container_is_resumed(containers, key, run: Path, results: Path) -> None:
    words = ("evaluate", LORA, *SAMPLE, *key.option)
    more = ("-v", f"{results}:/results", *key.mounts, "--name", f"killed-{os.getpid()}")
    # Slowed down, so that it is surely killed before it ends.
    first = subprocess.Popen(
        containers.arguments("benchmark", *words, more=(*more, "--cpus", "0.5")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 300
    while first.poll() is None and time.monotonic() < deadline:
        journals = [file for file in results.rglob("*") if file.is_file() and file.stat().st_size > 20_000]
        if journals:
            break
        time.sleep(0.05)
    assert journals, first.communicate()
    containers.finished(["podman", "kill", "--signal", "KILL", more[-1]])
    first.communicate(timeout=60)
    assert first.returncode != 0
    assert not list(results.rglob("scorecard*"))
    done = containers("benchmark", *words, more=more[:-2])
    folder = results / Path(done.stdout.strip()).relative_to("/results")
    timing = read(folder / "environment.json")["timing"]
    assert timing["prompts_resumed"] > 0
    assert timing["prompts"] > 0
    assert (folder / "predictions.jsonl").read_bytes() == (run / "predictions.jsonl").read_bytes()


def test_results_that_cannot_be_written_are_told_before_a_model_is_loaded(containers, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o755)
    more = ("-v", f"{tmp_path}/results:/results")
    # The image without a model would stop at the model, if it came that far.
    for image in IMAGES:
        said = " ".join(containers(image, "evaluate", LORA, "--suite", "sample", more=more, code=3).stderr.split())
        assert "OUTPUT_UNWRITABLE" in said
        assert '-v "$PWD/results:/results" --user "$(id -u):$(id -g)"' in said


def test_the_doctor_inside(containers, tmp_path: Path, results: Path) -> None:
    def examine(code: int, *more: object) -> dict[str, dict[str, str]]:
        done = containers("benchmark", "doctor", "--format", "json", more=more, code=code)
        return {finding["name"]: finding for finding in json.loads(done.stdout)}

    sound = examine(0, "-v", f"{results}:/results")
    assert {finding["state"] for finding in sound.values()} == {"ok", "warn"}
    assert sound["shared memory"]["state"] == sound["isolation"]["state"] == "ok"
    assert "--gpus all" in sound["device"]["hint"]
    (tmp_path / "theirs").mkdir(mode=0o755)
    poor = examine(3, "-v", f"{tmp_path}/theirs:/results", "--shm-size", "8m")
    assert poor["output"]["state"] == "fail"
    assert '--user "$(id -u):$(id -g)"' in poor["output"]["hint"]
    assert poor["shared memory"]["state"] == "warn"
    done = containers(
        "benchmark", "doctor", "--device", "cuda", "--format", "json", more=("-v", f"{results}:/results"), code=3
    )
    [device] = [finding for finding in json.loads(done.stdout) if finding["name"] == "device"]
    assert (device["state"], "without CUDA" in device["message"]) == ("fail", True)


# --- the literal command -------------------------------------------------------------------------------------------


def test_docker_run_benchmark_evaluate(docker, root: Path, tmp_path: Path) -> None:
    """`docker run --gpus all -v "$PWD:/work" benchmark evaluate submission.yaml`, with what is measured cut short."""
    shutil.copytree(root / "submissions" / "tiny-llama", tmp_path / "work")
    name = f"literal-{os.getpid()}"
    short = ("-e", "BENCHMARK_EVALUATE_SUITE=sample", "-e", "BENCHMARK_EVALUATE_LIMIT=5")
    options = ("--gpus", "all", "--name", name, "--network", "none", *short)
    try:
        done = docker("run", *options, "-v", f"{tmp_path}/work:/work", "benchmark", "evaluate", "submission.yaml")
        assert "stay inside this container" in done.stderr
        assert "gone with this container" in done.stderr
        assert "cross_entropy" in done.stdout or "cross-entropy" in done.stdout.lower()
        folder = done.stdout.split()[-1]
        assert folder.startswith("/results/tiny-llama/")
        docker("cp", f"{name}:{folder}", tmp_path / "out")
        assert (tmp_path / "out" / "scorecard.sigstore.json").stat().st_size > 1000
    finally:
        docker("rm", "--force", name, code=None)


def test_docker_run_hardened(docker, tmp_path: Path, results: Path) -> None:
    """The line of docs/container.md that a careful host uses; the submission is the embedded one."""
    more = (
        *("--gpus", "all", "--network", "none", "--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,size=2g"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "512", "--user", f"{UID}:{UID}"),
    )
    words = ("evaluate", "submissions/tiny-llama/submission.yaml", "--suite", "sample", "--limit", "5", "--quiet")
    done = docker("run", "--rm", *more, "-v", f"{results}:/results", "benchmark", *words)
    assert (results / Path(done.stdout.strip()).relative_to("/results") / "scorecard.json").is_file()
