"""Draw architecture.png from architecture.toml; the same source gives the same picture."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "architecture.toml"
PICTURE = FOLDER / "architecture.png"
INK, MUTED, PAPER = "#0f172a", "#64748b", "#ffffff"
FILL = {"part": "#f1f5f9", "store": "#e0f2fe", "outside": "#ffffff"}
EDGE = {"part": "#94a3b8", "store": "#38bdf8", "outside": "#94a3b8"}
STYLE = {"font.family": "DejaVu Sans", "font.size": 11}


def rounded(axes: Axes, at: list[float], size: list[float], fill: str, edge: str, dashed: bool = False) -> None:
    shape = FancyBboxPatch(
        (at[0], at[1]), size[0], size[1], boxstyle="round,pad=0,rounding_size=0.16", facecolor=fill, edgecolor=edge
    )
    shape.set(linewidth=1.6, zorder=3, linestyle="--" if dashed else "-")
    axes.add_patch(shape)


def draw_box(axes: Axes, box: dict[str, Any], profiles: dict[str, Any]) -> None:
    kind = box.get("kind", "part")
    rounded(axes, box["at"], box["size"], FILL[kind], EDGE[kind], dashed=kind == "outside")
    (left, bottom), (width, height) = box["at"], box["size"]
    middle, top = left + width / 2, bottom + height
    axes.text(middle, top - 0.36, box["name"], ha="center", va="center", weight="bold", size=13, color=INK, zorder=5)
    axes.text(
        middle,
        top - 0.68,
        box["folder"],
        ha="center",
        va="center",
        size=9,
        color=MUTED,
        zorder=5,
        family="DejaVu Sans Mono",
    )
    engines = [name for name in profiles if name in box]
    upper, lower = top - 0.85, bottom + 0.08 + 0.36 * len(engines)
    axes.text(middle, (upper + lower) / 2, box["text"], ha="center", va="center", size=10.5, color=INK, zorder=5)
    for row, name in enumerate(reversed(engines)):
        style = {
            "boxstyle": "round,pad=0.22",
            "facecolor": PAPER,
            "edgecolor": profiles[name]["color"],
            "linewidth": 1.1,
        }
        axes.text(
            *(middle, bottom + 0.3 + 0.38 * row, box[name]),
            ha="center", va="center", size=9.5, color=profiles[name]["color"], zorder=5, bbox=style,
        )  # fmt: skip


def draw_arrow(axes: Axes, arrow: dict[str, Any], color: str) -> None:
    points = arrow["points"]
    axes.plot(*zip(*points, strict=True), color=color, linewidth=2.1, zorder=2, solid_joinstyle="round")
    ends = [(points[-2], points[-1])] + ([(points[1], points[0])] if arrow.get("both") else [])
    for start, end in ends:
        head = {
            "arrowstyle": "-|>,head_length=0.7,head_width=0.32",
            "color": color,
            "linewidth": 2.1,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axes.annotate("", xy=end, xytext=start, arrowprops=head, zorder=4)
    if "label" in arrow:
        axes.text(*arrow["at"], arrow["label"], ha="center", va="bottom", size=9.5, color=color, zorder=6)


def draw_band(axes: Axes, band: dict[str, Any]) -> None:
    rounded(axes, band["at"], band["size"], "#fef9c3", "#eab308")
    middle, height = band["at"][0] + band["size"][0] / 2, band["at"][1] + band["size"][1] / 2
    axes.text(middle, height, band["text"], ha="center", va="center", size=11, color=INK, zorder=5)
    for leg in band["legs"]:
        axes.plot([leg, leg], [band["at"][1], band["down_to"]], color="#eab308", linewidth=1.6, linestyle=":", zorder=2)


def draw_legend(axes: Axes, source: dict[str, Any]) -> None:
    for column, path in enumerate(source["paths"].values()):
        left = 0.35 + column * 5.7
        axes.annotate(
            "",
            xy=(left + 0.7, 0.95),
            xytext=(left, 0.95),
            arrowprops={"arrowstyle": "-|>", "color": path["color"], "linewidth": 2.1},
        )
        axes.text(left + 0.85, 0.95, path["label"], va="center", size=10.5, color=path["color"])
    for column, profile in enumerate(source["profiles"].values()):
        style = {"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": profile["color"], "linewidth": 1.1}
        axes.text(
            0.45 + column * 5.7, 0.35, profile["label"], va="center", size=10.5, color=profile["color"], bbox=style
        )


def draw(source: dict[str, Any]) -> Figure:
    width, height = source["canvas"]["width"], source["canvas"]["height"]
    figure = Figure(figsize=(width * 0.72, height * 0.72), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    axes.text(0.35, height - 0.6, source["title"], size=22, weight="bold", color=INK, va="center")
    axes.text(0.35, height - 1.2, source["subtitle"], size=12, color=MUTED, va="center")
    draw_band(axes, source["band"])
    for box in source["box"]:
        draw_box(axes, box, source["profiles"])
    for arrow in source["arrow"]:
        draw_arrow(axes, arrow, source["paths"][arrow["path"]]["color"])
    draw_legend(axes, source)
    return figure


def main() -> None:
    text = SOURCE.read_bytes()
    with mpl.rc_context(STYLE):
        # The digest of the source lets a test see that the picture is not older than it.
        metadata = {"Software": None, "Source": hashlib.sha256(text).hexdigest()}
        draw(tomllib.loads(text.decode())).savefig(PICTURE, dpi=110, metadata=metadata)
    print(f"drew {PICTURE.name}")


if __name__ == "__main__":
    main()
