"""Pictures of what was measured, as SVG that follows light and dark."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_STYLE = (
    "<style>text{font:12px sans-serif;fill:#24292f}.us{fill:#0969da;stroke:#0969da}.ink{stroke:#24292f;fill:none}"
    ".faint{stroke:#8c959f;stroke-dasharray:3 3;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ink{stroke:#e6edf3}.us{fill:#58a6ff;stroke:#58a6ff}}</style>"
)
_TITLES = {
    "prompts": "prompts (milliseconds each)",
    "length": "words in a prompt (milliseconds a prompt)",
    "options": "options of three words (milliseconds a prompt)",
    "vocabulary": "vocabulary (milliseconds a prompt)",
}


def _document(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
    return "\n".join([head, f"<title>{title}</title>", _STYLE, *parts, "</svg>"]) + "\n"


def ratios(results: Sequence[Any], name: str = "ours/peer") -> str:
    """A bar for each workload and vocabulary: how many times as fast as the harness, with the least and the most."""
    rows = [row for row in results if name in row["measured"]]
    most = max((row["measured"][name]["most"] for row in rows), default=1.0)
    scale = 380 / most
    parts = []
    for number, row in enumerate(rows):
        found, top = row["measured"][name], 24 + 26 * number
        middle = top + 8
        parts += [
            f'<text x="210" y="{top + 12}" text-anchor="end">{row["workload"]}, {row["vocabulary"]:,}</text>',
            f'<rect class="us" x="216" y="{top}" width="{found["median"] * scale:.1f}" height="16"/>',
            f'<path class="ink" d="M{216 + found["least"] * scale:.1f} {middle}H{216 + found["most"] * scale:.1f}"/>',
            f'<text x="{222 + found["most"] * scale:.1f}" y="{top + 12}">{found["median"]:.1f}×</text>',
        ]
    height = 34 + 26 * len(rows)
    parts.append(f'<path class="faint" d="M{216 + scale:.1f} 14V{height - 8}"/>')
    return _document(660, height, "Prompts in a second, as a multiple of the harness", parts)


def curves(found: Mapping[str, Any]) -> str:
    """A panel for each thing that grows, both axes logarithmic: dots are measured, the dashed line is counted."""
    parts = []
    for number, name in enumerate(name for name in _TITLES if name in found):
        curve = found[name]
        left, top = 50 + 330 * (number % 2), 36 + 220 * (number // 2)
        xs = [math.log10(size) for size in curve["sizes"]]
        ys = [math.log10(1000 * seconds) for seconds in curve["seconds"]]
        expected = [math.log10(1000 * seconds) for seconds in curve["expected"]]
        low, high = math.floor(min(ys + expected)), math.ceil(max(ys + expected) + 1e-9)
        span = max(xs[-1] - xs[0], 1e-9)

        def place(x: float, y: float) -> str:
            across = left + 10 + 240 * (x - xs[0]) / span  # noqa: B023
            return f"{across:.1f} {top + 150 - 140 * (y - low) / max(high - low, 1):.1f}"  # noqa: B023

        parts.append(f'<text x="{left}" y="{top - 14}">{_TITLES[name]}</text>')
        parts.append(f'<path class="ink" d="M{left} {top}V{top + 150}H{left + 260}"/>')
        for power in range(low, high + 1):
            across, down = place(xs[0], power).split()
            parts.append(f'<text x="{left - 4}" y="{float(down) + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        for x, size in zip(xs, curve["sizes"], strict=True):
            across = place(x, low).split()[0]
            parts.append(f'<text x="{across}" y="{top + 166}" text-anchor="middle">{_short(size)}</text>')
        line = "L".join(place(x, y) for x, y in zip(xs, expected, strict=True))
        parts.append(f'<path class="faint" d="M{line}"/>')
        for x, y in zip(xs, ys, strict=True):
            across, down = place(x, y).split()
            parts.append(f'<circle class="us" cx="{across}" cy="{down}" r="3.5"/>')
    return _document(680, 40 + 220 * math.ceil(len(found) / 2), "Time against what grows", parts)


def _short(size: int) -> str:
    return f"{size // 1000}k" if size >= 1000 else str(size)
