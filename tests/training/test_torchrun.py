"""A rank that dies: the job ends at once, torchrun starts it again, and it goes on where it was."""

import os
import subprocess
import sys

import pytest

from tests.training.tiny import TINY, final_state, same

SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
from cotnet.training.seeding import StepSeeds
calls, seed = [], StepSeeds.on_train_batch_start
def fault(*arguments):
    calls.append(0)
    if {faulty} and len(calls) == 5 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), 9)
    seed(*arguments)
StepSeeds.on_train_batch_start = fault
from cotnet.cli import main
sys.exit(main())
"""


def launch(folder, *, faulty):
    script = folder / "run.py"
    script.write_text(SCRIPT.format(faulty=faulty))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    words += [str(script), "train", *TINY, "--runs", str(folder), "--ckpt_path", "last", "--save_every_n_steps", "1"]
    words += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--data.batch_size", "8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900)


def weights_of(state):
    """Without running statistics, of which a checkpoint inside an epoch holds one process's."""
    return {**state, "tensors": [one for one in state["tensors"] if one.dim() > 1], "rows": []}


@pytest.mark.slow
def test_a_killed_rank_takes_the_job_down_and_the_restart_resumes_it(tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        done = launch(tmp_path / name, faulty=name == "broken")
        assert done.returncode == 0, done.stderr[-3000:]
    whole, broken = (tmp_path / name / "embedded" / "1" for name in ("whole", "broken"))
    assert same(*(weights_of(final_state(run)) for run in (whole, broken)))
    starts = (broken / "report.md").read_text().split("## Starts")[1]
    assert "after batch" in starts
