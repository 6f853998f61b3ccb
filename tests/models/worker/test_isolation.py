"""The model's process can do what it needs and nothing else; each attempt succeeds where nothing protects."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from support import tiny_submission
from support.sandbox_probes import NOT_EVERYWHERE, STOPPED_BY

from runner.models.base import LoadOptions
from runner.models.worker import isolation, landlock, process, seccomp
from runner.models.worker.client import Limits, start_worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the protections are Linux's")

MAY = {"read the model", "write in its own folder"}
# Stopped by the system itself wherever the tests may run: by an unprivileged user, or by the size of a machine.
STOPPED_ANYWAY = {"be another user", "change the root", "take all memory", "signal everybody"}


@pytest.fixture
def targets() -> Iterator[dict[str, Any]]:
    """A model, a labels file, a key and a server, all of which this process can reach."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for name in ("model", "data", "config", "other"):
            (top / name).mkdir()
        (top / "model" / "config.json").write_text("{}")
        (top / "data" / "labels.jsonl").write_text('{"votes": [5, 0]}')
        (top / "config" / "key.pem").write_text("secret")
        with ExitStack() as held:
            server = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            local = held.enter_context(socket.socket(socket.AF_UNIX))
            local.bind(str(top / "socket"))
            local.listen()
            datagrams = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            datagrams.bind(str(top / "datagrams"))
            yield {
                "model": str(top / "model"),
                "labels": str(top / "data" / "labels.jsonl"),
                "key": str(top / "config" / "key.pem"),
                "other": str(top / "other"),
                "port": server.getsockname()[1],
                "socket": str(top / "socket"),
                "datagrams": str(top / "datagrams"),
            }


@pytest.fixture
def facts(targets: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Any]]:
    """What the attempts in a process of the given entry tell of themselves, and the protections that it names."""

    def run(entry: str = "support.sandbox_probes:main") -> tuple[Any, Any]:
        monkeypatch.setattr(process, "ENTRY", entry)
        monkeypatch.setenv("HF_TOKEN", "secret")
        monkeypatch.setenv("BENCHMARK_EVALUATE_KEY", "secret")
        monkeypatch.setenv("PYTHONSTARTUP", "/secret.py")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        model = Path(targets["model"])
        with closing(start_worker([model], "cpu", Limits(start_seconds=30, load_seconds=30))) as worker:
            worker.load(tiny_submission.of(model), str(model), None, LoadOptions(dtype=json.dumps(targets)))
            return worker.describe(), worker.isolation

    return run


@pytest.mark.slow
def test_every_protection_of_this_machine_holds(facts: Any) -> None:
    told, protections = facts()
    missing = {name for name, state in protections.items() if state != "active"}
    for name in missing:
        assert protections[name].startswith("unavailable: ")
    allowed = set().union(*(STOPPED_BY.get(name, set()) for name in missing))
    outcomes = told["outcomes"]
    assert {name for name, outcome in outcomes.items() if outcome == "done"} <= MAY | allowed
    assert all(outcomes[name] == "done" for name in MAY)
    assert set(outcomes) == MAY.union(*STOPPED_BY.values())


@pytest.mark.slow
def test_the_attempts_succeed_where_nothing_protects(facts: Any) -> None:
    told, protections = facts("support.sandbox_probes:unprotected")
    assert protections["nothing"] == "unavailable: a test"
    failed = {name for name, outcome in told["outcomes"].items() if outcome != "done"}
    assert failed <= STOPPED_ANYWAY | NOT_EVERYWHERE | {"trace the parent", "read the parent's memory"}


def test_the_process_is_given_no_secret_and_no_open_file(facts: Any, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        told, _ = facts()
    assert "secret" not in json.dumps(told["environment"])
    assert told["environment"]["HF_HUB_OFFLINE"] == "1"
    assert told["environment"]["OMP_NUM_THREADS"] == "1"
    assert told["environment"]["TORCHDYNAMO_DISABLE"] == "1"
    assert told["environment"]["HOME"] == told["folder"]
    assert all(name.startswith(("pipe:", "/proc/")) for name in told["open"])
    assert not Path(told["folder"]).exists()  # it went with the process


def test_on_this_kernel_everything_is_active_that_it_has() -> None:
    found = isolation("cpu")
    if landlock.version() and seccomp.supported():
        assert set(found.values()) == {"active"}
    assert set(found) == {
        "capabilities",
        "core_dumps",
        "disk",
        "environment",
        "file_descriptors",
        "files",
        "memory",
        "network",
        "no_new_privileges",
        "parent_death",
        "processes",
        "signals",
        "system_calls",
    }


def test_what_the_kernel_lacks_is_said_by_name() -> None:
    """In a process of its own, since a sandbox cannot be left again."""
    code = (
        "import json, os, sys, pathlib\n"
        "from runner.models.worker import landlock, sandbox, seccomp\n"
        "landlock.version = lambda: 0\n"
        "seccomp.supported = lambda: False\n"
        "own = pathlib.Path.cwd()\n"
        "print(json.dumps(sandbox.protect([], own, os.getppid(), cuda=True)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    found = json.loads(done.stdout)
    assert found["files"] == "unavailable: the kernel has no Landlock"
    assert found["network"].startswith("unavailable: no filter is known for the processor ")
    assert found["memory"].startswith("not with CUDA: ")
    assert found["no_new_privileges"] == "active"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_the_same_protections() -> None:
    code = (
        "import json, os, pathlib\n"
        "from runner.models.worker import sandbox\n"
        "own = pathlib.Path.cwd()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(json.dumps(sandbox.protect([], own, os.getppid(), cuda=False, memory_bytes=1 << 30)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    states = isolation("cpu")
    assert json.loads(done.stdout) == {name: states[name] for name in json.loads(done.stdout)}


def test_a_protection_that_does_not_hold_is_not_called_active() -> None:
    code = (
        "import json, os, pathlib\n"
        "from runner.models.worker import landlock, sandbox, seccomp\n"
        "landlock.restrict = lambda grants: list(grants) and []\n"
        "seccomp.install = lambda **_: None\n"
        "print(json.dumps(sandbox.protect([], pathlib.Path.cwd(), os.getppid(), cuda=False)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    found = json.loads(done.stdout)
    for name in ("files", "network", "processes", "signals", "system_calls"):
        assert found[name] == "unavailable: it was installed, but an attempt was not stopped"


def test_threads_start_and_sockets_of_the_machine_stay_where_cuda_needs_them() -> None:
    code = (
        "import os, pathlib, socket, threading\n"
        "from runner.models.worker import sandbox\n"
        "sandbox.protect([], pathlib.Path.cwd(), os.getppid(), cuda=True)\n"
        "thread = threading.Thread(target=lambda: print('ran'))\n"
        "thread.start(); thread.join()\n"
        "socket.socket(socket.AF_UNIX).close()\n"
        "print('local')\n"
        "socket.socket(socket.AF_INET)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    if seccomp.supported():
        assert done.stdout.split() == ["ran", "local"]
        assert "PermissionError" in done.stderr
    else:
        assert done.stdout.split() == ["ran", "local"]


@pytest.mark.slow
def test_the_parent_needs_no_torch() -> None:
    code = (
        "import sys; from runner.evaluation import evaluate, show_prompts; "
        "print(*('torch' in sys.modules, 'peft' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["False", "False"]
