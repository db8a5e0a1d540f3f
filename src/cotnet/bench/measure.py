"""Measuring, in processes of its own: the times of a group of candidates in turn, the memory of each by itself."""

import functools
import multiprocessing
import multiprocessing.connection
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cotnet.bench.candidates import Candidate, Setting, build, create_network, images
from cotnet.bench.timing import Times, interleave
from cotnet.exporting.comparison import relative_error

Answer = TypeVar("Answer")

TOLERANCE = 1e-4  # of float32, relative to the largest logit
# A bfloat16 answer may be this many times as far from float32 as eager bfloat16 is, which only rounds.
_ROUNDINGS = 3
_LEAST_BFLOAT16 = 2**-7  # one bfloat16 step


@dataclass(frozen=True)
class Row:
    """What was found of a candidate.

    Attributes:
        candidate: what was measured.
        times: of a call, or `None`.
        error: largest difference of a logit from eager float32, relative to the largest, or `None`.
        fault: why there are no times, or why they do not count, or `None`.
        wrong: the answers differ from eager's, which is more than a mode that cannot serve.
    """

    candidate: Candidate
    times: Times | None = None
    error: float | None = None
    fault: str | None = None
    wrong: bool = False


@torch.no_grad()
def measure_times(candidates: Sequence[Candidate], setting: Setting) -> list[Row]:
    """The times of candidates in turn; those whose answers are not eager's are timed, but marked."""
    _prepare(setting)
    network_of = functools.cache(create_network)
    runs: dict[Candidate, Callable[[], Tensor]] = {}
    answers: dict[Candidate, Tensor] = {}
    rows: dict[Candidate, Row] = {}

    def attempt(step: Callable[[Candidate], None], candidate: Candidate) -> None:
        """Take a step with a candidate; where it fails, its row says why, and it takes no further one."""
        if candidate in rows:
            return
        try:
            step(candidate)
        # A mode can fail in any way: no compiler, an operator that it does not know, a size that it does not take.
        except Exception as failure:
            rows[candidate] = Row(candidate, fault=_reason(failure))

    def start(candidate: Candidate) -> None:
        run = build(candidate, network_of(candidate.model), setting)
        runs[candidate] = functools.partial(run, images(candidate, setting))
        answers[candidate] = runs[candidate]().float()

    def call(candidate: Candidate) -> None:
        runs[candidate]()

    def judge(candidate: Candidate) -> None:
        error, limit = _error_and_limit(candidate, answers[candidate], network_of(candidate.model), setting)
        wrong = not error <= limit
        fault = f"answers differ from eager's by {error:.1e}, more than {limit:.1e}" if wrong else None
        rows[candidate] = Row(candidate, times[candidate], error, fault, wrong)

    for candidate in candidates:
        attempt(start, candidate)
    calls = {candidate: functools.partial(attempt, call, candidate) for candidate in answers}
    times = interleave(calls, blocks=setting.blocks, block_ms=setting.block_ms)
    for candidate in candidates:
        attempt(judge, candidate)
    return [rows[candidate] for candidate in candidates]


@torch.no_grad()
def measure_memory(candidate: Candidate, setting: Setting) -> float | None:
    """Peak resident memory of this process in MiB while the candidate, ready and warm, answers; `None` if it cannot.

    Where the system cannot forget the peak of building and compiling, that counts, too.
    """
    _prepare(setting)
    try:
        run, x = build(candidate, create_network(candidate.model), setting), images(candidate, setting)
        run(x)
        _forget_peak()
        run(x)
        run(x)
    except Exception:  # its row says why
        return None
    return _peak_mib()


def in_child(function: Callable[..., Answer], *args: Any) -> Answer:
    """What a function returns in a fresh process, which ends with the call, also where the call is interrupted.

    Raises:
        RuntimeError: the function failed, or the process ended without an answer, e.g. because memory ran out.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, args))
    process.start()
    sender.close()
    try:
        answer, fault = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the measuring process ended with {process.exitcode}; memory may have run out") from None
    finally:
        process.terminate()
        process.join()
    if fault is not None:
        raise RuntimeError(f"measuring failed: {fault}")
    return answer


def _send(sender: multiprocessing.connection.Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, too, and ends this process
    try:
        sender.send((function(*args), None))
    except Exception as failure:  # as text: not every exception survives the way
        sender.send((None, _reason(failure)))


def _prepare(setting: Setting) -> None:
    torch.set_num_threads(setting.threads)
    # All compiled candidates of one class share a code object: beyond the limit they would silently run eagerly.
    for name in ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 10_000)


def _error_and_limit(candidate: Candidate, answer: Tensor, network: nn.Module, setting: Setting) -> tuple[float, float]:
    """How far an answer is from that of eager float32, and how far it may be."""
    short = replace(candidate, mode="eager")
    plain = replace(short, dtype="float32")
    x = images(short, setting)  # what the candidate saw, roundings of the images included
    expected = build(plain, network, setting)(x.float())
    error = relative_error(answer, expected)
    if candidate.dtype == "float32":
        return error, TOLERANCE
    eager = answer if candidate.mode == "eager" else build(short, network, setting)(x)
    return error, max(_LEAST_BFLOAT16, _ROUNDINGS * relative_error(eager.float(), expected))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
