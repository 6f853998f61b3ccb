"""Replicas on the nodes of a cluster as one backend: whichever is free takes the next step, and no step is lost."""

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

from runner.artifacts import Kind
from runner.core import environment
from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt, Submission
from runner.models.base import Cluster, LoadOptions
from runner.models.cluster.channel import ReplicaLost
from runner.models.cluster.node import NodeProcess
from runner.models.cluster.pool import Step, StepPool
from runner.models.cluster.replica import WORKER_LOST, Order, Replica
from runner.models.cluster.session import ray_session
from runner.models.worker.client import Worker
from runner.models.worker.replicas import common_isolation, compare_facts, device_names, each_in_a_thread

T = TypeVar("T")
_CLOSE_SECONDS = 3.0


def open_cluster(
    submission: Submission,
    manifests: Mapping[Kind, list[dict[str, Any]]],
    load: LoadOptions,
    cluster: Cluster,
) -> "ClusterReplicas":
    """Load what `submission` names on nodes of a cluster, a replica for each device of the list `load.device`.

    `manifests` are those of the files on this machine; each node reads its own copies and compares. Numbers of CUDA
    devices count devices and do not name them: Ray chooses. Raises what `open_isolated` does, and `BackendError`
    (CLUSTER, NODES_DIFFER, NODE_FILES).
    """
    names = device_names(load.device)
    threads = load.threads or _threads_of_environment()
    with ExitStack() as stack:
        cuda = names[0] != "cpu"
        cpus = max(len(names) * (threads or 1), environment.cpus() or 1)
        ray = stack.enter_context(ray_session(cluster.address, cpus, cuda=cuda))
        if cluster.address is not None and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            cluster.notify("This cluster has no tokens (RAY_AUTH_MODE): whoever reaches its ports runs code on it.")
        devices, threads = _devices(ray, names, threads)
        needed = sum(device.count("cuda") for device in devices)
        if cluster.address is None and needed > (there := ray.cluster_resources().get("GPU", 0)):
            raise BackendError(Fault("DEVICE", f"{needed} CUDA devices are asked for, and {there:g} are here."))
        order = Order(submission, manifests, LoadOptions(None, load.dtype, load.batch_tokens, threads))
        actor = ray.remote(NodeProcess)
        actors = [actor.options(**_room(device, threads)).remote() for device in devices]
        replicas = [
            Replica(actor, device, order, cluster.notify) for actor, device in zip(actors, devices, strict=True)
        ]
        backend = ClusterReplicas(replicas, cluster.notify)
        stack.callback(backend.end)
        backend.open()
        backend.keep(stack.pop_all())
        return backend


def _threads_of_environment() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdigit() and int(value) else None


def _devices(ray: Any, names: Sequence[str | None], threads: int | None) -> tuple[list[str], int | None]:
    """The device of each replica as its node sees it, and the threads of each on the processor; with CUDA as given.

    Where none is named: one replica for each CUDA device of the cluster, or else one for each node with all its cores.
    """
    if names != [None]:
        cuda = [str(name).startswith("cuda") for name in names]
        parts = [len(str(name).split("+")) for name in names]
        spread = ["+".join(f"cuda:{number}" for number in range(count)) for count in parts]
        return [
            "cuda" if on_cuda and count == 1 else several if on_cuda else str(name)
            for name, on_cuda, count, several in zip(names, cuda, parts, spread, strict=True)
        ], threads if cuda[0] else threads or 1
    if gpus := int(ray.cluster_resources().get("GPU", 0)):
        return ["cuda"] * gpus, threads
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cores = [count for count in cores if count]
    return ["cpu"] * len(cores), threads or min(cores)


def _room(device: str, threads: int | None) -> dict[str, Any]:
    gpus = device.count("cuda")
    return {
        "num_gpus": gpus,
        "num_cpus": 1 if gpus else threads or 1,
        "max_restarts": -1,
        "max_task_retries": 0,  # what was lost is known here, and given to whichever replica is free
        "scheduling_strategy": "SPREAD",
    }


class ClusterReplicas:
    """Holds the actors; see `runner.models.base.Backend`. What is predicted outside of `share`, the first predicts.

    A replica that is lost is waited for, and others do its steps meanwhile. To be used by the thread that opened them.
    """

    def __init__(self, replicas: Sequence[Replica], notify: Callable[[str], None]) -> None:
        self.replicas = replicas
        self._notify = notify
        self._threads: list[threading.Thread] = []
        self._session: ExitStack | None = None
        self._pool: StepPool | None = None
        self._alike = False
        self._bare: Worker | None = None
        self._ended = False

    def keep(self, session: ExitStack) -> None:
        """Leave `session` at the end: the connection to Ray, and what it was made for."""
        self._session = session

    @property
    def isolation(self) -> Mapping[str, str]:
        """The protections that every worker of the run had; of one that some lacked, why."""
        return common_isolation([states for replica in self.replicas for states in replica.isolations])

    def open(self) -> None:
        """Load the model in every replica; raises what the first that fails does."""
        list(self._on_each(lambda replica: [replica.open(lambda: self._ended)]))
        self._check_processors()

    def nodes(self) -> list[dict[str, Any]]:
        """Kinds of nodes that replicas are on now, how many are on each, and how often any was started again."""
        kinds = Counter(
            (system["processor"], system["machine"], system["cpus"], system["memory_bytes"], replica.device)
            for replica in self.replicas
            if (system := replica.facts["system"])
        )
        names = ("processor", "machine", "cpus", "memory_bytes", "device")
        return [{**dict(zip(names, kind, strict=True)), "replicas": count} for kind, count in kinds.items()]

    @property
    def restarts(self) -> int:
        """How often any replica was lost."""
        return sum(replica.restarts for replica in self.replicas)

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `Worker.plan`. The first time all plan, and their plans are equal; from then on the first does it alone.

        Raises `BackendError` (`DEVICES_DIFFER`) where they are not.
        """
        if self._alike:
            return self._live()[0].plan(prompts, first=False)
        plans = list(self._on_each(lambda replica: [(replica.name, replica.plan(prompts, first=True))]))
        self.describe()  # tells of more than that the plans differ
        (name, plan), *others = plans
        if differing := next((other for other, plan_there in others if plan_there != plan), None):
            message = f"The workers on {name} and on {differing} cut the prompts into other batches."
            raise BackendError(Fault("DEVICES_DIFFER", message, hint="Give --batch-tokens N."))
        self._alike = True
        return plan

    def share(self, steps: Iterable[Sequence[Prompt]]) -> Iterator[tuple[Sequence[Prompt], list[Prediction]]]:
        """Each step with its predictions, as they are finished; a step is predicted as a whole by one replica.

        Raises what `Worker.predict` does, `BackendError` STEP_FATAL, NODES_DIFFER and ANSWERS_DIFFER, and
        `KeyboardInterrupt`: all replicas are ended then, and what any of them had finished is given first.
        """
        self._pool = pool = StepPool(steps, len(self.replicas))
        yield from self._on_each(lambda replica: self._serve(replica, pool))

    def predict(self, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        """See `Worker.predict`."""
        if self._bare is not None:  # a new worker would have its adapter on
            return self._bare.predict(prompts)
        return iter(self._live()[0].ask(lambda worker: list(worker.predict(prompts))))

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """See `Worker.without_adapter`; for the prompts of `predict`."""
        return self._without() if self._live()[0].ask(lambda worker: worker.without_adapter() is not None) else None

    @contextmanager
    def _without(self) -> Iterator[None]:
        replica = self._live()[0]
        try:
            self._bare = replica.worker
            with self._bare.without_adapter() or nullcontext():
                yield
        except ReplicaLost as problem:
            message = f"The worker on {replica.name} was lost while its adapter was off: {problem}."
            raise BackendError(Fault("WORKER_LOST", message, hint="The same command resumes the run.")) from None
        finally:
            self._bare = None

    def describe(self) -> Mapping[str, Any]:
        """See `Worker.describe`; the same whatever the number of replicas. Raises `BackendError` (`DEVICES_DIFFER`)."""
        return compare_facts([(r.name, r.ask(lambda worker: worker.describe())) for r in self._live()])

    def peak_memory_bytes(self) -> int | None:
        """See `Worker.peak_memory_bytes`; the largest of those that are there now."""
        peaks = [replica.ask(lambda worker: worker.peak_memory_bytes()) for replica in self._live()]
        return max((peak for peak in peaks if peak is not None), default=None)

    def changed_files(self) -> list[Fault]:
        """BYTES_CHANGED for each file of a node that is not what was loaded there."""
        return [fault for faults in self._on_each(lambda replica: [replica.changed()]) for fault in faults]

    def spent(self) -> None:
        """None: there is no service."""
        return

    def close(self) -> None:
        """End all workers and actors, and the cluster where it is this run's own."""
        self.end()
        if self._session is not None:
            self._session.close()

    def end(self) -> None:
        """End all workers and actors."""
        if self._ended:
            return
        self._ended = True
        if self._pool is not None:
            self._pool.end()
        for replica in self.replicas:
            replica.close()
        for replica in self.replicas:
            replica.kill(_CLOSE_SECONDS)
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _live(self) -> Sequence[Replica]:
        """The replicas that are there; all, where none is, since one of them has to be waited for then."""
        return [replica for replica in self.replicas if replica.is_there] or self.replicas

    def _serve(self, replica: Replica, pool: StepPool) -> Iterator[tuple[Sequence[Prompt], list[Prediction]]]:
        """What one replica answers, until every step is answered by some replica."""
        while not pool.finished:
            held: deque[Step] = deque()
            try:
                for prompts, answers in replica.worker.share(pool.take(held)):
                    pool.finish(held, answers)
                    yield prompts, answers
                return
            except ReplicaLost as problem:
                reason = str(problem)
            except BackendError as problem:
                if problem.faults[0].code not in WORKER_LOST:
                    raise
                reason = str(problem.faults[0])
            if pool.finished:
                return
            replica.lose(reason)
            pool.give_back(held, reason, self._notify)
            if not replica.revive(pool.sample, lambda: pool.finished):
                return
            self._check_processors()

    def _check_processors(self) -> None:
        """`BackendError` (NODES_DIFFER) where the model runs on processors of two kinds, which may round differently.

        CUDA devices say their kind in `describe`.
        """
        kinds: dict[str, str] = {}
        for replica in self.replicas:
            if replica.device == "cpu":
                system = replica.facts["system"]
                kinds.setdefault(f"{system['processor']} ({system['machine']})", replica.name)
        if len(kinds) > 1:
            (kind, name), (other_kind, other_name), *_ = kinds.items()
            message = f"The processors differ: {kind} on {name}, {other_kind} on {other_name}."
            raise BackendError(Fault("NODES_DIFFER", message, hint="Run on nodes of one kind; answers round by kind."))

    def _on_each(self, do: Callable[[Replica], Iterable[T]]) -> Iterator[T]:
        return each_in_a_thread(self.replicas, do, self._threads, self.end)
