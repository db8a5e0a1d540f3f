"""How near the suggestion of the learning-rate range test is to the best of a small sweep, set by set.

    python benchmarks/range_test.py --npz CIFAR.npz TINY.npz --epochs 6 --json results.json

Each set is trained from random weights at every rate of a grid, the range test is run on it, and a line says what both
name. With --json, the curves are kept, so that rules can be compared without training again.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from cotnet.training import run_recipe as train

GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
NETWORK: dict[str, Any] = {"model.name": "cotnet8_nano", "model.warmup_epochs": 0.5}
DATA: dict[str, Any] = {"data.size": 32, "data.batch_size": 32, "data.num_workers": 0, "data.augment": "flip"}


def sets(files: list[str], batches: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Recipe and fields of each set."""
    bundled = {"data.train_per_class": 150, "data.val_per_class": 40, "data.size": 24, "data.batch_size": 32}
    packs = {
        Path(file).stem: (
            "finetune",
            {**DATA, "data": "NpzPack", "data.path": file, "trainer.limit_train_batches": batches},
        )
        for file in files
    }
    return {"bundled": ("embedded", bundled), **packs}


def main() -> None:
    """Measure, print a line for each set, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", nargs="*", default=[], metavar="FILE", help="packs of images, beside the bundled ones")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batches", type=int, default=100, help="training batches of an epoch of a pack")
    parser.add_argument("--json", metavar="FILE", help="keep scores and curves")
    args = parser.parse_args()
    results = []
    for name, (recipe, fields) in sets(args.npz, args.batches).items():
        fields = {
            **NETWORK,
            **fields,
            "trainer.max_epochs": args.epochs,
            "trainer.check_val_every_n_epoch": args.epochs,
        }
        with tempfile.TemporaryDirectory() as folder:
            test = train(recipe, {**fields, "find_lr": f"{folder}/range.png"}, runs=folder).range_test
            assert test is not None
            scores = {
                rate: train(recipe, {**fields, "model.base_lr": rate}, runs=folder).score or 0.0
                for rate in sorted({*GRID, *([test.base_lr] if test.base_lr else [])})
            }
        best = max(scores, key=lambda rate: scores[rate])
        suggested = "nothing" if test.base_lr is None else f"{test.base_lr:.3g} ({scores[test.base_lr]:.1%})"
        print(f"{name}: best {best:g} ({scores[best]:.1%}), range test {suggested}; {scores}", flush=True)
        results.append({"set": name, "scores": scores, "rates": test.rates, "losses": test.losses})
        results[-1] |= {"base_batch": test.base_batch, "global_batch": test.global_batch}
        if args.json:
            Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
