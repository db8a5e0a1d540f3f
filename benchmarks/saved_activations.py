"""What autograd keeps between the forward and the backward pass, by the operation that keeps it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

MIB = 2**20


class SavedTensors:
    """Saved tensors of a forward pass, each storage once, under the operation and module that first saved it."""

    def __init__(self, model: nn.Module):
        self.names = {module: name for name, module in model.named_modules()}
        self.parameters = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
        self.rows: list[tuple[str, str, tuple[int, ...], int]] = []
        self.seen: set[int] = set()
        self.kept: list[Tensor] = []
        self.path = [""]
        # A BatchNorm with hooks would not run together with what follows it.
        for module in (m for m in model.modules() if not isinstance(m, nn.BatchNorm2d)):
            module.register_forward_pre_hook(lambda module, args: self.path.append(self.names[module]))
            module.register_forward_hook(self._leave)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.path.pop()

    def pack(self, tensor: Tensor) -> Tensor:
        """Note a tensor's storage unless it is a parameter or noted already."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.parameters | self.seen:
            self.seen.add(storage.data_ptr())
            self.kept.append(tensor.detach())  # a freed storage's address could come again
            self.rows.append((self.path[-1], _kind(tensor), tuple(tensor.shape), storage.nbytes()))
        return tensor


def _kind(tensor: Tensor) -> str:
    if tensor.grad_fn is None:
        return "input or statistics"
    return tensor.grad_fn.name().removesuffix("Backward0").removesuffix("Backward")


def activation_lines(name: str, run: Any) -> Iterator[str]:
    """A table of one block's saved tensors, then totals by the operation whose result is saved."""
    saved = SavedTensors(run.model)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        loss = run.loss()
    block = "layer1.1."
    yield f"{name}, saved by {block[:-1]} (storages of at least 0.1 MiB)"
    yield f"| {'saved in':28} | {'result of':32} | {'shape':22} | {'MiB':>6} |"
    for module, kind, shape, size in saved.rows:
        if (module + ".").startswith(block) and size >= MIB / 10:
            where = (module + ".").removeprefix(block).removesuffix(".") or "block"
            yield f"| {where:28} | {kind:32} | {list(shape)!s:22} | {size / MIB:6.2f} |"
    totals, counts = Counter[str](), Counter[str]()
    for _, kind, _, size in saved.rows:
        totals[kind] += size
        counts[kind] += 1
    yield f"{name}, the whole network: {sum(totals.values()) / MIB:.0f} MiB in {len(saved.rows)} storages"
    yield f"| {'result of':32} | {'storages':>8} | {'MiB':>7} |"
    for kind, size in totals.most_common(14):
        yield f"| {kind:32} | {counts[kind]:8} | {size / MIB:7.1f} |"
    del loss
