"""The commands by name, and every error as one line."""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence

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

# Where a package is an extra other than `train`.
EXTRAS = {
    "captum": "view",
    "datasets": "data",
    "fsspec": "data",
    "webdataset": "data",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
}

HELP = """usage: cotnet COMMAND [ARGUMENTS]

Contextual Transformer networks for PyTorch.

{commands}

`cotnet COMMAND --help` tells more. COTNET_DEBUG=1 shows where an error came from.
"""


class UnfinishedError(Exception):
    """The work was done but for a part that has been named already: exit status 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what follows `cotnet`; the process's own arguments by default.

    Returns:
        The exit status: 0, or 2 after an error that is one line on standard error, or 1 where the reader of the
        output has left, or 130 after an interrupt.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
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
        extra = EXTRAS.get((error.name or "").split(".")[0], "train")
        return _fail(f"this command needs {error.name}; install it with: pip install 'cotnet[{extra}]'")
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if os.environ.get("COTNET_DEBUG"):
            raise
        if isinstance(error, OSError):
            _discard_output()
        return _fail(_sentence(error))
    return 0


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())), end="")
    elif words[0] == "--version":
        from cotnet._version import __version__

        print(__version__)
    elif words[0] in COMMANDS:
        importlib.import_module(f"cotnet.cli.{words[0]}").run(words[1:])
    else:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
        raise ValueError(f"unknown command {words[0]!r}; {hint}")


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    # What a loader process raised comes with that process's traceback around it.
    raised = (
        re.findall(r"^[\w.]*Error: (.+)$", str(error), flags=re.MULTILINE) if str(error).startswith("Caught ") else []
    )
    return raised[-1] if raised else " ".join(str(error).split()) or type(error).__name__


def _discard_output() -> None:
    """Keep what could not be written from being tried, and failing, once more when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    print(f"cotnet: error: {message}", file=sys.stderr)
    return 2
