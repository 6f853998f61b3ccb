"""The pictures of docs/experiment.md: the board of all items, and every run on fold 5."""

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results import HERE, Json, Results
from runner.report.html.leaderboard import leaderboard_chart


def seeds_picture(results: Results) -> str:
    """Every run on fold 5 as a dot with its interval, one row a recipe."""
    left, right = 290, 736
    recipes = {name: runs for name, runs in results.recipes("fold-5").items() if name[:7] in ("smollm2", "minilm-")}
    found = {name: [results.block(run)["metrics"]["cross_entropy"] for run in runs] for name, runs in recipes.items()}
    block = results.block("uniform-fold-5")
    marks = {
        "uniform": block["baselines"]["uniform"]["cross_entropy"]["value"],
        "five people": results.block("panel-fold-5")["metrics"]["cross_entropy"]["value"],
    }
    bounds = [each["confidence_interval"][end] for own in found.values() for each in own for end in ("lower", "upper")]
    low, high = min(*bounds, *marks.values()) - 0.005, max(*bounds, *marks.values()) + 0.005

    def x(value: float) -> str:
        return f"{left + (right - left) * (value - low) / (high - low):.1f}"

    def dot(at: int, number: int, each: Json) -> dict[str, object]:
        interval = each["confidence_interval"]
        return {
            "x": x(each["value"]),
            "lower": x(interval["lower"]),
            "upper": x(interval["upper"]),
            "value": f"{each['value']:.4f}",
            "shift": round(5 * (at - (number - 1) / 2), 1),
        }

    order = sorted(found, key=lambda name: np.mean([each["value"] for each in found[name]]))
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("seeds.svg.j2").render(
        items=block["items"],
        left=left,
        ends=(f"{low:.3f}", f"{high:.3f}"),
        marks=[{"name": name, "x": x(value)} for name, value in marks.items()],
        rows=[
            {
                "name": name.replace("-fold-5", ""),
                "seeds": [dot(at, len(found[name]), each) for at, each in enumerate(found[name])],
            }
            for name in order
        ],
    )


def pictures(results: Results) -> dict[str, str]:
    """Name → SVG."""
    return {
        "board.svg": leaderboard_chart(results.groups.get("all", results.groups["fold-5"])),
        "seeds.svg": seeds_picture(results),
    }
