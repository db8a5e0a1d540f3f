"""``local_aggregation``, the public function, and the choice between its implementations.

Legend: N batch, C channels, G heads, k window size, H x W input size, Ho x Wo output size.
"""

from types import ModuleType
from typing import Any, Literal

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from cotnet.ops.dispatch import Impl, autocast, wants_reference
from cotnet.ops.library import LIBRARY
from cotnet.ops.local_aggregation import contract, native, reference, triton
from cotnet.ops.local_aggregation.contract import Geometry

UNAVAILABLE = {"native": native.unavailable, "triton": triton.unavailable}


def register(implementation: ModuleType, key: str, *, allow_override: bool = False) -> None:
    """Register an implementation of the three named ops, whose schemas are flat, at a dispatch key of torch.

    Args:
        implementation: A module with ``aggregate``, ``aggregate_grad_value`` and ``aggregate_grad_weight``.
        key: The dispatch key, such as ``"CPU"``.
        allow_override: Take the place of the implementation that the key has.
    """

    def aggregate(value: Tensor, weight: Tensor, *options: int) -> Tensor:
        return implementation.aggregate(value, weight, Geometry(*options))

    def grad_value(grad_out: Tensor, weight: Tensor, *options: int) -> Tensor:
        return implementation.aggregate_grad_value(grad_out, weight, Geometry(*options[:4]), *options[4:])

    def grad_weight(grad_out: Tensor, value: Tensor, *options: int) -> Tensor:
        return implementation.aggregate_grad_weight(grad_out, value, Geometry(*options[:4]), *options[4:])

    for name, function in (("", aggregate), ("_grad_value", grad_value), ("_grad_weight", grad_weight)):
        LIBRARY.impl(f"local_aggregation{name}", function, key, allow_override=allow_override)


register(reference, "CompositeExplicitAutograd")
register(native, "CPU")
register(triton, "CUDA")


def local_aggregation(
    value: Tensor,
    weight: Tensor,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    grouping: Literal["interleaved", "contiguous"] = "interleaved",
    groups: int = 1,
    impl: Impl = "auto",
) -> Tensor:
    """Filter each position of ``value`` with its own small kernel, which several channels share.

    ``y[n, c, i, j] = sum over u, v < k of w[n, g(c), u*k + v, i, j] * value[n, c, i*s - p + u*d, j*s - p + v*d]`` with
    stride ``s``, dilation ``d``, ``p = d * (k // 2)`` and zeros outside the image: a correlation, neither flipped nor
    normalised.

    Args:
        value: [N, C, H, W] of float32, float64, bfloat16 or float16, on any device, contiguous or channels_last.
        weight: [N, G, k*k, Ho, Wo] with ``Ho = (H - 1) // stride + 1``, of the dtype and on the device of ``value``;
            under autocast both are cast to its dtype, as a convolution's arguments are.
        kernel_size: Odd window size k.
        stride: Distance between neighbouring output positions.
        dilation: Distance between neighbouring cells of a window.
        grouping: How the channels are assigned to the heads. ``"interleaved"``: ``g(c) = c mod G``, as CoT does;
            ``"contiguous"``: ``g(c) = c // (C / G)``, as the heads of ordinary attention. The latter is the former with
            as many groups as heads, so ``groups`` has no further effect with it.
        groups: Divide channels and heads into this many independent groups, each a contiguous share of both as in a
            grouped convolution; ``grouping`` applies within each group. CoXt uses 2.
        impl: Which implementation computes. ``"auto"`` takes the best that serves such tensors. ``"reference"`` asks
            for plain PyTorch, ``"native"`` for the C++ kernels on the CPU, ``"triton"`` for the Triton kernels on a
            GPU; what is asked for is never replaced silently.

    Returns:
        [N, C, Ho, Wo]; channels_last where ``value`` is, else contiguous. 16-bit types accumulate in float32.

    Raises:
        ValueError: Sizes that do not fit, or an option out of its range.
        TypeError: A dtype that is none of these, or two different ones outside autocast.
        RuntimeError: ``impl="native"`` or ``"triton"`` where those kernels cannot serve; the message has the reason.

    Source:
        The aggregation of section 3.2 in *Contextual Transformer Networks for Visual Recognition*, arXiv 2107.12292.
    """
    if has_torch_function((value, weight)):
        options: dict[str, Any] = {
            "stride": stride,
            "dilation": dilation,
            "grouping": grouping,
            "groups": groups,
            "impl": impl,
        }
        return handle_torch_function(local_aggregation, (value, weight), value, weight, kernel_size, **options)
    if grouping not in ("interleaved", "contiguous"):
        raise ValueError(f"expected grouping 'interleaved' or 'contiguous', got {grouping!r}")
    value, weight = autocast(value, weight)
    geometry = Geometry(kernel_size, stride, dilation, groups)
    contract.check(value, weight, geometry)
    if grouping == "contiguous":
        geometry = geometry._replace(groups=weight.shape[1])
    if wants_reference(impl, value, UNAVAILABLE):
        return reference.aggregate(value, weight, geometry)
    return contract.aggregate(value, weight, *geometry)
