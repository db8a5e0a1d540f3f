"""Measuring in child processes: the times of a group of candidates in turn, the memory of each candidate alone."""

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
class Measurement:
    """The result for one candidate.

    Attributes:
        candidate: What was measured.
        times: Times of a call, or ``None``.
        error: Largest difference of a logit from eager float32, relative to the largest logit, or ``None``.
        reason: Why there are no times, or why they do not count, or ``None``.
        wrong_answers: The answers differ from eager's, which is worse than a mode that cannot be measured.
    """

    candidate: Candidate
    times: Times | None = None
    error: float | None = None
    reason: str | None = None
    wrong_answers: bool = False


@torch.no_grad()
def measure_times(candidates: Sequence[Candidate], setting: Setting) -> list[Measurement]:
    """Time candidates in turn. Those with other answers than eager's are timed too, and marked.

    Args:
        candidates: What to time.
        setting: How to time it.

    Returns:
        A measurement for each candidate, in their order.
    """
    _prepare(setting)
    network_of = functools.cache(create_network)
    runs: dict[Candidate, Callable[[], Tensor]] = {}
    answers: dict[Candidate, Tensor] = {}
    done: dict[Candidate, Measurement] = {}

    def attempt(step: Callable[[Candidate], None], candidate: Candidate) -> None:
        """Take a step with a candidate. If the step fails, that is its measurement, and it takes no further step."""
        if candidate in done:
            return
        try:
            step(candidate)
        # A mode can fail in any way: no compiler, an unknown operator, a size that the network does not take.
        except Exception as failure:
            done[candidate] = Measurement(candidate, reason=_reason(failure))

    def start(candidate: Candidate) -> None:
        run = build(candidate, network_of(candidate.model), setting)
        runs[candidate] = functools.partial(run, images(candidate, setting))
        answers[candidate] = runs[candidate]().float()

    def call(candidate: Candidate) -> None:
        runs[candidate]()

    def judge(candidate: Candidate) -> None:
        error, limit = _error_and_limit(candidate, answers[candidate], network_of(candidate.model), setting)
        wrong = not error <= limit
        reason = f"answers differ from eager's by {error:.1e}, more than {limit:.1e}" if wrong else None
        done[candidate] = Measurement(candidate, times[candidate], error, reason, wrong)

    for candidate in candidates:
        attempt(start, candidate)
    calls = {candidate: functools.partial(attempt, call, candidate) for candidate in answers}
    times = interleave(calls, blocks=setting.blocks, block_ms=setting.block_ms)
    for candidate in candidates:
        attempt(judge, candidate)
    return [done[candidate] for candidate in candidates]


@torch.no_grad()
def measure_memory(candidate: Candidate, setting: Setting) -> float | None:
    """Peak resident memory of this process while the candidate, built and warmed up, answers.

    Where the system cannot reset the peak, that of building and compiling counts too.

    Args:
        candidate: What to run.
        setting: How to run it.

    Returns:
        The peak in MiB, or ``None`` if the candidate fails.
    """
    _prepare(setting)
    try:
        run, x = build(candidate, create_network(candidate.model), setting), images(candidate, setting)
        run(x)
        _reset_peak()
        run(x)
        run(x)
    except Exception:  # its time's measurement says why
        return None
    return _peak_mib()


def in_child(function: Callable[..., Answer], *args: Any) -> Answer:
    """Call a function in a fresh process, which ends with the call, also when the call is interrupted.

    Args:
        function: A function of a module, so that the child can import it.
        *args: Its arguments.

    Returns:
        What the function returns.

    Raises:
        RuntimeError: The function failed, or the process ended without an answer, e.g. because memory ran out.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, args))
    process.start()
    sender.close()
    try:
        answer, reason = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"the measuring process ended with exit status {process.exitcode}; memory may have run out"
        ) from None
    finally:
        process.terminate()
        process.join()
    if reason is not None:
        raise RuntimeError(f"measuring failed: {reason}")
    return answer


def _send(sender: multiprocessing.connection.Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted as well and ends this process
    try:
        sender.send((function(*args), None))
    except Exception as failure:  # as text: not every exception can be pickled
        sender.send((None, _reason(failure)))


def _prepare(setting: Setting) -> None:
    torch.set_num_threads(setting.threads)
    # All compiled candidates of one class share a code object; beyond the limit they would silently run eagerly.
    for name in ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 10_000)


def _error_and_limit(candidate: Candidate, answer: Tensor, network: nn.Module, setting: Setting) -> tuple[float, float]:
    """How far an answer is from that of eager float32, and how far it may be from it."""
    in_eager = replace(candidate, mode="eager")
    plain = replace(in_eager, dtype="float32")
    x = images(in_eager, setting)  # what the candidate saw, the rounding of the images included
    expected = build(plain, network, setting)(x.float())
    error = relative_error(answer, expected)
    if candidate.dtype == "float32":
        return error, TOLERANCE
    eager = answer if candidate.mode == "eager" else build(in_eager, network, setting)(x)
    return error, max(_LEAST_BFLOAT16, _ROUNDINGS * relative_error(eager.float(), expected))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _reset_peak() -> None:
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
