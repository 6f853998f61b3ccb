"""Ray itself: a cluster for one run on this machine's loopback, or a connection to an existing one."""

import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from runner.core.errors import BackendError, Fault, InvalidInput
from runner.core.private_folder import make_private_folder

_OBJECT_STORE_BYTES = 80 << 20  # steps are small and weights never pass through it; this is the smallest that Ray takes
_FOLDER = "mab-ray-"  # short: it holds the names of sockets
# Read by Ray when it is imported: no reports to its makers, and no cluster that it starts of itself. The first name of
# the others is for other systems, says Ray, but on Linux too it makes each of its processes listen on 127.0.0.1 alone.
# Unasked, its processes compute at the lowest priority but four: here that is what the run is for.
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}


def check_ray(address: str | None) -> None:
    """Raise `InvalidInput` (OPTION) where Ray is not installed, or its address is of a kind that is not meant."""
    from importlib.util import find_spec

    if find_spec("ray") is None:
        hint = "pip install 'moral-ambiguity-benchmark[ray]'"
        raise InvalidInput(Fault("OPTION", "The option --engine ray needs Ray, which is not installed.", hint=hint))
    if address is not None and "://" in address:
        message = f"The address {address!r} is one of the Ray Client, which is not supported."
        hint = "Run on a machine of the cluster and give HOST:PORT of its head, or `auto`."
        raise InvalidInput(Fault("OPTION", message, hint=hint))


@contextmanager
def ray_session(address: str | None, cpus: int, *, cuda: bool) -> Iterator[ModuleType]:
    """Ray, connected; at the end what was started for it is gone. `cpus` and `cuda` are for a cluster of its own.

    Raises `BackendError` (CLUSTER) where there is no connection.
    """
    own = address is None
    # What a killed run left is removed with it.
    folder, lock = make_private_folder(_FOLDER) if own else (None, None)
    variables = {**_ALWAYS, **({**_OWN, "RAY_AUTH_TOKEN": secrets.token_hex(32)} if own else {})}
    try:
        with _variables(variables):
            ray = _connect(address, cpus, cuda, None if folder is None else str(folder))
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        if folder is not None and lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _connect(address: str | None, cpus: int, cuda: bool, folder: str | None) -> ModuleType:
    import ray
    import ray._private.worker
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    if address is None and ray_constants.ENABLE_RAY_CLUSTER:
        message = "Ray was imported before this run, and would listen on every network of this machine."
        hint = "Import nothing of Ray before, or start a cluster and give its address."
        raise BackendError(Fault("CLUSTER", message, hint=hint))
    # A process that was in another cluster before remembers its token.
    AuthenticationTokenLoader.instance().reset_cache()
    # It prints to standard output what became of lost actors, which this package tells in its own words.
    ray._private.worker.listen_error_messages = lambda *_: None
    own: dict[str, Any] = {
        "num_cpus": cpus,
        "num_gpus": None if cuda else 0,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": folder,
    }
    on_stop = signal.getsignal(signal.SIGTERM)  # Ray replaces it by its own
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address or "local", **quiet, **(own if address is None else {}))
    except Exception as problem:  # of many kinds, by where it fails
        reason = " ".join(str(problem).split())[:300]
        where = "A cluster on this machine cannot be started" if address is None else f"No connection to {address}"
        hint = "Run on a machine of the cluster, with the versions of Ray and Python and the token of its head."
        raise BackendError(Fault("CLUSTER", f"{where}: {reason}", hint=None if address is None else hint)) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)
    module: ModuleType = ray
    return module


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Within it the environment has `values`: what is started here inherits them, what comes later does not."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
