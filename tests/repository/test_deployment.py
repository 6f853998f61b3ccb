"""compose.yaml and the Kubernetes example are what their schemas want, and as hardened as the documented command."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from runner import __version__


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    """By the schema of the Compose specification, as check-jsonschema carries it."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60)


@pytest.fixture(scope="module")
def compose(root: Path) -> str:
    return (root / "compose.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def manifests(root: Path) -> list[dict]:
    return list(yaml.safe_load_all((root / "docs" / "kubernetes-job.yaml").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_compose_follows_its_schema_and_the_check_can_fail(root: Path, compose: str, tmp_path: Path) -> None:
    done = check_compose(root / "compose.yaml")
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "compose.yaml"
    broken.write_text(compose.replace("read_only: true", "read_only: [1]"), encoding="utf-8")
    assert check_compose(broken).returncode == 1


def test_every_service_is_hardened(compose: str) -> None:
    services = yaml.safe_load(compose)["services"]
    assert set(services) == {"evaluate", "evaluate-gpu", "verify"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["network_mode"] == "none"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] == 512
        assert [entry.split(":")[0] for entry in service["tmpfs"]] == ["/tmp"]
        writable = [
            mount.split(":", 1)[1].rsplit("}:", 1)[-1] for mount in service["volumes"] if not mount.endswith(":ro")
        ]
        assert writable == ["/results", "/cache"]
    assert [name for name, service in services.items() if "deploy" in service] == ["evaluate-gpu"]


def test_the_targets_of_compose_are_those_of_the_dockerfile(compose: str, root: Path) -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (root / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for service in yaml.safe_load(compose)["services"].values():
        assert service["build"]["target"] in stages
    assert stages[-1] == "evaluate"  # what is built when no target is named


def test_the_manifests_follow_their_schemas_and_the_check_can_fail(manifests: list[dict]) -> None:
    latest = kubernetes_validate.latest_version()
    assert [manifest["kind"] for manifest in manifests] == ["Job", "NetworkPolicy"]
    for manifest in manifests:
        kubernetes_validate.validate(manifest, latest, strict=True)
    job = manifests[0]
    broken = {**job, "spec": {**job["spec"], "backofLimit": 4}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, latest, strict=True)


def test_the_indexed_job_follows_its_schema_and_is_the_job_in_parts(root: Path, manifests: list[dict]) -> None:
    job = yaml.safe_load((root / "docs" / "kubernetes-indexed-job.yaml").read_text(encoding="utf-8"))
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    assert job["spec"]["completionMode"] == "Indexed"
    pods = [manifest["spec"]["template"]["spec"] for manifest in (manifests[0], job)]
    one, other = (pod["containers"][0] for pod in pods)
    assert other["securityContext"] == one["securityContext"]
    assert pods[1]["securityContext"] == pods[0]["securityContext"]
    assert {"name": "JOB_COMPLETIONS", "value": str(job["spec"]["completions"])} in other["env"]
    assert not any("key" in mount["name"] for mount in other["volumeMounts"])


def test_the_job_is_hardened_and_says_its_image(manifests: list[dict]) -> None:
    job, policy = manifests
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    (told,) = [variable["value"] for variable in container["env"] if variable["name"] == "BENCHMARK_IMAGE_DIGEST"]
    assert container["image"].endswith(f"@{told}")
    assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {
        "/tmp",
        "/results",
    }
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & policy["spec"].keys()


def test_the_dockerfile_pins_one_base_and_says_this_version(root: Path) -> None:
    text = (root / "Dockerfile").read_text(encoding="utf-8")
    bases = [line for line in text.splitlines() if line.startswith("FROM ") and "@sha256:" in line]
    assert len(bases) == 1
    ((name, digest),) = re.findall(r"^FROM (\S+)@(sha256:[0-9a-f]{64}) AS base$", text, re.MULTILINE)
    assert f'base.name="{name}"' in text
    assert f'base.digest="{digest}"' in text
    assert f"ARG VERSION={__version__}\n" in text


def test_torch_has_one_version_wherever_it_is_pinned(root: Path) -> None:
    files = ("Makefile", ".ci/image-test", "requirements/constraints.txt", "requirements/cuda.lock")
    for file in files:
        found = set(re.findall(r"torch(?:==|-| )(\d+\.\d+\.\d+)", (root / file).read_text(encoding="utf-8")))
        assert found == {"2.13.0"}, file
    # Outside the images the package can stand beside other programs: pyproject.toml has a range that holds the pin.
    (wanted,) = [
        Requirement(line)
        for line in tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
        if line.startswith("torch")
    ]
    assert wanted.specifier.contains("2.13.0")
    assert wanted.specifier.contains("2.12.1")
    assert not wanted.specifier.contains("3.0.0")
