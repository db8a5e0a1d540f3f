"""The 24 published cells: each recipe is of its network and detector, on the shared schedule, with the paper's AP."""

import re

import pytest

from cotnet.detection import DETECTORS
from cotnet.models import BODIES
from cotnet.training.config import read_config
from cotnet.training.recipe import find_recipe, read_recipe

# Box AP (mask AP) of Faster, Cascade, Mask and Cascade Mask R-CNN (arXiv 2107.12292).
PUBLISHED = {
    "cotnet50": ("43.50", "46.11", "44.06, mask AP 39.28", "46.94, mask AP 40.25"),
    "cotnext50_2x48d": ("44.06", "46.79", "44.47, mask AP 39.62", "47.63, mask AP 40.76"),
    "se_cotnetd_50": ("43.96", "46.77", "44.16, mask AP 39.38", "47.44, mask AP 40.73"),
    "cotnet101": ("45.35", "48.19", "46.17, mask AP 40.86", "48.97, mask AP 41.98"),
    "cotnext101_2x48d": ("46.10", "49.02", "46.66, mask AP 41.21", "49.35, mask AP 42.20"),
    "se_cotnetd_101": ("45.66", "49.02", "46.67, mask AP 41.53", "49.24, mask AP 42.38"),
}
ORDER = ("faster_rcnn", "cascade_rcnn", "mask_rcnn", "cascade_mask_rcnn")
CELLS = [(name, detector, ap) for name, row in PUBLISHED.items() for detector, ap in zip(ORDER, row, strict=True)]


def merged(name: str) -> dict[str, dict]:
    fields: dict[str, dict] = {"model": {}, "data": {}, "trainer": {}}
    for part in read_recipe(find_recipe(name)):
        for group, into in fields.items():
            into |= part.get(group, {}).get("init_args", part.get(group, {}))
    return fields


@pytest.mark.parametrize(("name", "detector", "ap"), CELLS)
def test_a_published_cell(name, detector, ap):
    assert name in BODIES
    assert detector in DETECTORS
    path = find_recipe(f"{detector}/{name}")
    header = path.read_text("utf-8")
    assert re.search(rf"Expected box AP {ap}$", header, re.MULTILINE)
    fields = merged(f"{detector}/{name}")
    model, data, trainer = fields["model"], fields["data"], fields["trainer"]
    assert (model["name"], model["detector"]) == (name, detector)
    assert (model["base_lr"], model["momentum"], model["weight_decay"]) == (0.02, 0.9, 1e-4)
    # 90,000 steps of 16 images with a tenth of the rate from 60,000 and 80,000 on, and a warm-up over 1,000
    steps = data["epoch_images"] / 16
    assert [steps * epoch for epoch in (trainer["max_epochs"], *model["milestones"])] == [90_000, 60_000, 80_000]
    assert steps * model["warmup_epochs"] == pytest.approx(1000)
    assert (model["frozen"], model["norm"], trainer["sync_batchnorm"], model["precise_norm"]) == (2, "batch", True, 200)
    masks = "mask" in detector
    assert (model["sizes"], model["size_step"], model["max_size"]) == ([640, 800], 32 if masks else 1, 1333)
    assert data.get("masks", False) == masks


@pytest.mark.parametrize(
    "name", ["faster_rcnn/cotnet50", "cascade_mask_rcnn/se_cotnetd_101", "cascade_small", "semantic_small"]
)
def test_the_command_line_reads_bases_and_cell_as_one(name):
    values = read_config(read_recipe(find_recipe(name)), []).values
    for group, fields in merged(name).items():
        for field, value in fields.items():
            found = values[group][field]
            assert (list(found) if isinstance(found, tuple) else found) == value, field
