"""The sheet of a whole network: static against dynamic context, and how its layers look at their windows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cotnet.files.figure import save_figure
from cotnet.viz.source_image import SourceImage
from cotnet.viz.weight_field import WeightField, entropy, mean_offset, short_name

Colour = tuple[float, float, float, float]

_STATIC, _DYNAMIC = "#8c8c8c", "#d95f02"
_ENTROPY, _OFFSET = "#1b6ca8", "#b30000"


def draw_contexts(fields: Sequence[WeightField], image: SourceImage, path: Path, *, answer: str = "") -> None:
    """Draw how each layer's fusion mixes the two contexts, and how the layers look at their windows.

    Args:
        fields: The fields of the network's layers, in their order; the first image of each is drawn.
        image: That image.
        path: The PNG to write.
        answer: What the network predicts, for the title.

    Raises:
        ValueError: There are no fields.
    """
    if not fields:
        raise ValueError("the network has no CoT layer, so there are no contexts to compare")
    stages = list(dict.fromkeys(field.stage for field in fields))
    palette = colormaps["tab10"]
    colours = {stage: palette(number % 10) for number, stage in enumerate(stages)}
    figure = Figure(figsize=(max(13.0, 5 + 0.5 * len(fields)), 8.4), layout="constrained")
    title = "Static against dynamic context, and how the layers look"
    figure.suptitle(f"{title}\n{image.title}{f', {answer}' if answer else ''}", fontsize=12)
    grid = figure.add_gridspec(2, 3)
    shares, looks, bars = (figure.add_subplot(place) for place in (grid[0, :2], grid[1, :2], grid[:, 2]))

    _share_boxes(shares, fields, colours)
    _entropy_and_offset(looks, fields)
    names = [short_name(field.layer) for field in fields]
    many = len(names) > 6
    for axes in (shares, looks):
        axes.set_xlim(-0.7, len(fields) - 0.3)
        axes.set_xticks(
            range(len(fields)), names, rotation=60 if many else 0, fontsize=8, ha="right" if many else "center"
        )
    _stage_bars(bars, fields, stages)
    save_figure(figure, path)


def _share_boxes(axes: Axes, fields: Sequence[WeightField], colours: Mapping[str, Colour]) -> None:
    """The dynamic context's share in each layer, a box over its channels."""
    for place, field in enumerate(fields):
        if field.dynamic_share is not None:
            box = axes.boxplot(
                [100 * field.dynamic_share[0].numpy()],
                positions=[place],
                widths=0.6,
                patch_artist=True,
                showfliers=False,
            )
            box["boxes"][0].set(facecolor=colours[field.stage], alpha=0.7)
            box["medians"][0].set(color="black")
    axes.axhline(50, color="grey", linewidth=1, linestyle="--")
    axes.set(ylabel="share of the dynamic context in %", ylim=(-2, 102), title="share per layer; box: its channels")
    if all(field.dynamic_share is None for field in fields):
        axes.text(0.5, 0.6, "these layers have no fusion", ha="center", transform=axes.transAxes, color="grey")
    handles = [Patch(facecolor=colour, label=stage, alpha=0.7) for stage, colour in colours.items()]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def _entropy_and_offset(axes: Axes, fields: Sequence[WeightField]) -> None:
    """Mean entropy and mean length of the offsets, layer by layer."""
    places = range(len(fields))
    entropies = [float(entropy(field.weight[0]).mean()) for field in fields]
    lengths = [float(mean_offset(field.weight[0], dilation=field.dilation).norm(dim=1).mean()) for field in fields]
    axes.plot(places, entropies, marker="o", color=_ENTROPY)
    axes.set_ylabel("entropy (1: all cells of the window alike)", color=_ENTROPY)
    axes.set_title("how the layers look, mean over heads and positions")
    axes.grid(alpha=0.3)
    other = axes.twinx()
    other.plot(places, lengths, marker="s", color=_OFFSET)
    other.set_ylabel("length of the mean offset in cells", color=_OFFSET)
    other.set_ylim(0, 1.15 * max(lengths) or 1)


def _stage_bars(axes: Axes, fields: Sequence[WeightField], stages: Sequence[str]) -> None:
    """The mean shares in each stage, a bar of 100 %."""
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
