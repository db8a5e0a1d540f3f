"""Triton kernels of local aggregation; importing this file imports Triton.

Legend: N batch, C channels, G heads, T taps = k * k, H x W input size, I x J output size, B groups, S = C / G channels
that share a head.

A program computes a tile with three axes: positions of a map, numbered through [N, H, W] or [N, I, J]; heads; and the
channels that share a head. The axis whose elements lie side by side in memory comes last, so that neighbouring threads
read neighbouring addresses; the channels that share a head come first unless they are that axis, so that a thread holds
them in its registers and reads each weight once for all of them.

The kernels have one signature: the map on the input side, the map on the output side, the weight, each the argument or
its gradient; ``sizes`` are (positions, positions of one image, G, S, G / B, H, W, I, J), ``spacing`` is (stride,
dilation). ``aggregate`` writes the second, ``grad_value`` the first (gathering, so that nothing is written
twice) and ``grad_weight`` the third (with the sum over the channels of a head inside the program).
"""

from typing import Any

import triton
import triton.language as tl

# Positions and heads of a tile; with 8 channels that share a head these are 512 to 4096 elements.
TILES = (
    *((64, 4), (32, 4), (64, 1), (128, 1), (256, 1), (512, 1), (32, 8)),
    *((16, 8), (8, 16), (16, 16), (4, 32), (8, 32), (16, 32), (4, 64)),
    *((1, 8), (4, 4), (16, 1), (32, 1), (16, 4)),
)


def _fitting(configs: list[Any], arguments: dict[str, Any], **constants: Any) -> list[Any]:
    """The tiles that neither reach far beyond the sizes nor fall short of a row of neighbouring addresses."""
    positions, _, heads = arguments["sizes"][:3]
    sharing = constants["BLOCK_SHARING"]
    innermost = {constants["POSITION_AXIS"]: "BLOCK_POSITIONS", constants["HEAD_AXIS"]: "BLOCK_HEADS"}.get(2)
    row = {"BLOCK_POSITIONS": min(32, positions), "BLOCK_HEADS": min(16, heads)}

    def fits(config: Any) -> bool:
        tile = config.kwargs
        return (
            tile["BLOCK_POSITIONS"] < 2 * positions
            and tile["BLOCK_HEADS"] < 2 * heads
            and 512 <= tile["BLOCK_POSITIONS"] * tile["BLOCK_HEADS"] * sharing <= 4096
            and (innermost is None or tile[innermost] >= row[innermost])
        )

    return [config for config in configs if fits(config)] or configs[:1]


def _tuned(kernel: Any) -> Any:
    """The kernel with the tile that is the fastest on this GPU, chosen by measurement at the first call of each kind.

    Kinds differ in what the compiled code depends on, and in the magnitude of the sizes; not in the sizes themselves.
    Triton's interpreter has nothing to tune.
    """
    tiles = TILES if isinstance(kernel, triton.JITFunction) else TILES[:1]
    configs = [triton.Config({"BLOCK_POSITIONS": p, "BLOCK_HEADS": m}, num_warps=4) for p, m in tiles]
    key = ["heads_bucket", "positions_bucket", "KERNEL_SIZE", "POSITION_AXIS", "HEAD_AXIS", "BLOCK_SHARING", "INDEX"]
    return triton.autotune(configs, key, prune_configs_by={"early_config_prune": _fitting})(kernel)


@triton.jit
def _along(vector, AXIS: tl.constexpr):
    """A vector as a tile of three axes that is long along one of them."""
    if AXIS == 0:
        tile = vector[:, None, None]
    elif AXIS == 1:
        tile = vector[None, :, None]
    else:
        tile = vector[None, None, :]
    return tile


@triton.jit
def _place(
    positions,
    heads,
    INDEX: tl.constexpr,
    POSITION_AXIS: tl.constexpr,
    HEAD_AXIS: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """Positions and heads of this program's tile, and the number of its block along the channels that share a head."""
    program = tl.program_id(0)
    position_blocks = tl.cdiv(positions, BLOCK_POSITIONS)
    position_block = tl.cast(program % position_blocks, INDEX)
    rest = program // position_blocks
    head_blocks = tl.cdiv(heads, BLOCK_HEADS)
    head_block = tl.cast(rest % head_blocks, INDEX)
    position = _along(position_block * BLOCK_POSITIONS + tl.arange(0, BLOCK_POSITIONS), POSITION_AXIS)
    head = _along(head_block * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS), HEAD_AXIS)
    return position, head, tl.cast(rest // head_blocks, INDEX)


@_tuned
@triton.jit
def aggregate(
    value,
    out,
    weight,
    sizes,
    spacing,
    value_strides,
    out_strides,
    weight_strides,
    heads_bucket,
    positions_bucket,
    KERNEL_SIZE: tl.constexpr,
    INDEX: tl.constexpr,
    SUM: tl.constexpr,
    POSITION_AXIS: tl.constexpr,
    HEAD_AXIS: tl.constexpr,
    SHARING_AXIS: tl.constexpr,
    BLOCK_SHARING: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """[N, C, H, W] and [N, G, T, I, J] to [N, C, I, J], a tile of the output a program."""
    positions, area, heads, sharing, heads_of_group, height, width, out_h, out_w = sizes
    stride, dilation = spacing
    value_n, value_c, value_h, value_w = value_strides
    out_sn, out_sc, out_sh, out_sw = out_strides
    weight_n, weight_g, weight_t, weight_h, weight_w = weight_strides
    position, head, sharing_block = _place(
        positions, heads, INDEX, POSITION_AXIS, HEAD_AXIS, BLOCK_POSITIONS, BLOCK_HEADS
    )
    share = _along(sharing_block * BLOCK_SHARING + tl.arange(0, BLOCK_SHARING), SHARING_AXIS)
    n, i, j = position // area, position % area // out_w, position % out_w
    channel = (head // heads_of_group * sharing + share) * heads_of_group + head % heads_of_group
    in_heads = (position < positions) & (head < heads)
    in_tile = in_heads & (share < sharing)

    value_at = n * value_n + channel * value_c
    weight_at = n * weight_n + head * weight_g + i * weight_h + j * weight_w
    gap = tl.cast(dilation, INDEX)
    total = tl.zeros_like(value_at).to(SUM)
    for u in range(KERNEL_SIZE):
        y = i * stride + (u - KERNEL_SIZE // 2) * gap
        for v in tl.range(KERNEL_SIZE, loop_unroll_factor=UNROLL):
            x = j * stride + (v - KERNEL_SIZE // 2) * gap
            in_image = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            factor = tl.load(weight + weight_at + (u * KERNEL_SIZE + v) * weight_t, mask=in_heads, other=0.0)
            cell = tl.load(value + value_at + y * value_h + x * value_w, mask=in_tile & in_image, other=0.0)
            total += factor.to(SUM) * cell.to(SUM)
    out_at = n * out_sn + channel * out_sc + i * out_sh + j * out_sw
    tl.store(out + out_at, total.to(out.dtype.element_ty), mask=in_tile)


@_tuned
@triton.jit
def grad_value(
    value,
    out,
    weight,
    sizes,
    spacing,
    value_strides,
    out_strides,
    weight_strides,
    heads_bucket,
    positions_bucket,
    KERNEL_SIZE: tl.constexpr,
    INDEX: tl.constexpr,
    SUM: tl.constexpr,
    POSITION_AXIS: tl.constexpr,
    HEAD_AXIS: tl.constexpr,
    SHARING_AXIS: tl.constexpr,
    BLOCK_SHARING: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """[N, C, I, J] and [N, G, T, I, J] to [N, C, H, W], a tile of the gradient of the value a program."""
    positions, area, heads, sharing, heads_of_group, height, width, out_h, out_w = sizes
    stride, dilation = spacing
    value_n, value_c, value_h, value_w = value_strides
    out_sn, out_sc, out_sh, out_sw = out_strides
    weight_n, weight_g, weight_t, weight_h, weight_w = weight_strides
    position, head, sharing_block = _place(
        positions, heads, INDEX, POSITION_AXIS, HEAD_AXIS, BLOCK_POSITIONS, BLOCK_HEADS
    )
    share = _along(sharing_block * BLOCK_SHARING + tl.arange(0, BLOCK_SHARING), SHARING_AXIS)
    n, y, x = position // area, position % area // width, position % width
    channel = (head // heads_of_group * sharing + share) * heads_of_group + head % heads_of_group
    in_heads = (position < positions) & (head < heads)
    in_tile = in_heads & (share < sharing)

    out_at = n * out_sn + channel * out_sc
    weight_at = n * weight_n + head * weight_g
    gap = tl.cast(dilation, INDEX)
    total = tl.zeros_like(out_at).to(SUM)
    for u in range(KERNEL_SIZE):
        # The output rows i whose tap in row u reads y: i * stride + (u - k // 2) * dilation = y.
        top = y - (u - KERNEL_SIZE // 2) * gap
        i = top // stride
        for v in tl.range(KERNEL_SIZE, loop_unroll_factor=UNROLL):
            left = x - (v - KERNEL_SIZE // 2) * gap
            j = left // stride
            read = (top >= 0) & (i < out_h) & (i * stride == top) & (left >= 0) & (j < out_w) & (j * stride == left)
            at = weight_at + (u * KERNEL_SIZE + v) * weight_t + i * weight_h + j * weight_w
            factor = tl.load(weight + at, mask=in_heads & read, other=0.0)
            grad = tl.load(out + out_at + i * out_sh + j * out_sw, mask=in_tile & read, other=0.0)
            total += factor.to(SUM) * grad.to(SUM)
    value_at = n * value_n + channel * value_c + y * value_h + x * value_w
    tl.store(value + value_at, total.to(value.dtype.element_ty), mask=in_tile)


@_tuned
@triton.jit
def grad_weight(
    value,
    out,
    weight,
    sizes,
    spacing,
    value_strides,
    out_strides,
    weight_strides,
    heads_bucket,
    positions_bucket,
    KERNEL_SIZE: tl.constexpr,
    INDEX: tl.constexpr,
    SUM: tl.constexpr,
    POSITION_AXIS: tl.constexpr,
    HEAD_AXIS: tl.constexpr,
    SHARING_AXIS: tl.constexpr,
    BLOCK_SHARING: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """[N, C, I, J] and [N, C, H, W] to [N, G, T, I, J], every tap of a tile of heads and positions a program."""
    positions, area, heads, sharing, heads_of_group, height, width, out_h, out_w = sizes
    stride, dilation = spacing
    value_n, value_c, value_h, value_w = value_strides
    out_sn, out_sc, out_sh, out_sw = out_strides
    weight_n, weight_g, weight_t, weight_h, weight_w = weight_strides
    position, head, _ = _place(positions, heads, INDEX, POSITION_AXIS, HEAD_AXIS, BLOCK_POSITIONS, BLOCK_HEADS)
    n, i, j = position // area, position % area // out_w, position % out_w
    first = head // heads_of_group * sharing * heads_of_group + head % heads_of_group
    in_heads = (position < positions) & (head < heads)

    value_at = n * value_n + first * value_c
    out_at = n * out_sn + first * out_sc + i * out_sh + j * out_sw
    weight_at = n * weight_n + head * weight_g + i * weight_h + j * weight_w
    gap = tl.cast(dilation, INDEX)
    for u in range(KERNEL_SIZE):
        y = i * stride + (u - KERNEL_SIZE // 2) * gap
        for v in tl.range(KERNEL_SIZE, loop_unroll_factor=UNROLL):
            x = j * stride + (v - KERNEL_SIZE // 2) * gap
            in_image = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            cell_at = value_at + y * value_h + x * value_w
            total = tl.zeros_like(weight_at).to(SUM)
            for start in range(0, sharing, BLOCK_SHARING):
                share = _along(tl.cast(start, INDEX) + tl.arange(0, BLOCK_SHARING), SHARING_AXIS)
                in_tile = in_heads & (share < sharing)
                grad = tl.load(out + out_at + share * heads_of_group * out_sc, mask=in_tile, other=0.0)
                cell = tl.load(value + cell_at + share * heads_of_group * value_c, mask=in_tile & in_image, other=0.0)
                total += tl.sum(grad.to(SUM) * cell.to(SUM), SHARING_AXIS, keep_dims=True)
            at = weight_at + (u * KERNEL_SIZE + v) * weight_t
            tl.store(weight + at, total.to(weight.dtype.element_ty), mask=in_heads)
