"""What becomes of steps when workers are lost or answer differently, with pretended workers; and a node's files."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from support import tiny_submission
from support.paths import ROOT
from test_pool import steps

from runner.artifacts import model_manifest
from runner.core import environment
from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt
from runner.models.cluster.backend import ClusterReplicas, _devices, _room
from runner.models.cluster.channel import ReplicaLost
from runner.models.cluster.node import NodeProcess
from runner.models.cluster.replica import Replica
from runner.models.worker import protocol

KIND = {"processor": "one", "machine": "x86_64", "cpus": 2, "memory_bytes": 1}


def predictions(prompts: Sequence[Prompt], score: float = -1.0) -> list[Prediction]:
    return [Prediction(task=each.task, item_id=each.item_id, log_scores=(score, -2.0)) for each in prompts]


class PretendedWorker:
    """Answers steps; each of `failures` comes instead of an answer to a step with its item."""

    def __init__(self, failures: dict[str, list[Exception]]) -> None:
        self.failures = failures

    def share(self, given: Iterable[Sequence[Prompt] | None]) -> Iterator[tuple[Sequence[Prompt], list[Prediction]]]:
        pending: deque[Sequence[Prompt]] = deque()
        for step in given:
            if step is not None:
                pending.append(step)
            if len(pending) > 1 or (pending and step is None):
                if waiting := self.failures.get(pending[0][0].item_id):
                    raise waiting.pop()
                yield (answered := pending.popleft()), predictions(answered)


class PretendedReplica(Replica):
    """A replica that is there again at once, with the same worker."""

    def __init__(self, failures: dict[str, list[Exception]], **system: Any) -> None:
        super().__init__(None, "cpu", None, lambda _: None)  # type: ignore[arg-type]
        self.facts = {"node": f"node {id(self)}", "system": {**KIND, **system}}
        self._worker: Any = PretendedWorker(failures)
        self._same = self._worker

    def open(self, give_up: Any = None) -> bool:
        self._worker = self._same
        return True

    def ask(self, do: Any) -> Any:
        return predictions(steps(9)[0]) if self.is_there else None

    def close(self) -> None:
        pass

    def kill(self, seconds: float) -> None:
        pass


def shared(replicas: Sequence[Replica], count: int) -> list[str]:
    backend = ClusterReplicas(replicas, lambda _: None)
    return [members[0].item_id for members, _ in backend.share(steps(count))]


def fault(replicas: Sequence[Replica], count: int) -> Fault:
    with pytest.raises(BackendError) as caught:
        shared(replicas, count)
    return caught.value.faults[0]


def crash() -> BackendError:
    return BackendError(Fault("WORKER_CRASH", "It was ended by SIGSEGV."))


def test_what_is_lost_is_answered_once_all_the_same() -> None:
    failures = {f"{number}-0": [ReplicaLost("its node ended")] for number in range(1, 9, 2)}
    replicas = [PretendedReplica(failures), PretendedReplica(failures)]
    assert sorted(shared(replicas, 9)) == [f"{number}-0" for number in range(9)]
    assert sum(replica.restarts for replica in replicas) == 4


def test_a_step_that_takes_three_workers_ends_the_run_with_its_name() -> None:
    failures = {"4-0": [crash(), ReplicaLost("its node ended"), crash()]}
    found = fault([PretendedReplica(failures), PretendedReplica(failures)], 9)
    assert found.code == "STEP_FATAL"
    assert "step 5 (task/dev, item 4-0" in found.message


def test_twice_is_not_three_times() -> None:
    failures = {"4-0": [crash(), crash()]}
    assert len(shared([PretendedReplica(failures), PretendedReplica(failures)], 9)) == 9


def test_a_worker_that_lies_ends_the_run_at_once() -> None:
    failures: dict[str, list[Exception]] = {"2-0": [BackendError(Fault("WORKER_REPLY", "no JSON"))]}
    assert fault([PretendedReplica(failures), PretendedReplica(failures)], 9).code == "WORKER_REPLY"


def test_a_worker_that_takes_anothers_place_answers_alike_or_ends_the_run() -> None:
    replica = PretendedReplica({})
    first = steps(9)[0]
    assert replica.revive((first, predictions(first)), lambda: False)
    with pytest.raises(BackendError) as caught:
        replica.revive((first, predictions(first, -1.0000001)), lambda: False)
    (found,) = caught.value.faults
    assert found.code == "ANSWERS_DIFFER"
    assert first[0].item_id in found.message


def test_processors_that_differ_are_refused_with_both_named() -> None:
    backend = ClusterReplicas([PretendedReplica({}), PretendedReplica({}, processor="another")], lambda _: None)
    with pytest.raises(BackendError) as caught:
        backend.open()
    (found,) = caught.value.faults
    assert found.code == "NODES_DIFFER"
    names = [replica.name for replica in backend.replicas]
    assert all(words in found.message for words in ("one (x86_64)", "another (x86_64)", *names))


def test_versions_that_differ_are_refused_each_by_name() -> None:
    replica = Replica(None, "cpu", None, lambda _: None)  # type: ignore[arg-type]
    replica.facts = {"node": "node 10.0.0.2", "versions": {**environment.versions(), "torch": "1.0", "numpy": None}}
    with pytest.raises(BackendError) as caught:
        replica._check_node()
    assert [found.code for found in caught.value.faults] == ["NODES_DIFFER"] * 2
    assert "torch is 1.0 on node 10.0.0.2" in caught.value.faults[1].message


def test_files_of_a_node_that_are_others_are_refused() -> None:
    """The node's own part without a cluster: it hashes what is there, and starts nothing."""
    model = ROOT / "submissions" / "tiny-llama" / "model"
    manifest = model_manifest(model)
    manifest[0]["sha256"] = "0" * 64
    reply = NodeProcess().start(protocol.submission_row(tiny_submission.of(model)), {"model": manifest}, 1)
    (found,) = protocol.error_of(reply["error"]).faults
    assert found.code == "NODE_FILES"
    assert found.file == str(model / manifest[0]["name"])


class Echo:
    """A process that has answered before it is asked."""

    def send_bytes(self, lines: bytes, seconds: float, activity: str) -> None:
        pass

    def receive_line(self, seconds: float, activity: str) -> bytes:
        return b'{"ok":null}'


def test_a_request_that_was_lost_on_the_way_is_not_waited_for() -> None:
    node = NodeProcess()
    node._process, node._incarnation = Echo(), "this"  # type: ignore[assignment]
    node.send("this", 0, b"first", 1, "testing")
    node.send("this", 2, b"third", 1, "testing")  # the second never came
    assert node.receive("this", 0, 0, 1, "testing") == [b'{"ok":null}']
    assert node.receive("this", 1, 0, 1, "testing") is None
    assert node.receive("this", 2, 0, 1, "testing") is None
    assert node.receive("another", 0, 0, 1, "testing") is None


def test_devices_become_room_for_actors() -> None:
    """Numbers of CUDA devices count them; a node's own number from 0."""
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}]
    nodes += [{"Alive": False, "Resources": {"CPU": 1.0}}, {"Alive": True, "Resources": {}}]

    class Cluster:
        def __init__(self, gpus: float) -> None:
            self.cluster_resources = lambda: {"CPU": 12.0, "GPU": gpus}
            self.nodes = lambda: nodes

    assert _devices(Cluster(0), [None], None) == (["cpu", "cpu"], 4)
    assert _devices(Cluster(3), [None], None) == (["cuda"] * 3, None)
    assert _devices(Cluster(3), ["cuda:5", "cuda:7"], None) == (["cuda", "cuda"], None)
    assert _devices(Cluster(4), ["cuda:2+cuda:3"], 2) == (["cuda:0+cuda:1"], 2)
    assert _devices(Cluster(0), ["cpu", "cpu"], None) == (["cpu", "cpu"], 1)
    assert _room("cuda:0+cuda:1", None)["num_gpus"] == 2
    assert (_room("cpu", 4)["num_cpus"], _room("cpu", 4)["num_gpus"]) == (4, 0)
