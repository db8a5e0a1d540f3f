"""Kill -9, resume, and the end is that of a run that was never stopped, bit for bit.

Runs are forked from a server that has imported everything, so that one takes a second or two.
"""

import multiprocessing
import random
import signal
import time

import pytest

from tests.training.tiny import TINY, final_state, same

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["cotnet.training.assembly", "torch.utils.tensorboard"])

RUN = """
import sys, torch
torch.set_num_threads(1)
sys.stdout = sys.stderr = open({log!r}, "a", buffering=1)
{fault}
from cotnet.cli import main
sys.exit(main({words!r}))
"""
KILL = "__import__('os').kill(__import__('os').getpid(), 9)"
# Called as batch `count` starts, after half of checkpoint `count` is written, or between its two renames.
IN_STEP = """
from cotnet.training.seeding import StepSeeds
calls, seed = [], StepSeeds.on_train_batch_start
def fault(*arguments):
    calls.append(0)
    return {kill} if len(calls) == {count} else seed(*arguments)
StepSeeds.on_train_batch_start = fault
"""
IN_WRITE = """
import cotnet.training.checkpoint_io as io
calls, write = [], io.write_with_checksum
def fault(file, content):
    calls.append(0)
    if len(calls) < {count}: return write(file, content)
    file.write(content[: len(content) // 2]), file.flush(), {kill}
io.write_with_checksum = fault
"""
IN_RENAME = """
import cotnet.training.checkpoint_io as io
calls, replace = [], io.Path.replace
def fault(path, target):
    done = replace(path, target)
    if target.name == io.PREVIOUS: calls.append(0)
    return {kill} if len(calls) == {count} else done
io.Path.replace = fault
"""


def start(runs, *fields, fault=""):
    words = ["train", *TINY, "--runs", str(runs), "--ckpt_path", "last", "--save_every_n_steps", "1", *fields]
    code = RUN.format(log=str(runs / "log.txt"), words=words, fault=fault)
    process = CONTEXT.Process(target=exec, args=(code, {"__name__": "run"}))
    process.start()
    return process


def starts(run):
    """How often the run was begun or gone on with, by its report."""
    return len((run / "report.md").read_text().split("## Starts")[1].split("| epoch ")) - 1


def finish(process):
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    runs = tmp_path_factory.mktemp("unbroken")
    server = CONTEXT.Process(target=int)  # the first one waits for the server's imports
    server.start()
    server.join()
    started = time.monotonic()
    assert finish(start(runs)) == 0, (runs / "log.txt").read_text()
    return final_state(runs / "embedded" / "1"), time.monotonic() - started


def test_killed_in_a_step_in_a_write_and_between_renames(unbroken, tmp_path):
    faults = [(IN_STEP, 3), (IN_WRITE, 2), (IN_RENAME, 4)]
    for fault, count in faults:
        assert finish(start(tmp_path, fault=fault.format(count=count, kill=KILL))) == -signal.SIGKILL
    assert finish(start(tmp_path)) == 0, (tmp_path / "log.txt").read_text()
    assert [path.name for path in (tmp_path / "embedded").iterdir()] == ["1"]  # the run has gone on in its folder
    assert "previous.ckpt" in (tmp_path / "log.txt").read_text()  # after the kill between two renames
    assert same(final_state(tmp_path / "embedded" / "1"), unbroken[0])
    assert starts(tmp_path / "embedded" / "1") == 4


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", ["0", "2"])
def test_killed_at_ten_random_moments(unbroken, num_workers, tmp_path):
    moments = random.Random(num_workers)
    kills = 0
    while kills < 10:
        in_write = kills % 3 == 2
        fault = IN_WRITE.format(count=moments.randint(1, 2), kill=KILL) if in_write else ""
        process = start(tmp_path, "--data.num_workers", num_workers, fault=fault)
        if not in_write:  # at least one checkpoint further now and then, or there is no end
            process.join(moments.uniform(0.2, 0.9) * unbroken[1])
            process.kill()
        kills += finish(process) != 0  # after one that came to its end, --ckpt_path last begins a new run
    assert finish(start(tmp_path, "--data.num_workers", num_workers)) == 0
    # One that was killed before its first checkpoint has left nothing to go on from, and a new run was begun.
    runs = [run for run in (tmp_path / "embedded").iterdir() if (run / "last.ckpt").exists()]
    assert max(starts(run) for run in runs) > 1
    for run in runs:
        assert same(final_state(run), unbroken[0])
