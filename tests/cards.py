"""The card of a tiny classifier, for tests that need one."""

from cotnet.files.weights import WeightsCard

CARD = WeightsCard(
    model="cotnet_nano",
    class_names=["cat", "dog", "owl"],
    preprocessing={
        "input_size": [3, 32, 32],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    },
)
