"""The dispatcher: help, errors as one line, and what is not loaded for them."""

import os
import subprocess
import sys

import pytest

import cotnet.cli.models  # noqa: F401  (so that it can be replaced)
from cotnet.cli import main
from cotnet.cli.errors import sentence
from cotnet.models import BODIES
from cotnet.prediction.processes import ignore_stray_ranks

HEAVY = ("lightning", "matplotlib", "skimage", "torchmetrics", "jsonargparse", "rich", "tensorboard", "pandas")


def test_help_and_version(cotnet_command):
    for words in ((), ("--help",)):
        status, out, err = cotnet_command(*words)
        assert (status, err) == (0, "")
        assert all(name in out for name in ("train", "validate", "predict", "models"))
    assert cotnet_command("--version")[:2] == (0, "0.1.0\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean train?"),
        (["evaluate", "x"], "unknown command 'evaluate'; did you mean validate?"),
        (["detect"], "did you mean predict?"),
        (["resume"], "did you mean train RECIPE --ckpt_path last?"),
        (["train", "finetune", "FOLDER"], "for a folder of images --data.root FOLDER"),
        (["train", "finetune", "--data", "FOLDER"], "for a folder of images --data.root FOLDER"),
        (["predict"], "required: WEIGHTS, IMAGE"),
        (["predict", "w.safetensors", "p.jpg", "--topk", "0"], "--topk must be at least 1, got 0"),
        (["predict", "w.safetensors", "p.jpg", "--topk", "many"], "invalid int value: 'many'"),
        (["predict", "w.safetensors", "absent.jpg"], "absent.jpg is neither a file nor a folder"),
        (["validate", "--modle", "x", "y"], "did you mean --model?"),
        (["validate", "absent.safetensors"], "there is no weights file absent.safetensors"),
        (["models", "resnet"], "no model matches 'resnet'; the models are cotnet50"),
        (["train", "embeded"], "unknown recipe 'embeded'; did you mean embedded?"),
        (["train", "--modle.name", "x"], "did you mean --model.name x?"),
    ],
)
def test_an_error_is_one_line_and_status_2(cotnet_command, words, message):
    status, out, err = cotnet_command(*words)
    assert (status, out) == (2, "")
    assert err.startswith("cotnet: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_help_and_usage_errors_load_nothing_heavy():
    """One process for all: what one of them loaded would stay."""
    words = [["--help"], ["trian"], ["train", "--help"], ["train", "embeded"], ["train", "--modle.name", "x"]]
    words += [["train", "stray", "word"], ["train", "--ckpt_path", "nowhere.ckpt"], ["train", "--find_lr", "x.jpg"]]
    code = f"""
import sys
from cotnet.cli import main
for words in {words!r}:
    status = main(words)
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    if loaded or status != 2 * ("--help" not in words):
        sys.exit(f"{{words}}: {{status=}} {{loaded=}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_models(cotnet_command):
    status, out, _ = cotnet_command("models", "cotnet50")
    assert status == 0
    assert "22,222,416    224   81.3   95.6  the authors'" in out
    assert "this project's own" in cotnet_command("models", "nano")[1]


def test_a_missing_package_is_named(weights, images):
    without = "import sys; sys.modules['lightning'] = None; from cotnet.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*words):
        command = [sys.executable, "-c", without, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("predict", weights, images, "--num-workers", "0").returncode == 0
    done = run("validate", weights, images)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'cotnet[train]'" in done.stderr
    assert "lightning" in done.stderr


def test_debugging_shows_where_an_error_came_from(monkeypatch):
    monkeypatch.setenv("COTNET_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown command"):
        main(["trian"])


def test_an_interrupt_is_status_130(cotnet_command, monkeypatch):
    def interrupt(words):
        raise KeyboardInterrupt

    monkeypatch.setattr("cotnet.cli.models.run", interrupt)
    assert cotnet_command("models") == (130, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "cotnet", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "cotnet: error: No space left on device\n")


def test_one_entry_a_line_where_models_are_many(cotnet_command):
    lines = cotnet_command("models")[1].splitlines()
    assert len(lines) == len(BODIES) + 3
    assert [line.split()[0] for line in lines[1:-2]] == list(BODIES)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "shared memory (/dev/shm)"),
        (OSError(24, "Too many open files", "/x"), "ulimit -n 4096"),
        (RuntimeError("received 0 items of ancdata"), "too many open files"),
    ],
)
def test_what_the_system_lacks_is_named_with_the_way_out(error, words):
    line = sentence(error)
    assert words in line
    assert "\n" not in line


def test_a_job_of_slurm_without_srun_is_one_process(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    monkeypatch.delenv("SLURM_STEPID", raising=False)
    ignore_stray_ranks()
    assert "SLURM_NTASKS" not in os.environ
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    ignore_stray_ranks()
    assert os.environ["SLURM_NTASKS"] == "8"
