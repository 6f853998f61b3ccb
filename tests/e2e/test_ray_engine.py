"""A run on two Ray nodes of this machine: whatever is lost on the way, its predictions are those of one machine."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.ray_nodes import RayNodes, listening, processes_with, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'"),
]

STEPS = ("--suite", "sample", "--task", "dilemmas", "--limit", "40", "--batch-tokens", "100")


@pytest.fixture(scope="module")
def nodes(installed: Command) -> Iterator[RayNodes]:
    cluster = RayNodes(installed.environment())
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def alone(command: Any, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The predictions of one process of this machine."""
    done = command("evaluate", submissions.lora, *STEPS, "-q", "-o", tmp_path_factory.mktemp("alone"))
    return (Path(done.stdout.splitlines()[-1]) / "predictions.jsonl").read_bytes()


class Driver:
    """`benchmark evaluate --engine ray` on two replicas, which can be disturbed while it runs; without `nodes` on a
    cluster of its own."""

    def __init__(
        self,
        command: Command,
        nodes: RayNodes | None,
        submission: Path,
        output: Path,
        device: str = "cpu,cpu",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        engine = ("--engine", "ray", "--device", device, *(("--ray-address", nodes.address) if nodes else ()))
        self.output = output
        self.process = subprocess.Popen(
            [*command.program, "evaluate", submission, *STEPS, *engine, "-o", output],
            env=command.environment(nodes.variables if nodes else variables),
            cwd=command.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def wait_for_answers(self, steps: int) -> None:
        """Until so many steps are in the journal; the run must not be at its end by then."""

        def there() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return any(path.read_bytes().count(b"\n") > steps for path in self.output.glob("*/*/journal.jsonl"))

        wait_for(there, "answer")

    def finish(self, code: int = 0) -> tuple[str, str]:
        said, errors = self.process.communicate(timeout=200)
        assert self.process.returncode == code, errors
        assert "Traceback" not in errors
        return said, " ".join(errors.split())

    def run_folder(self) -> Path:
        said, _ = self.finish()
        return Path(said.splitlines()[-1])


def all_protected(run: Path) -> bool:
    """Whether the card says of every worker that the run ever had that each protection was active."""
    states = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))["run"]["isolation"]
    return len(states) >= 12 and set(states.values()) == {"active"}


@pytest.mark.slow
def test_a_killed_actor_and_an_exchanged_node_change_no_byte(
    installed: Command, nodes: RayNodes, submissions: Any, alone: bytes, tmp_path: Path
) -> None:
    driver = Driver(installed, nodes, submissions.lora, tmp_path)
    driver.wait_for_answers(2)
    first, *_ = nodes.actors()
    os.kill(first, signal.SIGKILL)  # while it computes a step
    driver.process.send_signal(signal.SIGSTOP)  # so that the other does not finish the run alone
    nodes.add()
    nodes.remove()
    driver.process.send_signal(signal.SIGCONT)
    run = Path((finished := driver.finish())[0].splitlines()[-1])
    assert (run / "predictions.jsonl").read_bytes() == alone
    assert all_protected(run)
    engine = json.loads((run / "environment.json").read_text(encoding="utf-8"))["engine"]
    assert engine["name"] == "ray"
    assert engine["restarts"] >= 2
    assert sum(kind["replicas"] for kind in engine["nodes"]) == 2
    assert "was lost" in finished[1]
    assert "there again" in finished[1]
    assert "ray::" not in finished[1]
    assert "raylet" not in finished[0]


@pytest.mark.slow
def test_a_killed_driver_is_resumed(
    installed: Command, nodes: RayNodes, submissions: Any, alone: bytes, tmp_path: Path
) -> None:
    driver = Driver(installed, nodes, submissions.lora, tmp_path)
    driver.wait_for_answers(2)
    driver.process.kill()
    driver.process.communicate()
    wait_for(lambda: nodes.actors() == [], "end of the actors")  # each of them ends its worker with it
    run = Path((finished := Driver(installed, nodes, submissions.lora, tmp_path).finish())[0].splitlines()[-1])
    assert "were answered before" in finished[1]
    assert (run / "predictions.jsonl").read_bytes() == alone
    assert all_protected(run)
    assert [path.name for path in run.parent.iterdir()] == [run.name]


@pytest.mark.slow
def test_a_node_with_another_version_is_refused_with_both_named(
    installed: Command, nodes: RayNodes, submissions: Any, tmp_path: Path
) -> None:
    from importlib.metadata import version

    other = tmp_path / "other" / "rfc8785-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: rfc8785\nVersion: 0.0.1\n", encoding="utf-8")
    node = nodes.add({"PYTHONPATH": str(other.parent)})
    try:
        driver = Driver(installed, nodes, submissions.base, tmp_path / "out", "cpu,cpu,cpu")
        _, errors = driver.finish(3)
    finally:
        nodes.remove(node)
    assert "NODES_DIFFER" in errors
    assert "rfc8785 is 0.0.1 on node 127.0.0.1" in errors
    assert version("rfc8785") in errors


@pytest.mark.slow
def test_a_cluster_of_its_own_is_reached_from_this_machine_alone_and_goes_with_the_run(
    installed: Command, submissions: Any, alone: bytes, tmp_path: Path
) -> None:
    """Whoever reaches Ray's ports runs code: each listens on the loopback, and asks for a token."""
    mark = f"OF_TEST={tmp_path}\0"
    driver = Driver(installed, None, submissions.lora, tmp_path, "cpu", {"OF_TEST": str(tmp_path)})
    driver.wait_for_answers(2)
    ours = processes_with(mark)
    with_token = {number for number, _ in ours} & {number for number, _ in processes_with("RAY_AUTH_MODE=token")}
    assert len(with_token) >= 3
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    addresses = listening([number for number, _ in ours])
    assert addresses
    assert addresses <= loopback
    run = driver.run_folder()
    assert (run / "predictions.jsonl").read_bytes() == alone
    assert all_protected(run)
    wait_for(lambda: processes_with(mark) == [], "end of the cluster")
