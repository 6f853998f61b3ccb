"""What reading a million rows costs: processor seconds and peak memory, by form and by shape.

    python tests/speed/rows.py [--rows 1000000] [--folder results/speed]

Rows are made: a text of about a hundred characters and counts of three labels. Each file is read in a process of its
own, once row by row (nothing is kept) and once to the items of a split, as every command does, with its digest. Beside
them stands a loop of the standard library, or of pyarrow, over the same rows that looks at nothing.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

LABELS = ("yes", "no", "depends")
FORMS = ("rows.jsonl", "rows.csv", "rows.csv.gz", "rows.parquet", "people.csv")
WAYS = ("loop", "rows", "items")


def made(count: int) -> Iterator[dict[str, Any]]:
    """Rows with an id, a text and three counts."""
    for number in range(count):
        text = f"Something happened on day {number}, and " + "people say what they think of it, " * (1 + number % 3)
        yield {"id": number, "text": text, "yes": number % 7, "no": number % 5, "depends": 1 + number % 3}


def write(path: Path, count: int) -> None:
    """Write the rows in the form of the file's ending; `people.csv` has one row for each of five people an item."""
    import gzip

    if path.name.endswith(".parquet"):
        import pyarrow
        from pyarrow import parquet

        rows = made(count)
        first = pyarrow.Table.from_pylist([next(rows)])
        with parquet.ParquetWriter(path, first.schema) as writer:
            writer.write_table(first)
            while batch := [row for _, row in zip(range(50_000), rows, strict=False)]:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=first.schema))
        return
    with gzip.open(path, "wt") if path.name.endswith(".gz") else path.open("w") as file:
        if path.name.endswith(".jsonl"):
            for row in made(count):
                counts = {label: row[label] for label in LABELS}
                file.write(json.dumps({"id": row["id"], "text": row["text"], "counts": counts}) + "\n")
        elif path.name.startswith("people"):
            writer = csv.writer(file)
            writer.writerow(["id", "text", "answer"])
            for row in made(count // 5):
                writer.writerows([row["id"], row["text"], LABELS[(row["id"] + person) % 3]] for person in range(5))
        else:
            table = csv.DictWriter(file, ["id", "text", *LABELS])
            table.writeheader()
            table.writerows(made(count))


def loop(path: Path) -> int:
    """How many rows the form's own library gives."""
    import gzip

    if path.name.endswith(".parquet"):
        from pyarrow import parquet

        batches = parquet.ParquetFile(path).iter_batches(batch_size=4096, use_threads=False)
        return sum(len(batch.to_pylist()) for batch in batches)
    with gzip.open(path, "rt") if path.name.endswith(".gz") else path.open() as file:
        return sum(1 for _ in (map(json.loads, file) if path.name.endswith(".jsonl") else csv.DictReader(file)))


def items(path: Path, count: int) -> int:
    """How many items the split has."""
    from runner.core.benchmark_types import DataFile, ItemFields, Task, VoteSpec
    from runner.core.canonical import sha256_file
    from runner.tasks.data import load_items

    if path.name.startswith("people"):
        votes = VoteSpec("rows", "answer")
    elif path.name.endswith(".jsonl"):
        votes = VoteSpec("counts", "counts")
    else:
        votes = VoteSpec("columns", None, columns={label: label for label in LABELS})
    item = ItemFields(id="id", fields={"text": "text"}, votes=votes, panel=None, group=None)
    task = Task("question", "", LABELS, item, without_votes="refuse", prompts=(), strata=())
    data = DataFile("rows", "test", path.name, count, sha256_file(path), None)
    return len(load_items(task, data, path).items)


def measure(path: Path, way: str, count: int) -> None:
    """Print what one way of reading one file takes, as JSON."""
    begin = time.process_time()
    if way == "loop":
        number = loop(path)
    elif way == "items":
        number = items(path, count)
    else:
        from runner.tasks.data.forms import read_rows

        number = deque(read_rows(path), maxlen=1)[0].number
    seconds = time.process_time() - begin
    # Not getrusage: its maximum includes that of the process which started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"number": number, "seconds": seconds, "peak": peak * 1024 / 1e6}))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--folder", type=Path, default=Path("results/speed"))
    arguments.add_argument("--measure", nargs=2, metavar=("FILE", "WAY"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.measure:
        measure(Path(chosen.measure[0]), chosen.measure[1], chosen.rows)
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    print(f"{chosen.rows:,} made rows; processor seconds, and MB of memory at most\n")
    print("| file | MB | library's loop, s | row by row, s | MB at most | to items, s | MB at most | items |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in FORMS:
        path = chosen.folder / name
        write(path, chosen.rows)
        told: dict[str, dict[str, float]] = {}
        for way in WAYS:
            command = [sys.executable, __file__, "--rows", str(chosen.rows), "--measure", str(path), way]
            told[way] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        cells = [name, f"{path.stat().st_size / 1e6:.0f}", f"{told['loop']['seconds']:.1f}"]
        cells += [
            f"{told[way][key]:.{1 if key == 'seconds' else 0}f}" for way in WAYS[1:] for key in ("seconds", "peak")
        ]
        print("| " + " | ".join([*cells, f"{told['items']['number']:,}"]) + " |", flush=True)
        path.unlink()


if __name__ == "__main__":
    main()
