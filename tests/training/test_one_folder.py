"""Two processes that Lightning itself starts, the second one when the run folder is there already."""

import os
import subprocess
import sys

from cotnet.cli.train import run
from tests.training.tiny import TINY

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from cotnet.cli import main
from cotnet.classification import Classifier
step = Classifier.training_step
def broken(self, batch, batch_idx):
    result = step(self, batch, batch_idx)
    return {**result, "loss": result["loss"] * (float("inf") if self.global_rank == 1 else 1)}
Classifier.training_step = broken
sys.exit(main())
"""


def test_the_second_process_writes_where_the_first_one_does(tmp_path):
    words = ["--runs", str(tmp_path / "runs"), "--data.batch_size", "8", "--trainer.accelerator", "cpu"]
    run([*TINY, *words, "--trainer.max_epochs", "1"])
    runs = tmp_path / "runs" / "embedded"
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    words += ["--trainer.devices", "2", "--save_every_n_steps", "1", "--ckpt_path", str(runs / "1" / "last.ckpt")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(script), "train", *TINY, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2, ended.stderr
    assert sorted(path.name for path in runs.iterdir()) == ["1", "2"]
    left = {path.name for path in (runs / "2").iterdir()}
    assert {"rank0_failed_batch.txt", "rank1_failed_batch.txt", "best.ckpt", "config.yaml"} <= left
    assert "Traceback" not in ended.stderr
