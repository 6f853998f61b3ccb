"""Pages in a real browser: no requests, no complaints, readable by everyone, on a phone, on a desk and on paper.

Needs Chromium, node and npm; the two libraries it drives them with are put into a cache once.
"""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_leaderboard_page import board

from runner.archive.add import add
from runner.archive.store import open_store
from runner.report.html import card_page, comparison_page, leaderboard_page
from runner.report.site import Settings, build_site
from runner.scorecard.compare import compare
from runner.scorecard.disagreements import histograms, item_shares, largest_differences
from runner.scorecard.load import OpenCard, open_card
from runner.signing.keyring import Keyring

pytestmark = pytest.mark.slow

_PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
_LOOK = """
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
const [, , libraries, chromium, files] = process.argv;
const require = createRequire(libraries + '/package.json');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const browser = await require('playwright-core').chromium.launch({
  executablePath: chromium,
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
});
const found = [];
// A page of the browser for each scheme is used for all files: a new one for each has most of them wait for processes.
const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
for (const colorScheme of ['light', 'dark']) {
 const page = await (await browser.newContext({ colorScheme })).newPage();
 for (const file of JSON.parse(files)) for (const width of [390, 1280]) {
  page.removeAllListeners();
  await page.setViewportSize({ width, height: 900 });
  const seen = { file, colorScheme, width, requests: [], said: [] };
  page.on('request', request => seen.requests.push(request.url()));
  page.on('console', message => seen.said.push(message.text()));
  page.on('pageerror', error => seen.said.push(String(error)));
  await page.goto('file://' + file);
  seen.wide = await page.evaluate(() => document.documentElement.scrollWidth);
  const input = page.locator('.search input').first();
  if (await input.count()) {
    const table = page.locator('table.sortable').first(), rows = table.locator('tbody tr');
    const before = await rows.count();
    const name = await rows.nth(before - 1).locator('th a').first().textContent();
    await input.fill(name);
    seen.found = await rows.evaluateAll(all => all.filter(row => !row.hidden).length);
    await input.fill('no such words anywhere');
    seen.nothing = await rows.evaluateAll(all => all.filter(row => !row.hidden).length);
    await input.fill('');
    // On a phone the heads are hidden from sight and worked by keyboard.
    const button = table.locator('thead button').last();
    const at = await button.evaluate(one => one.closest('th').cellIndex);
    const values = () => rows.evaluateAll((all, at) => all.map(row => row.cells[at].textContent), at);
    await button.evaluate(one => one.click());
    const down = await values();
    await button.evaluate(one => one.click());
    seen.sorted = [down, await values()];
  }
  await page.evaluate(() => document.querySelectorAll('details').forEach(one => { one.open = true; }));
  seen.wideOpen = await page.evaluate(() => document.documentElement.scrollWidth);
  seen.background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  seen.violations = result.violations.map(one => `${one.impact} ${one.id}: ${one.nodes[0].html.slice(0, 200)}`);
  seen.rules = result.passes.length;
  found.push(seen);
  if (colorScheme !== 'light') continue;  // without scripts and on paper a file is looked at once for each width
  await plain.setViewportSize({ width, height: 900 });
  await plain.goto('file://' + file);
  seen.withoutScripts = await plain.locator('h1').innerText();
  seen.paper = (await plain.pdf({ format: 'A4' })).length;
 }
}
await browser.close();
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="session")
def libraries() -> Path:
    """A folder with the two packages, made once."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("there is no node or npm to drive a browser with")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moral-ambiguity-benchmark" / "browser"
    if not all((folder / "node_modules" / name.split("@")[0] / "package.json").is_file() for name in _PACKAGES):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}", encoding="utf-8")
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *_PACKAGES],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        if done.returncode:
            pytest.skip(f"npm could not install {' and '.join(_PACKAGES)}: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip("there is no Chromium")


def test_pages_in_a_browser(
    libraries: Path,
    chromium: str,
    tmp_path: Path,
    opened: OpenCard,
    run: Path,
    other_run: Path,
    keyring: Keyring,
) -> None:
    pages = {
        "card": card_page(
            opened,
            largest_differences(opened, 4, None, None, show_texts=False),
            None,
            {task: histograms(found) for task, found in item_shares(opened, None, None).items()},
        ),
        "unverified": card_page(open_card(run, None), None, "none were asked for."),
        "comparison": comparison_page(compare(run, other_run, keyring)),
        "leaderboard": leaderboard_page(replace(board(30), groups=2 * board(30).groups), lambda card: f"cards/{card}"),
    }
    files = []
    for name, text in pages.items():
        files.append(tmp_path / f"{name}.html")
        files[-1].write_text(text, encoding="utf-8")
    store = open_store(str(tmp_path / "archive"))
    add(store, [run, other_run], keyring)
    build_site(store, keyring, tmp_path / "site", Settings(include_trial=True, data_dir=tmp_path))
    with_script = []
    for pattern in ("index.html", "boards/anecdotes-test-*", "items/anecdotes-test-*/index.html", "comparisons/*"):
        files.append(min((tmp_path / "site").glob(pattern)))
        with_script += [files[-1]] if pattern.startswith(("boards", "items")) else []
    files.append(min((tmp_path / "site").glob("items/anecdotes-test-*/part-1.html")))
    script = tmp_path / "look.mjs"
    script.write_text(_LOOK, encoding="utf-8")
    arguments = ["node", str(script), str(libraries), chromium, json.dumps([str(file) for file in files])]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", timeout=540, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    looks: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(looks) == 4 * len(files) == 4 * (len(pages) + 5)
    for seen in looks:
        where = (seen["file"], seen["colorScheme"], seen["width"])
        assert ("found" in seen) == (Path(seen["file"]) in with_script), where
        if "found" in seen:
            assert (seen["found"], seen["nothing"]) == (1, 0), where
            down, up = seen["sorted"]
            assert (down, up) == (sorted(down, reverse=True), sorted(down)), where
        assert seen["requests"] == [f"file://{seen['file']}"], where
        assert seen["said"] == [], where
        assert seen["violations"] == [], where
        assert seen["rules"] > 10, where
        assert seen["wide"] == seen["wideOpen"] == seen["width"], where
    lights, darks = ([look for look in looks if look["colorScheme"] == scheme] for scheme in ("light", "dark"))
    for light, dark in zip(lights, darks, strict=True):
        assert (light["file"], light["width"]) == (dark["file"], dark["width"])
        assert light["background"] != dark["background"]
        assert light["withoutScripts"]
        assert light["paper"] > 10_000
