"""What runs on a node of a cluster: it binds the files there, starts the sandboxed worker, and hands lines on."""

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from runner.artifacts import (
    FileStat,
    Kind,
    PrivateView,
    changed_files,
    inherited_handles,
    raise_if_modified,
    stat_files,
)
from runner.core import environment
from runner.core.errors import BackendError, Fault, UserError, raise_faults
from runner.models.hub import resolve_model
from runner.models.worker import protocol
from runner.models.worker.process import Process

Json = dict[str, Any]
Reply: TypeAlias = list[bytes] | Json | None
"""The lines of a worker's answer; or a failure, as `protocol.error_row`; or None where the request was lost with the
worker before this one, or on the way."""

_ITEM = b'{"item":'


class NodeProcess:
    """A Ray actor: the process that holds one replica's worker, on whichever node Ray put it.

    All of its methods run in its main thread, one after another: on Linux the worker dies with the thread that started
    it. What the worker says is not read here but handed to the driver, which checks it.
    """

    def __init__(self) -> None:
        self._incarnation = ""
        self._stack = ExitStack()
        self._process: Process | None = None
        self._folders: dict[Kind, Path] = {}
        self._manifests: Mapping[Kind, list[Json]] = {}
        self._stats: tuple[FileStat, ...] = ()
        self._failure: Json | None = None
        self._requests = 0

    def facts(self) -> Json:
        """This node's name for words, and what of it can move a number; `pid` is the actor's, for who looks at it."""
        import ray

        machine = environment.describe()

        context = ray.get_runtime_context()
        return {
            "node": f"node {ray.util.get_node_ip_address()} ({context.get_node_id()[:8]})",
            "pid": os.getpid(),
            "versions": machine["versions"],
            "system": machine["system"],
        }

    def start(self, submission: Json, manifests: Mapping[Kind, list[Json]], threads: int | None) -> Json:
        """Bind this node's files of a submission and start a worker that may read them and nothing else.

        `manifests` are those of the files on the machine that drives the run. Returns `folders`, the absolute paths of
        the private views by kind, or `error`.
        """
        self.close(self._incarnation)
        try:
            reference = protocol.submission_of(submission)
            self._folders = {"model": resolve_model(reference.model)}
            if reference.adapter is not None:
                self._folders["adapter"] = resolve_model(reference.adapter)
            self._manifests = manifests
            self._stats = stat_files(*((folder, kind) for kind, folder in self._folders.items()))
            views = {
                kind: self._stack.enter_context(PrivateView(folder, kind, self._stats))
                for kind, folder in self._folders.items()
            }
            for kind, view in views.items():
                _check_files(self._folders[kind], view.files, manifests[kind])
            handles = [handle for view in views.values() for handle in inherited_handles(view.folder)]
            self._process = Process(threads, handles)
        except UserError as problem:
            self.close(self._incarnation)
            return {"error": protocol.error_row(problem)}
        self._incarnation = secrets.token_hex(8)
        folders = {kind: str(view.folder.resolve()) for kind, view in views.items()}
        return {"folders": folders, "incarnation": self._incarnation}

    def send(self, incarnation: str, number: int, lines: bytes, seconds: float, activity: str) -> None:
        """Hand the lines of request `number` (from 0) to the worker; what goes wrong is what `receive` tells.

        A request that comes without the one before it, which Ray lost, is lost as well.
        """
        if incarnation == self._incarnation and self._process is not None and number == self._requests:
            self._requests += 1
            try:
                self._process.send_bytes(lines, seconds, activity)
            except UserError as problem:
                self._failure = protocol.error_row(problem)

    def receive(self, incarnation: str, number: int, count: int, seconds: float, activity: str) -> Reply:
        """The worker's next lines, which answer request `number`: up to `count` items and one that is none.

        Not before the files were seen to be as they were when they were hashed.
        """
        if incarnation != self._incarnation or number >= self._requests:
            return None
        if self._failure is not None or self._process is None:
            return self._failure
        lines: list[bytes] = []
        try:
            while len(lines) <= count and (not lines or lines[-1].startswith(_ITEM)):
                lines.append(self._process.receive_line(seconds, activity))
            raise_if_modified(self._stats)
        except UserError as problem:
            self._failure = protocol.error_row(problem)
            return self._failure
        return lines

    def changed(self) -> Json | None:
        """Hash this node's files again: an error with BYTES_CHANGED for each that is not what was loaded."""
        try:
            for kind, folder in self._folders.items():
                raise_faults(changed_files(folder, kind, self._manifests[kind]))
        except UserError as problem:
            return protocol.error_row(problem)
        return None

    def close(self, incarnation: str) -> None:
        """End the worker and take the private views away, unless it is another one already."""
        if incarnation == self._incarnation:
            if self._process is not None:
                self._process.close()
            self._process = None
            self._failure = None
            self._requests = 0
            self._stack.close()
            self._incarnation = ""


def _check_files(folder: Path, here: list[Json], there: list[Json]) -> None:
    """`BackendError` (NODE_FILES) for each file that is not, byte for byte, what the run's driver hashed."""
    own, expected = ({entry["name"]: entry for entry in entries} for entries in (here, there))
    message = "It is not the file of that name on the machine that drives the run."
    hint = "Copy the same files to the same path of every node; each node reads its own."
    if faults := [
        Fault("NODE_FILES", message, str(folder / name), hint=hint)
        for name in sorted(own.keys() | expected.keys())
        if own.get(name) != expected.get(name)
    ]:
        raise BackendError(*faults)
