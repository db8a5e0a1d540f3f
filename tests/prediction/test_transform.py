"""The preprocessing that docs/deploy.md gives to other programs is the one of `cotnet predict`."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import input_transform
from tests.cards import CARD

DOCS = Path(__file__).parents[2] / "docs" / "deploy.md"


@pytest.fixture(scope="module")
def documented():
    """The function of the page's first code block about images."""
    [code] = [
        code for code in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "def to_input" in code
    ]
    names = {}
    exec(code, names)
    return names["to_input"]


def pixels(*shape, kind=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


IMAGES = {
    "rgb.png": Image.fromarray(pixels(40, 61, 3)),
    "grey.png": Image.fromarray(pixels(61, 40)),
    "deep.png": Image.fromarray(pixels(50, 40, kind=np.uint16)),
    "palette.png": Image.fromarray(pixels(40, 40, 3)).quantize(16),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_other_programs_see_the_same(documented, tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    IMAGES[name].save(tmp_path / name, exif=exif)
    expected = read_input(tmp_path / name, input_transform(CARD)).numpy()
    np.testing.assert_allclose(documented(tmp_path / name, CARD.preprocessing)[0], expected, atol=1e-5)
