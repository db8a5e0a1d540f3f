"""Peak memory of `cotnet predict` and `cotnet validate` over few and over many images: it should not grow.

    python benchmarks/predict_memory.py                     # 2,000 and 20,000 images

Each command runs in a process of its own, with decoding workers; the figure is the peak resident memory of that process
and, apart, the largest of its workers'.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import timm
from PIL import Image

from cotnet.files.weights import WeightsCard, write_weights

PREPROCESSING = {
    "input_size": [3, 16, 16],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bilinear",
    "crop_pct": 1.0,
}


def run_command(words: list[str]) -> None:
    """A command, then the peaks of this process and of its children as JSON on standard error."""
    from cotnet.cli import main

    status = main(words)
    peaks = (round(harness.peak_mib(who), 1) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps([status, *peaks]), file=sys.stderr)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--model", default="test_resnet")
    args = parser.parse_args()
    about = harness.machine()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        entries = timm.create_model(args.model, num_classes=2).state_dict()
        card = WeightsCard(model=args.model, class_names=["a", "b"], preprocessing=PREPROCESSING)
        write_weights(root / "weights.safetensors", entries, card)
        image = root / "image.png"
        Image.effect_noise((16, 16), 90).save(image)
        for count in args.counts:
            for kind in card.class_names:
                folder = root / str(count) / kind
                folder.mkdir(parents=True)
                for number in range(count // 2):
                    (folder / f"{number:06}.png").symlink_to(image)
            for command in ("predict", "validate"):
                words = [command, str(root / "weights.safetensors"), str(root / str(count))]
                words += ["--num-workers", str(args.num_workers), "--output", str(root / "answers")]
                done = subprocess.run([sys.executable, __file__, "--one", *words], stderr=subprocess.PIPE, text=True)
                status, peak, worker_peak = json.loads(done.stderr.splitlines()[-1])
                print(
                    f"{command:8} {count:6} images: exit {status}, peak {peak} MiB, of a worker {worker_peak} MiB",
                    flush=True,
                )
                row = {"command": command, "images": count, "peak_mib": peak, "worker_peak_mib": worker_peak}
                harness.record(args.json, about, {"num_workers": args.num_workers, "exit": status}, row)


if __name__ == "__main__":
    run_command(sys.argv[2:]) if sys.argv[1:2] == ["--one"] else main()
