"""Measure a site of many synthetic cards and the search of many synthetic items; nothing is asserted.

python tests/bench_site.py 1000

Cards and items are invented: a real card under other names and values, and random words. The times of the pages are
those of a headless Chromium (with node and playwright-core, as tests/report/html/test_browser.py has them).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from bench_archive import fill
from support.card_factory import People

from runner.archive import index
from runner.archive.leaderboard import leaderboard
from runner.archive.store import open_store
from runner.core.types import Item
from runner.report.site import Settings, build_site
from runner.report.site.items import write_items
from runner.report.site.values import Shown
from runner.scorecard.disagreements import ItemShares

_ITEMS = 2340
_PAGES = """
import { createRequire } from 'node:module';
const [, , libraries, chromium, first, board, items] = process.argv;
const require = createRequire(libraries + '/package.json');
const browser = await require('playwright-core').chromium.launch({
  executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'],
});
const found = {};
for (const [name, file] of Object.entries({ first, board, items })) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto('file://' + file);
  await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length);
  const paint = () => performance.getEntriesByName('first-contentful-paint')[0].startTime;
  found[name] = { paint: await page.evaluate(paint) };
  if (name === 'first') continue;
  found[name].search = await page.evaluate(async () => {
    const input = document.querySelector('.search input');
    const times = [];
    for (const text of ['a', 'ab', 'abc', 'model-1', 'model-12', '3-2', 'no such words', '']) {
      const started = performance.now();
      input.value = text;
      input.dispatchEvent(new Event('input'));
      document.body.getBoundingClientRect();  // with the layout that follows
      times.push(performance.now() - started);
    }
    return times;
  });
  found[name].sort = await page.evaluate(() => {
    const started = performance.now();
    [...document.querySelectorAll('table.sortable thead button')].at(-1).click();
    document.body.getBoundingClientRect();
    return performance.now() - started;
  });
}
await browser.close();
console.log(JSON.stringify(found));
"""


def main(cards: int) -> None:
    """Make a site of `cards` cards, and the items of ten invented models."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # only the site is measured
    with tempfile.TemporaryDirectory() as name:
        folder, people = Path(name), People()
        store = index.begun(open_store(str(folder / "archive")))
        size = fill(folder, people, store, cards)
        print(f"{cards:,} synthetic cards of {size / 1024:.0f} KiB")
        started, cpu = time.perf_counter(), time.process_time()
        built = build_site(store, people.keyring, folder / "site", Settings())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        files = [path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file()]
        print(f"site of {built.cards:,} cards: {seconds:.0f} s, {cpu:.0f} s of processor time")
        print(f"{len(files):,} files, {sum(files) / 2**20:.0f} MiB")
        group = leaderboard(store, people.keyring).groups[0]
        rows = [row for section in group.sections for row in section.rows[:10]]
        shares = _invented()
        shown = cast(dict[str, Shown], {row.card: Shown(cast(Any, None), {"dilemmas": shares()}, None) for row in rows})
        started = time.perf_counter()
        pages = write_items(folder / "site", group, "invented", shown, Settings(data_dir=folder))
        assert pages is not None
        print(f"pages of {_ITEMS:,} items and {len(rows)} models: {time.perf_counter() - started:.0f} s")
        first = folder / "site" / "index.html"
        board = next((folder / "site" / "boards").iterdir())
        _browse(folder, first, board, folder / "site" / pages.folder / "index.html")


def _invented() -> Any:
    """A function that gives each model's shares of the same invented items."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))

    def words(number: int) -> str:
        return " ".join("".join(generator.choice(letters, 6)) for _ in range(number))

    first = generator.integers(0, 6, _ITEMS)
    items = tuple(
        Item(f"item-{row}", {"first": words(12), "second": words(12)}, (int(votes), 5 - int(votes)), None, None)
        for row, votes in enumerate(first)
    )
    people = np.column_stack([first / 5, 1 - first / 5])

    def shares() -> ItemShares:
        model = generator.uniform(0, 1, _ITEMS)
        return ItemShares(("first", "second"), items, people, np.column_stack([model, 1 - model]), True, ("unanimity",))

    return shares


def _browse(folder: Path, first: Path, board: Path, items: Path) -> None:
    libraries = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moral-ambiguity-benchmark" / "browser"
    )
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not (libraries / "node_modules").is_dir():
        print("no Chromium or playwright-core: the pages were not opened")
        return
    script = folder / "pages.mjs"
    script.write_text(_PAGES, encoding="utf-8")
    arguments = ["node", str(script), str(libraries), chromium, str(first), str(board), str(items)]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=True, timeout=600)
    for (name, found), file in zip(json.loads(done.stdout).items(), (first, board, items), strict=True):
        print(f"{name} ({file.stat().st_size / 2**20:.1f} MiB): first contentful paint {found['paint']:.0f} ms")
        if "search" in found:
            slowest, median = max(found["search"]), sorted(found["search"])[len(found["search"]) // 2]
            print(f"  search: {median:.0f} ms, at most {slowest:.0f} ms; sort: {found['sort']:.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
