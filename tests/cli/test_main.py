"""The dispatcher: help, errors as one line, and what is not loaded for them."""

import subprocess
import sys

import pytest

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
        (["predict"], "required: WEIGHTS, PICTURE"),
        (["predict", "w.safetensors", "p.jpg", "--topk", "0"], "--topk must be at least 1, got 0"),
        (["predict", "w.safetensors", "p.jpg", "--topk", "many"], "invalid int value: 'many'"),
        (["predict", "w.safetensors", "absent.jpg"], "absent.jpg is no file or folder"),
        (["validate", "--modle", "x", "y"], "did you mean --model?"),
        (["validate", "absent.safetensors"], "there is no weights file absent.safetensors"),
        (["models", "resnet"], "no model fits 'resnet'; there are cotnet50"),
        (["train", "embeded"], "unknown recipe 'embeded'; did you mean embedded?"),
        (["train", "--modle.name", "x"], "did you mean --model?"),
    ],
)
def test_an_error_is_one_line_and_status_2(cotnet_command, words, message):
    status, out, err = cotnet_command(*words)
    assert (status, out) == (2, "")
    assert err.startswith("cotnet: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["trian"], ["train", "embeded"], ["train", "--modle.name", "x"]])
def test_help_and_usage_errors_load_nothing_heavy(words):
    code = f"""
import sys
from cotnet.cli import main
main({words!r})
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_models(cotnet_command):
    status, out, _ = cotnet_command("models", "cotnet50")
    assert status == 0
    assert "22,222,416    224   81.3   95.6  the authors'" in out
    assert "this project's own" in cotnet_command("models", "nano")[1]
