"""From the pixels of any mode to 8-bit RGB, by one rule for each mode.

The rule never looks at the largest value of an image: two images of a set stay comparable. See `to_rgb` for the table.
"""

import numpy as np
from PIL import Image

ValueRange = tuple[float, float]

# What transparent pixels are put on.
BACKGROUND = (255, 255, 255)
# Modes deeper than 8 bits: what their pixels are, and the values that become black and white.
_DEEP: dict[str, tuple[str, ValueRange]] = {
    "I;16": ("16-bit integers", (0, 65535)),
    "I": ("32-bit integers", (0, 65535)),
    "F": ("floating-point numbers", (0, 1)),
}


class UnusablePixelsError(ValueError):
    """Pixels cannot be brought to 8 bits.

    Attributes:
        reason: Why.
        advice: The way out.
        extent: The range that the values need, where they are outside the default one.
    """

    def __init__(self, reason: str, advice: str, extent: ValueRange | None = None) -> None:
        super().__init__(f"{reason}; {advice}")
        self.reason, self.advice, self.extent = reason, advice, extent


def to_rgb(image: Image.Image, *, value_range: ValueRange | None = None) -> Image.Image:
    """The image in 8-bit RGB.

    =================================  ==============================================================================
    Mode                               Rule
    =================================  ==============================================================================
    1, L, P, RGB, CMYK, YCbCr, LAB     converted as Pillow does
    RGBA, LA, PA, any transparency     composed on white
    16-bit integers                    ``value_range``, by default 0 to 65,535
    32-bit integers                    ``value_range``, by default 0 to 65,535; values outside that are refused
    floating-point numbers             ``value_range``, by default 0 to 1; values outside that are refused
    NaN, infinity                      refused
    =================================  ==============================================================================

    Args:
        image: An image of any mode.
        value_range: The values that become black and white in images deeper than 8 bits; values outside are clipped.

    Raises:
        UnusablePixelsError: Pixels are not finite, or outside the default range of their type.
    """
    mode = deep_mode(image)
    if mode is not None:
        return _scale(image, mode, value_range).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    # Pillow converts premultiplied grey neither to RGB nor to RGBA in one step.
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (*BACKGROUND, 255)), rgba).convert("RGB")


def deep_mode(image: Image.Image) -> str | None:
    """The kind of an image deeper than 8 bits, ``I;16``, ``I`` or ``F``; None for the others."""
    mode = "I;16" if image.mode.startswith("I;16") else image.mode
    return mode if mode in _DEEP else None


def describe_depth(mode: str, value_range: ValueRange | None) -> str:
    """What the pixels of a `deep_mode` are and how they are read."""
    what, default = _DEEP[mode]
    black, white = value_range or default
    return f"{what}, read as {black:g} to {white:g} (data.value_range sets another range)"


def _scale(image: Image.Image, mode: str, value_range: ValueRange | None) -> Image.Image:
    values = np.asarray(image, np.float64)
    what, default = _DEEP[mode]
    infinite = np.count_nonzero(~np.isfinite(values))
    if infinite:
        raise UnusablePixelsError(f"{infinite} of its {values.size} pixels are NaN or infinite", "replace or remove it")
    black, white = value_range or default
    low, high = values.min(), values.max()
    if value_range is None and not black <= low <= high <= white:
        raise UnusablePixelsError(
            f"its {what} go from {low:g} to {high:g}, outside {black:g} to {white:g}",
            f"give the range of the whole set as data.value_range, such as [{min(low, black):g}, {high:g}]",
            (float(min(low, black)), float(high)),
        )
    scaled = (255 / (white - black) * (values - black)).round().clip(0, 255)
    # 16-bit PNGs can name one grey value as transparent.
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        scaled[values == hidden] = BACKGROUND[0]
    return Image.fromarray(scaled.astype(np.uint8))
