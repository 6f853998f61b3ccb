"""Options that several commands share, and what they become."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.core import resources

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from runner.models.api import Access
    from runner.models.base import Cluster
    from runner.signing.keyring import Keyring
    from runner.tasks.selection import RunConfig

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def apply(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


benchmark = click.option(
    "--benchmark",
    "benchmark_file",
    type=FILE,
    default=None,
    metavar="FILE",
    help="Benchmark file. [default: the released benchmark.yaml]",
)
data_dir = click.option(
    "--data-dir",
    type=FILE,
    default=None,
    metavar="DIR",
    help="Folder of the data files. [default: that of `benchmark data fetch`]",
)


def _complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completion of the names of suites, tasks or splits that the benchmark of the command line has."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        from runner.config.benchmark import load_benchmark
        from runner.core.errors import UserError

        try:
            known = load_benchmark(benchmark_path(context.params.get("benchmark_file")))
        except UserError:
            return []
        suite = known.suites.get(context.params.get("suite") or "")
        names = {
            "suite": list(known.suites),
            "task": list(known.tasks if suite is None else suite.datasets),
            "split": [
                split
                for dataset in (known.datasets if suite is None else dict.fromkeys(suite.datasets.values()))
                for split in known.datasets[dataset].splits
            ],
        }
        return [name for name in dict.fromkeys(names[kind]) if name.startswith(incomplete)]

    return complete


suite = click.option(
    "--suite",
    default=None,
    metavar="NAME",
    help="Set of tasks to run. [default: full, or the only suite]",
    shell_complete=_complete("suite"),
)
tasks = click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="Use this task only; may repeat.",
    shell_complete=_complete("task"),
)
split = click.option(
    "--split",
    default=None,
    metavar="NAME",
    help="Split to score. [default: the suite's]",
    shell_complete=_complete("split"),
)
limit = click.option(
    "--limit", type=click.IntRange(min=1), default=None, metavar="N", help="Use the first N items only; not comparable."
)
quiet = click.option("--quiet", "-q", is_flag=True, help="Print only the path of the result.")
silent = click.option("--quiet", "-q", is_flag=True, help="Print faults only.")
output_dir = click.option(
    "--output-dir",
    "-o",
    type=FILE,
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Folder for runs, as NAME/TIME/.",
)
key = click.option(
    "--key",
    "key_file",
    type=FILE,
    default=None,
    metavar="PEM",
    help="Signing key. [default: your own, created at first use]",
)


def _challenge(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    # A card with a longer one, or one that no UTF-8 text can hold, could not be signed after hours of work.
    if value is not None and not (1 <= len(value) <= 200 and value.isprintable()):
        raise click.BadParameter("1 to 200 printable characters are needed.")
    return value


nonce = click.option(
    "--nonce",
    default=None,
    metavar="S",
    callback=_challenge,
    help="Challenge of the organiser, signed with the result.",
)
keyring = click.option(
    "--keyring", type=FILE, default=None, metavar="FILE", help="Trusted keys. [default: your own key only]"
)
output_format = click.option(
    "--format",
    "output_format",
    type=click.Choice(["rich", "json"]),
    default="rich",
    show_default=True,
    help="Output format.",
)

_API: dict[str, dict[str, Any]] = {
    "--api-base-url": {
        "metavar": "URL",
        "help": "Allow prompts to be sent to this address, which the submission names.",
    },
    "--api-key-env": {
        "metavar": "NAME",
        "help": "Environment variable with the service's key. [official: OPENAI_API_KEY]",
    },
    "--api-key-file": {"metavar": "FILE", "type": FILE, "help": "File with the service's key."},
    "--api-concurrency": {"metavar": "N", "type": click.IntRange(1, 256), "help": "Concurrent requests. [8]"},
    "--api-attempts": {"metavar": "N", "type": click.IntRange(1, 20), "help": "Attempts per request. [6]"},
    "--api-max-cost": {
        "metavar": "AMOUNT",
        "type": click.FloatRange(min=0, min_open=True),
        "help": "Stop when answers have cost this much, by the submission's price; the run can be resumed.",
    },
    "--api-allow-http": {
        "metavar": "HOST",
        "help": "Allow prompts to travel unencrypted to this host, which the submission names.",
    },
    "--api-unanswered": {
        "metavar": "N",
        "type": click.IntRange(0),
        "help": "Prompts that may remain unanswered; not comparable. [0]",
    },
}
api = _all(*(click.option(name, default=None, **settings) for name, settings in _API.items()))
elicitation = click.option(
    "--elicitation",
    type=click.Choice(["logprob", "verbalized", "sampled"]),
    default="logprob",
    show_default=True,
    help="Read log-probabilities, let the model write the distribution, or draw answers and count: three tracks.",
)

engine = _all(
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where the model's replicas run: in processes of this machine, or on the nodes of a Ray cluster.",
    ),
    click.option(
        "--ray-address",
        default=None,
        metavar="HOST:PORT|auto",
        help="Head of a running cluster, with --engine ray. [default: a cluster on this machine, for this run]",
    ),
)

loading = _all(
    click.option(
        "--device",
        default=None,
        metavar="NAME[,NAME…]",
        help="cpu, cuda, cuda:1, …; a comma adds a replica; cuda:0+cuda:1 splits one replica over both. "
        "[default: cuda if present]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default=None,
        help="Type of the loaded weights. [default: the submission's]",
    ),
    click.option(
        "--batch-tokens",
        default="auto",
        show_default=True,
        metavar="N|auto",
        help="Tokens per batch; fewer need less memory.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="CPU threads per replica; changing it can change the last digits. [default: all cores, shared]",
    ),
)

selection = _all(benchmark, suite, tasks, split, data_dir, limit)


def benchmark_path(path: Path | None) -> Path:
    """The file given, or the released benchmark."""
    return path or resources.benchmark_file()


def choice(
    benchmark_file: Path | None,
    suite: str | None,
    tasks: tuple[str, ...],
    split: str | None,
    data_dir: Path | None,
    limit: int | None,
    prompts: tuple[str, ...] = (),
    elicitation: str = "logprob",
) -> "RunConfig":
    """The options of `selection` as the value the runner takes."""
    from runner.tasks.selection import RunConfig

    return RunConfig(benchmark_path(benchmark_file), suite, tasks, split, data_dir, limit, prompts, elicitation)


def token_count(text: str) -> int | None:
    """The value of `--batch-tokens` as the runner takes it; None for auto."""
    if text == "auto":
        return None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a positive whole number nor 'auto'.", param_hint="--batch-tokens")


def access(
    api_base_url: str | None,
    api_allow_http: str | None,
    api_key_env: str | None,
    api_key_file: Path | None,
    api_concurrency: int | None,
    api_attempts: int | None,
    api_max_cost: float | None,
    api_unanswered: int | None,
) -> "Access | None":
    """The options of `api` as the value the runner takes; None where none of them is given."""
    from runner.models.api import Access

    values = {
        "base_url": api_base_url,
        "http_host": api_allow_http,
        "max_cost": api_max_cost,
        "key_variable": api_key_env,
        "key_file": api_key_file,
        "concurrency": api_concurrency,
        "attempts": api_attempts,
        "unanswered": api_unanswered,
    }
    settings: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    return Access(**settings) if settings else None


def cluster(engine: str, ray_address: str | None, quiet: bool) -> "Cluster | None":
    """The options of `engine` as the value the runner takes; None for this machine."""
    from runner.models.base import Cluster

    if engine == "ray":
        return Cluster(ray_address, (lambda _: None) if quiet else partial(click.echo, err=True))
    if ray_address is not None:
        raise click.UsageError("--ray-address is for --engine ray.")
    return None


def signing_key(key_file: Path | None) -> Callable[[], "Ed25519PrivateKey"]:
    """Make the user's own key if it is wanted and not there; return a function that reads the key when it is needed."""
    from runner.core import environment
    from runner.signing import keys

    path = key_file or keys.default_key_path()
    if key_file is None and not path.exists():
        keys.new_key(path)
        click.echo(f"Made your signing key (keep it secret): {path}", err=True)
        if environment.in_container():
            click.echo(
                "It is gone with this container; to sign with one that stays, mount it and give --key.", err=True
            )
    passphrase = cache(partial(ask_passphrase, path))
    # An unreadable key is reported before any work, and the passphrase is requested while someone is there.
    public = keys.load_key(path, passphrase).public_key()
    if key_file is None:
        keys.keep_public_half(path, public)
    return lambda: keys.load_key(path, passphrase)


def warn_of_loss(output_dir: Path) -> None:
    """Say that results go with the container, where nothing is mounted for them."""
    from runner.core import environment

    if environment.in_container() and not environment.is_mounted(output_dir):
        message = (
            f'Results in {output_dir} stay inside this container; to have them, add -v "$PWD/results:{output_dir}".'
        )
        click.echo(message, err=True)


def trusted_keys(keyring_file: Path | None) -> "Keyring":
    """The keys of the keyring file, or the user's own key alone."""
    from runner.core.errors import Fault, InvalidInput
    from runner.signing import keyring, keys

    if keyring_file is not None:
        return keyring.load_keyring(keyring_file)
    own = keys.default_key_path()
    if not own.exists() and not keys.public_half_path(own).exists():
        message = "No keyring was given, and there is no key of your own whose cards could be trusted."
        raise InvalidInput(Fault("KEYRING_MISSING", message, hint="Give the keys that you trust with --keyring."))
    return keyring.keyring_of(keys.own_public_key(own, partial(ask_passphrase, own)))


def ask_passphrase(path: Path) -> str:
    """Ask a person, on the terminal, without showing it; `InvalidInput` (KEY_PASSPHRASE) where nobody answers."""
    from runner.core.errors import Fault, InvalidInput

    try:
        return str(click.prompt(f"Passphrase of {path}", hide_input=True, err=True))
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        message = "is encrypted, and there is nobody to ask for the passphrase."
        raise InvalidInput(Fault("KEY_PASSPHRASE", message, file=str(path))) from None
