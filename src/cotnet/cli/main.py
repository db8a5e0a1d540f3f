"""The commands by name, and every error as one line."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from cotnet.cli.errors import UnfinishedError, missing_package, print_anything, print_error, sentence

COMMANDS = {
    "train": "train a network by a recipe; without one, on images that are already on this machine",
    "validate": "top-1, top-5 and per-class accuracy of trained weights",
    "predict": "name what is in images",
    "export": "write trained weights for torch.export, ONNX or OpenVINO, and prove that the answers are the same",
    "bench": "speed and memory of networks side by side, in every mode of inference",
    "shards": "write labelled images into tar shards, for training on many machines",
    "models": "list the networks",
    "view": "what a network looks at: weight fields, static and dynamic context, Grad-CAM, as images",
    "study": "train networks that differ in one thing alike, over several seeds, and compare them",
}

# What other tools call them.
_SYNONYMS = {
    "train": "fit tune",
    "train finetune": "finetune fine-tune fine_tune",
    "train RECIPE --ckpt_path last": "resume continue",
    "validate": "eval evaluate evaluation test val",
    "predict": "classify detect infer inference segment",
    "bench": "benchmark profile speed",
    "export": "convert deploy onnx",
    "models": "list zoo",
    "view": "explain visualize",
}

HELP = """usage: cotnet COMMAND [ARGUMENTS]

Contextual Transformer networks for PyTorch.

{commands}

`cotnet COMMAND --help` tells more. COTNET_DEBUG=1 shows where an error came from.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after `cotnet`; default those of this process.

    Returns:
        The exit status: 0; 2 after an error, which is one line on standard error; 1 after a closed pipe; 130 after an
        interrupt.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    print_anything()
    try:
        _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except UnfinishedError:
        return 2
    except BrokenPipeError:
        _discard_output()
        return 1
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes one of the other
            return 130
        return stop.code if isinstance(stop.code, int) else 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cotnet") or os.environ.get("COTNET_DEBUG"):
            raise
        print_error(missing_package(error))
        return 2
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if os.environ.get("COTNET_DEBUG"):
            raise
        if isinstance(error, OSError):
            _discard_output()
        print_error(sentence(error))
        return 2
    return 0


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())), end="")
    elif words[0] == "--version":
        from cotnet._version import __version__

        print(__version__)
    elif words[0] in COMMANDS:
        from cotnet.prediction.processes import ignore_stray_ranks

        ignore_stray_ranks()
        importlib.import_module(f"cotnet.cli.{words[0]}").run(words[1:])
    else:
        meant = next((command for command, others in _SYNONYMS.items() if words[0].lower() in others.split()), None)
        near = [meant] if meant else difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
        raise ValueError(f"unknown command {words[0]!r}; {hint}")


def _discard_output() -> None:
    """Keep what could not be written from being tried, and failing, once more when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
