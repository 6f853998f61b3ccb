"""How the tests run containers: as strangers' models are run, with no network or powers, writing to mounts alone."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.command import Command

HARDENED = (
    *("--network", "none", "--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,noexec,size=256m", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "4g", "--pids-limit", "512"),
)
UID = 12345
IMAGES = ("benchmark", "benchmark-verify")


@dataclass(frozen=True)
class Containers:
    """Runs commands in containers of the two images, as a user that neither the image nor the host knows."""

    def arguments(self, image: str, *words: object, user: int = UID, more: tuple[object, ...] = ()) -> list[str]:
        return list(
            map(
                str,
                ["podman", "run", "--rm", *HARDENED, "--user", f"{user}:{user}", *more, f"localhost/{image}", *words],
            )
        )

    def __call__(
        self, image: str, *words: object, code: int | None = 0, user: int = UID, more: tuple[object, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit code must be `code` (None: any), and a traceback is never right."""
        return self.finished(self.arguments(image, *words, user=user, more=more), code)

    @staticmethod
    def finished(arguments: list[str], code: int | None = 0, **options: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=600, **options
        )
        said = f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr, said
        assert code is None or done.returncode == code, f"exit code {done.returncode}, not {code}: {said}"
        return done


@dataclass(frozen=True)
class Key:
    """A signing key: the folder to mount (`mounts`), and the command on the host whose own key it is."""

    folder: Path
    host: Command

    @property
    def mounts(self) -> tuple[object, ...]:
        return ("-v", f"{self.folder}:/keys:ro")

    option = ("--key", "/keys/signing-key.pem")


@dataclass(frozen=True)
class Service:
    """The literal `docker` of a user, before Podman's interface."""

    socket: str

    def __call__(self, *words: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}"}
        return Containers.finished(["docker", *map(str, words)], code, env=environment)
