"""Which parts of a traced network work on bytes, and which values are bytes between them."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import fx, nn

from cotnet.fusing.batch_norm import FoldedNorm
from cotnet.fusing.cot import FusedCoT
from cotnet.fusing.winograd import WinogradConv
from cotnet.ops.int8_panels import DEEPEST, whole_fours
from cotnet.ops.plain import is_plain_module

# What they do in eval mode is nothing.
_IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d, DropPath, FoldedNorm)
_RELUS = (F.relu, torch.relu, F.relu_, torch.relu_)
_ADDS = (operator.add, operator.iadd, torch.add)


class Tracer(fx.Tracer):
    """Of fused networks: fused layers are not looked into."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of this module is one node."""
        return isinstance(m, (FusedCoT, WinogradConv)) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.GraphModule | None:
    """A fused network as a graph without what does nothing, over the same tensors; None where it cannot be traced."""
    try:
        graph = Tracer().trace(model)
    except Exception:  # control flow that follows the data, in any form
        return None
    traced = fx.GraphModule(model, graph)
    modules = dict(traced.named_modules(remove_duplicate=False))
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and is_plain_module(modules[node.target], *_IDLE):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.recompile()
    return traced


@dataclass(eq=False)
class Step:
    """A part of the network that works on bytes.

    Attributes:
        name: Of its module in the network.
        module: That in floats.
        source: The value that it takes.
        out: The value that it makes, with what is joined to it: a skip, ReLU.
        skip: The value added before ReLU.
        relu: Whether ReLU follows.
        to_float: Whether nothing that takes bytes takes ``out``.
        nodes: All nodes that it stands for.
    """

    name: str
    module: nn.Module
    source: fx.Node
    out: fx.Node
    skip: fx.Node | None = None
    relu: bool = False
    to_float: bool = False
    nodes: list[fx.Node] = field(default_factory=list)

    @property
    def keeps_scale(self) -> bool:
        """Whether the output's bytes stand for what the input's do."""
        return isinstance(self.module, (nn.MaxPool2d, nn.AvgPool2d))

    @property
    def averages(self) -> bool:
        """Whether it is the mean of a map."""
        return isinstance(self.module, nn.AdaptiveAvgPool2d)


def plan(traced: fx.GraphModule, in_floats: Mapping[str, str]) -> list[Step]:
    """The steps of a traced network, in order.

    Args:
        traced: See ``trace``.
        in_floats: Names of modules that stay in floats, with the reasons.
    """
    modules = dict(traced.named_modules(remove_duplicate=False))
    steps: list[Step] = []
    made: dict[fx.Node, Step] = {}
    for node in traced.graph.nodes:
        if node.op != "call_module" or node.target in in_floats:
            continue
        module = modules[node.target]
        if not _suits(module, node) or (_only_passes(module) and node.args[0] not in made):
            continue
        step = Step(str(node.target), module, node.args[0], node, nodes=[node])
        if isinstance(module, nn.Conv2d):
            _join(step, made, modules, relu=getattr(module, "relu", False) is True)
        steps.append(step)
        made[step.out] = step
    takers = {step.source for step in steps} | {step.skip for step in steps if step.skip is not None}
    for step in steps:
        step.to_float = step.averages or (
            isinstance(step.module, (nn.Conv2d, nn.Linear)) and step.out not in takers and step.skip is None
        )
    return steps


def _suits(module: nn.Module, node: fx.Node) -> bool:
    """Whether such a module has a form in integers."""
    if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
        return False
    if is_plain_module(module, FusedCoT):
        return True
    if is_plain_module(module, nn.Conv2d, WinogradConv):
        assert isinstance(module, nn.Conv2d)
        depth = module.kernel_size[0] * module.kernel_size[1] * whole_fours(module.in_channels // module.groups)
        return module.padding_mode == "zeros" and module.padding != "same" and depth <= DEEPEST
    if is_plain_module(module, nn.Linear):
        assert isinstance(module, nn.Linear)
        return whole_fours(module.in_features) <= DEEPEST
    if is_plain_module(module, nn.MaxPool2d):
        return module.dilation in (1, (1, 1)) and not module.return_indices
    if is_plain_module(module, nn.AvgPool2d):
        return module.divisor_override is None
    return is_plain_module(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))


def _only_passes(module: nn.Module) -> bool:
    """Whether bytes would gain nothing where the input is not bytes already."""
    return isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d))


def _join(step: Step, made: Mapping[fx.Node, Step], modules: Mapping[str, nn.Module], *, relu: bool) -> None:
    """Take the sum and the ReLU behind a convolution into it, where nothing else sees what is between them."""
    step.relu = relu
    user = _only_user(step.out)
    if not relu and user is not None and _is_sum(user):
        other = user.args[1] if user.args[0] is step.out else user.args[0]
        if isinstance(other, fx.Node) and other is not step.out and other in made and not made[other].averages:
            step.skip, step.out = other, user
            step.nodes.append(user)
            user = _only_user(user)
    if not relu and user is not None and _is_relu(user, modules):
        step.relu, step.out = True, user
        step.nodes.append(user)


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _is_sum(node: fx.Node) -> bool:
    adds = node.target in _ADDS if node.op == "call_function" else node.target in ("add", "add_")
    return node.op != "call_module" and adds and len(node.args) == 2 and not node.kwargs


def _is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return is_plain_module(modules[str(node.target)], nn.ReLU)
    return node.target in _RELUS if node.op == "call_function" else node.target in ("relu", "relu_")


class Watched(nn.Module):
    """A traced network that shows every value on its way.

    Args:
        traced: See ``trace``.
    """

    def __init__(self, traced: fx.GraphModule):
        super().__init__()
        self.traced = traced
        self.watch: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns; ``watch(node, value, inputs)`` is called for every value on the way."""
        watch = self.watch
        if watch is None:
            return self.traced(*args, **kwargs)

        class Interpreter(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                inputs = [self.env[i] for i in n.all_input_nodes]
                value = super().run_node(n)
                watch(n, value, inputs)  # now: an operator behind it may change it in place
                return value

        return Interpreter(self.traced).run(*args, *kwargs.values())
