"""Commands that store scorecards and rank them: archive add, list, check, get, and leaderboard."""

import json
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from runner.cli import options, output

if TYPE_CHECKING:
    from runner.archive.leaderboard.formats import Format


# Pages are a room of their own, which an installation can do without.
_FORMATS = ["rich", "markdown", "json", "csv", *(["html"] if find_spec("runner.report.html") else [])]


@click.group()
def archive() -> None:
    """Store verified scorecards in an append-only archive.

    Files are never overwritten; removed or altered files are detected. ARCHIVE is a folder, or an address such as s3://bucket/folder.
    """


@archive.command()
@click.argument("address", metavar="ARCHIVE")
@click.argument("cards", nargs=-1, required=True, type=options.FILE, metavar="CARD…")
@options.keyring
@click.option(
    "--recompute/--no-recompute",
    default=False,
    show_default=True,
    help="Also rebuild every number from the predictions.",
)
@options.benchmark
@options.data_dir
@click.option(
    "--key",
    "key_file",
    type=options.FILE,
    default=None,
    metavar="PEM",
    help="Sign a checkpoint of the index with this key.",
)
@options.silent
def add(
    address: str,
    cards: tuple[Path, ...],
    keyring: Path | None,
    recompute: bool,
    benchmark_file: Path | None,
    data_dir: Path | None,
    key_file: Path | None,
    quiet: bool,
) -> None:
    """Add scorecards that verify, with the files beside them.

    CARD is a scorecard.sigstore.json, or the folder of a run. If one card does not verify, none is added. A card that
    the archive holds already is not changed.
    """
    from runner.archive import add as adding
    from runner.archive.store import open_store
    from runner.archive.text import plain

    trusted = options.trusted_keys(keyring)
    head_key = options.signing_key(key_file)() if key_file else None
    rebuild = None
    if recompute:
        from runner.scorecard.recompute import recompute as rebuild_card

        rebuild = partial(rebuild_card, predictions=None, benchmark_file=benchmark_file, data_dir=data_dir)

    def tell(added: adding.Added) -> None:
        outcome = "there already" if added.sequence is None else f"entry {added.sequence}"
        extra = f"; restored {', '.join(added.restored)}" if added.restored else ""
        extra += f"; not beside the card: {', '.join(added.missing)}" if added.missing else ""
        click.echo(f"{added.card[:16]} {plain(added.name)}: {outcome}{extra}")

    adding.add(
        open_store(address),
        cards,
        trusted,
        benchmark_file=benchmark_file,
        recompute=rebuild,
        head_key=head_key,
        observe=(lambda added: None) if quiet else tell,
    )


@archive.command("list")
@click.argument("address", metavar="ARCHIVE")
@options.output_format
def list_entries(address: str, output_format: str) -> None:
    """List the cards of the index.

    `archive check` verifies what the index says of them.
    """
    from dataclasses import asdict

    from runner.archive.index import opened, read_index
    from runner.archive.store import open_store
    from runner.core.errors import VerificationError

    archive_index = read_index(opened(open_store(address)))
    if output_format == "json":
        click.echo(json.dumps([asdict(entry) for entry in archive_index.entries], indent=2))
    else:
        from runner.archive.text import print_entries

        print_entries(archive_index.entries)
    if archive_index.faults:
        raise VerificationError(*archive_index.faults)


@archive.command()
@click.argument("address", metavar="ARCHIVE")
@options.keyring
@click.option(
    "--expect-head",
    default=None,
    metavar="HASH",
    help="A checkpoint hash that you noted before; it must be in the chain.",
)
@options.output_format
def check(address: str, keyring: Path | None, expect_head: str | None, output_format: str) -> None:
    """Detect cards and files that were removed or altered.

    Checks every object, its digest, the chain of the index and all signatures. Exit code 4 reports damage.
    """
    from runner.archive.check import check as look
    from runner.archive.store import open_store
    from runner.core.errors import VerificationError

    result = look(open_store(address), options.trusted_keys(keyring), expect_head)
    if output_format == "json":
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        from runner.archive.text import print_checked

        print_checked(result)
    if result.faults:
        raise VerificationError(*result.faults)


@archive.command()
@click.argument("address", metavar="ARCHIVE")
@click.argument("wanted", metavar="DIGEST|NAME")
@options.output_dir
def get(address: str, wanted: str, output_dir: Path) -> None:
    """Restore the folder of a run.

    The folder is named after the card's digest. `benchmark verify` can read it.
    """
    from runner.archive.get import get as restore
    from runner.archive.index import opened
    from runner.archive.store import open_store

    click.echo(restore(opened(open_store(address)), wanted, output_dir))


def _web_address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A relative address or one of the web: nothing that a browser would run."""
    if value is not None and ":" in value.partition("/")[0] and not value.startswith(("https://", "http://")):
        raise click.BadParameter("A relative address is needed, or one that begins with https:// or http://.")
    return value


@click.command()
@click.argument("address", metavar="ARCHIVE")
@options.keyring
@click.option(
    "--benchmark",
    "benchmark_file",
    type=options.FILE,
    default=None,
    metavar="FILE",
    help="Rank cards of this benchmark, released or not. [default: of the released ones]",
)
@click.option("--task", default=None, metavar="NAME", help="Rank this task only.")
@click.option("--split", default=None, metavar="NAME", help="Rank this split only.")
@click.option(
    "--data-dir",
    type=options.FILE,
    default=None,
    metavar="DIR",
    help="Rebuild the numbers from the archived predictions and this data, and compare cards item by item.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_FORMATS),
    default="rich",
    show_default=True,
    help="Output format.",
)
@click.option(
    "--include-trial",
    is_flag=True,
    help="Also rank runs on the sample and limited runs, apart and titled as trials.",
)
@click.option(
    "--archive-url",
    default=None,
    metavar="URL",
    callback=_web_address,
    help="html: where readers of the page find the archive, for links to the cards.",
)
def leaderboard(
    address: str,
    keyring: Path | None,
    benchmark_file: Path | None,
    task: str | None,
    split: str | None,
    data_dir: Path | None,
    output_format: str,
    include_trial: bool,
    archive_url: str | None,
) -> None:
    """Rank the comparable cards of an archive.

    The other cards are listed with the reason. Exit code 4 reports a damaged archive: a removed card cannot be ranked.
    """
    from runner.archive.leaderboard import leaderboard as build
    from runner.archive.store import open_store
    from runner.config.benchmark import load_benchmark

    board = build(
        open_store(address),
        options.trusted_keys(keyring),
        task=task,
        split=split,
        data_dir=data_dir,
        benchmark=None if benchmark_file is None else load_benchmark(benchmark_file),
        include_trial=include_trial,
    )
    if output_format == "html":
        from runner.archive.objects import CARD
        from runner.report.html import leaderboard_page

        def link(card: str) -> str:
            return f"{(archive_url or '').rstrip('/')}/{CARD.name(card)}"

        output.echo_utf8(leaderboard_page(board, None if archive_url is None else link))
    else:
        from runner.archive.leaderboard.formats import render

        shown = render(board, cast("Format", output_format))
        if output_format == "rich":
            click.echo(shown, nl=False)
        else:
            output.echo_utf8(shown)
    if board.damage:
        raise click.exceptions.Exit(4)


@click.command(short_help="Write a static site of an archive.")
@click.argument("address", metavar="ARCHIVE")
@click.option(
    "--output-dir",
    "-o",
    type=options.FILE,
    default=Path("site"),
    show_default=True,
    metavar="DIR",
    help="Folder of the site; a site that is there is replaced as a whole.",
)
@options.keyring
@click.option(
    "--benchmark",
    "benchmark_file",
    type=options.FILE,
    default=None,
    metavar="FILE",
    help="Show the boards of this benchmark, released or not. [default: of the released ones]",
)
@click.option(
    "--data-dir",
    type=options.FILE,
    default=None,
    metavar="DIR",
    help="Folder of the data: adds items with their texts, and comparisons; consider before you publish texts.",
)
@click.option(
    "--include-trial",
    is_flag=True,
    help="Also rank runs on the sample and limited runs, apart and titled as trials.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Submissions of each board section with items and comparisons.",
)
@click.option(
    "--url",
    default=None,
    metavar="URL",
    callback=_web_address,
    help="Where the site will be, for the feed. [default: relative addresses]",
)
@options.quiet
def site(
    address: str,
    output_dir: Path,
    keyring: Path | None,
    benchmark_file: Path | None,
    data_dir: Path | None,
    include_trial: bool,
    top: int,
    url: str | None,
    quiet: bool,
) -> None:
    """Write a static site of an archive: boards, cards, comparisons, items.

    It needs no server and no network. Every card is verified; one that fails is listed with the reason. Exit code 4
    reports a damaged archive.
    """
    from runner.archive.store import open_store
    from runner.config.benchmark import load_benchmark
    from runner.report.console import progress
    from runner.report.site import Settings, build_site

    settings = Settings(
        data_dir=data_dir,
        benchmark=None if benchmark_file is None else load_benchmark(benchmark_file),
        include_trial=include_trial,
        top=top,
        url=url,
    )
    with progress(quiet) as observe:
        built = build_site(open_store(address), options.trusted_keys(keyring), output_dir, settings, observe)
    if not quiet:
        refused = f", {built.refused:,} that do not verify" if built.refused else ""
        click.echo(f"{built.cards:,} cards{refused}", err=True)
    click.echo(output_dir / "index.html")
    if built.damage:
        raise click.exceptions.Exit(4)
