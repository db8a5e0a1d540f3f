"""How near the suggestion of the learning-rate range test is to the best rate of a small sweep, set by set.

Each set is trained from random weights at every rate of a grid and at the suggested one. Two other rules for reading
the same curve, the steepest fall and a tenth of the rate of the lowest loss, are named beside it.
"""

import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np

from cotnet import train
from cotnet.training.lr_finder import RangeTest

GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
NETWORK: dict[str, Any] = {"model.name": "cotnet8_nano", "model.warmup_epochs": 0.5}
PACK: dict[str, Any] = {"data.size": 32, "data.batch_size": 32, "data.num_workers": 0, "data.augment": "flip"}
BUNDLED = {"data.train_per_class": 150, "data.val_per_class": 40, "data.size": 24, "data.batch_size": 32}


def sets(files: list[str], batches: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Recipe and fields of each set."""
    limit = {"trainer.limit_train_batches": batches}
    packs = {Path(file).stem: ("finetune", {"data": "NpzPack", "data.path": file, **PACK, **limit}) for file in files}
    return {"bundled": ("embedded", BUNDLED), **packs}


def other_rules(test: RangeTest) -> dict[str, float]:
    """What else could be read off a curve, as ``model.base_lr``."""
    rates, losses = np.array(test.rates), np.array(test.losses)
    factor = test.base_batch / test.global_batch
    steepest = rates[10 + np.gradient(losses, np.log(rates))[10:].argmin()]
    return {"steepest": float(steepest * factor), "lowest / 10": float(rates[losses.argmin()] * factor / 10)}


def main() -> None:
    """Measure, and print a line for each set."""
    parser = harness.parser(__doc__)
    parser.add_argument("--npz", nargs="*", default=[], metavar="FILE", help="packs of images, beside the bundled ones")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batches", type=int, default=100, help="training batches of an epoch of a pack")
    args = parser.parse_args()
    for name, (recipe, given) in sets(args.npz, args.batches).items():
        fields = {"trainer.max_epochs": args.epochs, "trainer.check_val_every_n_epoch": args.epochs}
        fields |= {**NETWORK, **given}
        with tempfile.TemporaryDirectory() as folder:
            test = train(recipe, {**fields, "find_lr": f"{folder}/range.png"}, runs=folder).range_test
            assert test is not None
            rates = sorted({*GRID, *([] if test.base_lr is None else [test.base_lr])})
            scores = {f"{x:.3g}": train(recipe, {**fields, "model.base_lr": x}, runs=folder).score for x in rates}
        row = {"set": name, "epochs": args.epochs, "suggested": test.base_lr, "top1": scores, **other_rules(test)}
        print(row, flush=True)
        harness.record(args.json, harness.machine(), row)


if __name__ == "__main__":
    main()
