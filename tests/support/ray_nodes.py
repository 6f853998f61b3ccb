"""Nodes of a Ray cluster on this machine's loopback, as `ray start` makes them, each of which can be taken away."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Ray takes the loopback for a mistake on Linux, and puts another address in its place.
_START = (
    "import sys, ray._private.services; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; "
    "ray._private.services.resolve_ip_for_localhost = lambda host: host; sys.exit(main())"
)
_SECONDS = 120.0


def wait_for(condition: Callable[[], object], what: str, seconds: float = _SECONDS) -> None:
    """Until `condition` holds; what is waited for is alive or is not, however long that takes on a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {seconds:.0f} seconds"
        time.sleep(0.01)


def processes_with(mark: str) -> list[tuple[int, bytes]]:
    """Number and command line of each process but this one that has `mark` in its environment."""
    marked = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                marked.append((int(folder.name), (folder / "cmdline").read_bytes()))
        except OSError:
            continue
    return marked


def listening(processes: Sequence[int]) -> set[str]:
    """Addresses on which any of the processes listens for TCP, as the kernel writes them: `0100007F` is 127.0.0.1."""
    sockets = set()
    for number in processes:
        with contextlib.suppress(OSError):
            for handle in Path(f"/proc/{number}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(str(handle.readlink()))
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


class RayNodes:
    """Holds a head and a further node, each with one core, or nodes of so many `cores`; `close` ends all of them."""

    def __init__(self, environment: Mapping[str, str], cores: Sequence[int] = (1, 1)) -> None:
        # Sockets are named in it, and names of sockets are short.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self._token = secrets.token_hex(32)
        self.variables = {
            "RAY_worker_niceness": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
        }
        self._environment = {**environment, **self.variables}
        self.variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for a driver: the loopback is meant
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._nodes: list[subprocess.Popen[bytes]] = []
        try:
            head = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._folder}")
            self._start(*head, cores=cores[0])
            for count in cores[1:]:
                self._start(f"--address={self.address}", cores=count)
        except BaseException:
            self.close()
            raise

    def add(self, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A further node, alive when this returns; with `more` variables in its environment."""
        return self._start(f"--address={self.address}", more=more)

    def remove(self, node: subprocess.Popen[bytes] | None = None) -> None:
        """Take a node (default: the one that was added first) away at once, with all of its processes."""
        node = node or self._nodes[1]
        self._nodes.remove(node)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def actors(self) -> list[int]:
        """Process numbers of the actors that hold workers, on all nodes of this cluster."""
        return [number for number, words in self._processes() if words.startswith(b"ray::NodeProcess")]

    def close(self) -> None:
        while self._nodes:
            self.remove(self._nodes[-1])
        for number, _ in self._processes():
            os.kill(number, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> list[tuple[int, bytes]]:
        return processes_with(self._token)

    def _start(self, *options: str, cores: int = 1, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        said = (self._folder / f"node-{len(self._nodes)}-{secrets.token_hex(2)}.txt").open("w+b")
        node = subprocess.Popen(
            [
                *(sys.executable, "-c", _START, "start", *options, f"--num-cpus={cores}", "--num-gpus=0"),
                *("--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--block"),
            ],
            env={**self._environment, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._nodes.append(node)

        def up() -> bool:
            text = Path(said.name).read_text(encoding="utf-8")
            assert node.poll() is None, text
            return "Ray runtime started" in text

        try:
            wait_for(up, "node")
        finally:
            said.close()
        return node
