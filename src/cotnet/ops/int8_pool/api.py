"""The choice between the implementations of pooling of bytes."""

from torch import Tensor

from cotnet.ops.dispatch import exporting
from cotnet.ops.int8_pool import contract, native, reference
from cotnet.ops.int8_pool.contract import PoolGeometry


def _portable(x, kernel_size, stride, padding, ceil_mode, maximum, counts_padding, in_zero):
    geometry = PoolGeometry(kernel_size, stride, padding, ceil_mode)
    contract.check(x, geometry)
    return reference.pool(x, geometry, maximum, counts_padding, in_zero)


def _native(x, kernel_size, stride, padding, ceil_mode, maximum, counts_padding, in_zero):
    geometry = PoolGeometry(kernel_size, stride, padding, ceil_mode)
    return native.pool(x, geometry, maximum, counts_padding, in_zero)


contract.LIBRARY.impl("int8_pool", _portable, "CompositeExplicitAutograd")
contract.LIBRARY.impl("int8_pool", _native, "CPU")


def int8_pool(
    x: Tensor, geometry: PoolGeometry, *, maximum: bool, counts_padding: bool = True, in_zero: int = 0
) -> Tensor:
    """Maxima or averages of windows.

    Args:
        x: uint8 [N, C, H, W].
        geometry: Which inputs an output takes.
        maximum: Of the windows, else the average.
        counts_padding: Whether an average counts the padding.
        in_zero: Stands for 0 in the input, and so for the padding.

    Returns:
        uint8 [N, C, I, J], channels_last, of the input's scale and zero.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Another dtype.
    """
    if exporting():
        return reference.pool(x, geometry, maximum, counts_padding, in_zero)
    return contract.pool(x, *geometry, maximum, counts_padding, in_zero)
