"""Give every reader random documents: `python tests/fuzz/run.py --minutes 10 [READER…]`; exit code 1 if one breaks.

With atheris what is tried follows the branches that are taken in the readers; without it changes are random. Each
reader runs in a process of its own. What breaks one is kept in the folder that is named, for a regression test.
"""

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
GUIDED = importlib.util.find_spec("atheris") is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-findings")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("readers", nargs="*")
    given = parser.parse_args()
    given.findings.mkdir(parents=True, exist_ok=True)
    if given.one:
        return (_guided if GUIDED else _at_random)(given.one, given.minutes * 60, given.findings)
    from readers import READERS

    names = given.readers or list(READERS)
    print(f"{'atheris' if GUIDED else 'random changes, without atheris'}; {given.minutes:g} minutes for {len(names)}")
    executions, broken, started = 0, [], time.monotonic()
    for name in names:
        each = [sys.executable, __file__, "--one", name, "--findings", str(given.findings)]
        begun = time.monotonic()
        done = subprocess.run(
            [*each, "--minutes", str(given.minutes / len(names))], capture_output=True, text=True, errors="replace"
        )
        said = done.stdout + done.stderr
        counted = re.findall(r"number_of_executed_units: (\d+)", said) or re.findall(r"^#(\d+)\t", said, re.MULTILINE)
        number = int(counted[-1]) if counted else 0
        executions += number
        print(f"{name:20} {number:>10,} executions  {time.monotonic() - begun:5.0f} s  exit code {done.returncode}")
        if done.returncode:
            broken.append(name)
            print(said[-3000:])
    seconds = time.monotonic() - started
    print(f"{executions:,} executions in {seconds:,.0f} s, {len(broken)} of {len(names)} readers broken")
    if broken:
        print(f"what broke them: {given.findings}")
    return 1 if broken else 0


def _guided(name: str, seconds: float, findings: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["runner", "yaml"]):
        from readers import READERS
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(reader.seeds()):
            Path(corpus, str(number)).write_bytes(seed)
        options = [
            sys.argv[0],
            corpus,
            f"-max_total_time={max(1, int(seconds))}",
            "-print_final_stats=1",
            "-timeout=120",  # by the clock: a busy machine and the instruments make seconds of a tenth
            "-rss_limit_mb=4096",
            "-max_len=200000",
            f"-artifact_prefix={findings}/{name}-",
        ]
        atheris.Setup(options, reader.read)
        atheris.Fuzz()
    return 0


def _at_random(name: str, seconds: float, findings: Path) -> int:
    from mutations import mutated
    from readers import READERS

    reader = READERS[name]
    seeds, chance, end, number = reader.seeds(), random.Random(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(seeds, chance)
        number += 1
        try:
            reader.read(data)
        except BaseException:
            findings.joinpath(f"{name}-{number}").write_bytes(data)
            raise
    print(f"stat::number_of_executed_units: {number}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
