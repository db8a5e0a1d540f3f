"""Which modules of a network feed which: its forward, run once over symbols on a private copy."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, fx, nn

_CONSTANT = "tensor"  # in the graph in the place of a tensor with a value, which nothing here asks for


class Dataflow:
    """The calls of leaf modules in a network's forward.

    torch's own symbolic trace replaces methods of ``nn.Module`` in the whole process while it runs, so that networks in
    other threads fail. Here each module of a private copy gets another ``forward`` instead.

    Args:
        model: The network, in eval mode; it is not changed. Its own hooks do not run.
        is_leaf: Whether a module counts as one operation, which is not looked into.

    Raises:
        Exception: Of any kind, where the control flow depends on the data.
    """

    def __init__(self, model: nn.Module, is_leaf: Callable[[nn.Module], bool]):
        parameters = {id(parameter): parameter for parameter in model.parameters()}
        traced = copy.deepcopy(model, dict(parameters))  # buffers are copied: some modules write into theirs
        tracer = _Tracer(traced)
        originals = dict(zip(traced.modules(), model.modules(), strict=True))
        self._modules: dict[fx.Node, nn.Module] = {}
        self._weights: dict[fx.Node, nn.Module] = {}

        def call(leaf: nn.Module, *args: Any, **kwargs: Any) -> fx.Proxy:
            result = tracer.create_proxy("call_function", _leaf, args, kwargs)
            self._modules[result.node] = originals[leaf]
            return result

        for module in originals:
            if module is traced or not is_leaf(module):
                continue
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                hooks.clear()
            module.forward = partial(call, module)
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    weight = tracer.create_proxy("placeholder", "weight", (), {})
                    self._weights[weight.node] = originals[module]
                    module.__dict__[name] = weight  # is found before the parameter of this name
        result = _run(traced, tracer)
        kept = [vars(module) for module in originals if not is_leaf(module)]  # what modules remember, others may read
        tracer.create_node("output", "output", (tracer.create_arg((result, _symbols(kept))),), {})
        self.nodes = [node for node in tracer.graph.nodes if node in self._modules]

    def module(self, node: fx.Node) -> nn.Module:
        """The module that a node calls."""
        return self._modules[node]

    def source(self, node: fx.Node) -> fx.Node | None:
        """The call whose result is the only argument of this one, if nothing else reads that result."""
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            return None
        source = node.args[0]
        return source if source in self._modules and len(source.users) == 1 else None

    def read_directly(self) -> set[nn.Module]:
        """The leaves of which the forward reads a parameter or buffer past their call."""
        return {module for node, module in self._weights.items() if node.users}


def _leaf(*args: Any, **kwargs: Any) -> None:
    """Stands in the graph for the call of a leaf."""


def _run(model: nn.Module, tracer: "_Tracer") -> Any:
    """The result of a model's forward with a symbol for each of its arguments."""
    args, kwargs = [], {}
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise NotImplementedError(f"the forward takes any number of arguments, *{name}")
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        symbol = tracer.create_proxy("placeholder", name, (), {})
        if parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[name] = symbol
        else:
            args.append(symbol)
    return model.forward(*args, **kwargs)


def _symbols(attributes: list[dict[str, Any]]) -> list[fx.Proxy]:
    """The symbols among the attributes of modules, also those inside lists, tuples and dicts."""
    symbols, seen = [], set()
    values: list[Any] = list(attributes)
    while values:
        value = values.pop()
        if isinstance(value, fx.Proxy):
            symbols.append(value)
        elif isinstance(value, (list, tuple, dict)) and id(value) not in seen:
            seen.add(id(value))
            values += value.values() if isinstance(value, dict) else value
    return symbols


class _Tracer(fx.Tracer):
    """Records what happens to symbols; tensors are constants whose value does not matter."""

    def __init__(self, root: nn.Module):
        super().__init__()
        self.root, self.graph, self.tensor_attrs = root, fx.Graph(), {}

    def create_arg(self, a: Any) -> Any:
        return _CONSTANT if isinstance(a, Tensor) else super().create_arg(a)
