"""Errors and notes as single lines on standard error."""

import codecs
import errno
import re
import sys

# The extra that holds a package, where it is another than `train`.
EXTRAS = {
    "captum": "view",
    "datasets": "data",
    "faster_coco_eval": "detection",
    "fsspec": "data",
    "webdataset": "data",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
}


class UnfinishedError(Exception):
    """The work was done but for a part that has been named already: exit status 2."""


def print_anything() -> None:
    """Let names be printed whatever the terminal's encoding: bytes of file names as they are, the rest escaped."""
    codecs.register_error("cotnet", _replacement)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="cotnet")


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte of a file name that is no text
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return codecs.backslashreplace_errors(
        UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, "")
    )


def print_error(message: object) -> None:
    """Print one line that says what is wrong."""
    print(f"cotnet: error: {message}", file=sys.stderr, flush=True)


def print_note(message: object) -> None:
    """Print one line that says what else is worth knowing."""
    print(f"note: {message}", file=sys.stderr, flush=True)


def missing_package(error: ModuleNotFoundError) -> str:
    """What to install where a package is missing."""
    extra = EXTRAS.get((error.name or "").split(".")[0], "train")
    return f"this command needs {error.name}; install it with: pip install 'cotnet[{extra}]'"


def sentence(error: BaseException) -> str:
    """What an error says, on one line."""
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EMFILE:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error)
    if "Bus error" in text or "shared memory" in text:
        return (
            "a loader process ran out of shared memory (/dev/shm): use --data.num_workers 0 (--num-workers 0), or give "
            "the container more, such as docker run --shm-size 8g"
        )
    if "Too many open files" in text or "received 0 items of ancdata" in text:
        return "too many open files: use fewer loader processes (num_workers), or raise the limit by ulimit -n 4096"
    # What a loader process raised comes with that process's traceback around it.
    raised = (
        re.findall(r"^[\w.]*Error: (.+)$", str(error), flags=re.MULTILINE) if str(error).startswith("Caught ") else []
    )
    return raised[-1] if raised else " ".join(str(error).split()) or type(error).__name__
