"""The sheet of a whole network: static against dynamic context, and how its layers look, block by block."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cotnet.viz.field import Field, direction, entropy
from cotnet.viz.sheet import SourceImage, save_sheet, short_name

_STATIC, _DYNAMIC = "#8c8c8c", "#d95f02"


def draw_contexts(fields: Sequence[Field], image: SourceImage, path: Path, *, answer: str = "") -> None:
    """Draw, for the first image, what each layer's fusion gives to the two contexts, and how the layers look.

    Args:
        fields: of the network's layers, in their order.
        image: the first image.
        path: the PNG to write.
        answer: the network's, for the title.

    Raises:
        ValueError: there is no field.
    """
    if not fields:
        raise ValueError("the network has no CoT layer, so there are no contexts to compare")
    stages = list(dict.fromkeys(field.stage for field in fields))
    palette = colormaps["tab10"]
    colours = {stage: palette(number % 10) for number, stage in enumerate(stages)}
    width = max(13.0, 5 + 0.5 * len(fields))
    figure = Figure(figsize=(width, 8.4), layout="constrained")
    title = "Static against dynamic context, and how the layers look"
    figure.suptitle(f"{title}\n{image.title}{f', {answer}' if answer else ''}", fontsize=12)
    grid = figure.add_gridspec(2, 3)
    shares, looks, bars = (figure.add_subplot(place) for place in (grid[0, :2], grid[1, :2], grid[:, 2]))

    places = range(len(fields))
    for place, field in zip(places, fields, strict=True):
        if field.dynamic_share is not None:
            box = shares.boxplot(
                [100 * field.dynamic_share[0].numpy()],
                positions=[place],
                widths=0.6,
                patch_artist=True,
                showfliers=False,
            )
            box["boxes"][0].set(facecolor=colours[field.stage], alpha=0.7)
            box["medians"][0].set(color="black")
    shares.axhline(50, color="grey", linewidth=1, linestyle="--")
    shares.set(
        ylabel="share of the dynamic context in %", ylim=(-2, 102), title="share per layer; the box: its channels"
    )
    if all(field.dynamic_share is None for field in fields):
        note = "these layers have no fusion"
        shares.text(0.5, 0.6, note, ha="center", transform=shares.transAxes, color="grey")
    handles = [Patch(facecolor=colours[stage], label=stage, alpha=0.7) for stage in stages]
    shares.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)

    spread = [float(entropy(field.weight[0]).mean()) for field in fields]
    length = [float(direction(field.weight[0], dilation=field.dilation).norm(dim=1).mean()) for field in fields]
    looks.plot(places, spread, marker="o", color="#1b6ca8")
    looks.set_ylabel("entropy of the look (1: all cells alike)", color="#1b6ca8")
    looks.set_title("looks, mean over heads and positions")
    other = looks.twinx()
    other.plot(places, length, marker="s", color="#b30000")
    other.set_ylabel("length of the mean look in cells", color="#b30000")
    other.set_ylim(0, 1.15 * max(length) or 1)
    looks.grid(alpha=0.3)
    names = [short_name(field.layer) for field in fields]
    for axes in (shares, looks):
        axes.set_xlim(-0.7, len(fields) - 0.3)
        axes.set_xticks(
            list(places),
            names,
            rotation=60 if len(names) > 6 else 0,
            fontsize=8,
            ha="right" if len(names) > 6 else "center",
        )

    _stage_bars(bars, fields, stages)
    save_sheet(figure, path)


def _stage_bars(axes, fields: Sequence[Field], stages: Sequence[str]) -> None:  # type: ignore[no-untyped-def]
    """Mean shares of each stage as bars of 100 %."""
    axes.set(title="mean per stage", xlim=(0, 100), xlabel="share in %")
    axes.set_yticks(range(len(stages)), stages)
    axes.set_ylim(len(stages) - 0.4, -0.6)
    for place, stage in enumerate(stages):
        known = [f.dynamic_share[0].mean().item() for f in fields if f.stage == stage and f.dynamic_share is not None]
        if not known:
            axes.text(50, place, "no fusion", ha="center", va="center", color="grey")
            continue
        dynamic = 100 * sum(known) / len(known)
        axes.barh(place, dynamic, color=_DYNAMIC, height=0.5)
        axes.barh(place, 100 - dynamic, left=dynamic, color=_STATIC, height=0.5)
        axes.text(dynamic / 2, place, f"{dynamic:.0f}", ha="center", va="center", color="white")
        axes.text(50 + dynamic / 2, place, f"{100 - dynamic:.0f}", ha="center", va="center", color="white")
    handles = [Patch(facecolor=_DYNAMIC, label="dynamic"), Patch(facecolor=_STATIC, label="static")]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2, fontsize=9, frameon=False)
