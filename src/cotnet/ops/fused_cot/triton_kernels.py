"""Triton kernels of the fused CoT layer; importing this file imports Triton.

Legend: N batch, C channels, G heads, T taps = k * k, B groups, H x W size, F channels between the two convolutions of
the fusion, P parts that an image's H * W pixels are divided into.

All maps are channels_last and dense, so neighbouring threads read neighbouring channels. The attention's channels lie
as [B][T][G / B], those of other maps as [B][C / G][G / B]: a channel and its head have the same last index.

| kernel | reads | writes |
|---|---|---|
| ``moments`` | attention | mean and sum of squares of each head over a part, [N, P, G] |
| ``contexts`` | attention, value, static context | dynamic context; sum of both over a part, [N, P, C] |
| ``rows_times``, twice | those sums | the share of the dynamic context, [N, C] |
| ``mix`` | dynamic and static context | the output, in place of the dynamic context |

No kernel adds up what others write at the same time: results do not differ from run to run.
"""

from typing import Any

import triton
import triton.language as tl

# Pixels and heads of a tile; with the channels that share a head these are 512 to 4096 elements.
TILES = ((64, 8), (32, 8), (16, 8), (32, 16), (16, 16), (8, 16), (16, 32), (8, 32), (4, 32), (64, 4), (32, 2), (128, 1))


def _fitting(configs: list[Any], arguments: dict[str, Any], **constants: Any) -> list[Any]:
    """The tiles that do not reach far beyond the sizes."""
    pixels, heads, parts = arguments["pixels"], arguments["heads"], arguments["parts"]

    def fits(config: Any) -> bool:
        tile = config.kwargs
        elements = tile["BLOCK_PIXELS"] * tile["BLOCK_HEADS"] * constants["BLOCK_SHARING"]
        return tile["BLOCK_PIXELS"] * parts < 2 * pixels and tile["BLOCK_HEADS"] < 2 * heads and 256 <= elements <= 4096

    return [config for config in configs if fits(config)] or configs[-1:]


def _tuned(kernel: Any) -> Any:
    """The kernel with the tile that is the fastest on this GPU; see the kernels of local aggregation."""
    tiles = TILES if isinstance(kernel, triton.JITFunction) else TILES[:1]
    configs = [triton.Config({"BLOCK_PIXELS": p, "BLOCK_HEADS": m}, num_warps=4) for p, m in tiles]
    key = ["heads", "parts", "KERNEL_SIZE", "BLOCK_SHARING", "INDEX"]
    return triton.autotune(configs, key, prune_configs_by={"early_config_prune": _fitting})(kernel)


@triton.jit
def _first_pixel(part, parts, pixels, INDEX: tl.constexpr):
    """Where a part of an image begins, and the one before it ends."""
    return tl.cast(part, INDEX) * pixels // parts


@_tuned
@triton.jit
def moments(
    attention,
    mean,
    square,
    pixels,
    heads,
    heads_of_group,
    parts,
    KERNEL_SIZE: tl.constexpr,
    INDEX: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_SHARING: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """[N, H * W, B, T, G / B] to mean and sum of squares around it over a part and all taps, [N, P, G] each."""
    taps: tl.constexpr = KERNEL_SIZE * KERNEL_SIZE
    n, part = tl.cast(tl.program_id(0) // parts, INDEX), tl.program_id(0) % parts
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    first, end = _first_pixel(part, parts, pixels, INDEX), _first_pixel(part + 1, parts, pixels, INDEX)
    channel = (head // heads_of_group * taps * heads_of_group + head % heads_of_group)[None, :]

    # Each lane keeps its own moments by Welford's update; they are combined at the end.
    average = tl.zeros([BLOCK_PIXELS, BLOCK_HEADS], SUM)
    spread = tl.zeros([BLOCK_PIXELS, BLOCK_HEADS], SUM)
    seen = tl.zeros([BLOCK_PIXELS, 1], SUM)
    for start in range(first, end, BLOCK_PIXELS):
        pixel = start + tl.arange(0, BLOCK_PIXELS)[:, None]
        inside = pixel < end
        at = (n * pixels + pixel) * (heads * taps) + channel
        for tap in range(taps):
            x = tl.load(attention + at + tap * heads_of_group, mask=inside & (head < heads)[None, :], other=0.0).to(SUM)
            seen += inside.to(SUM)
            step = tl.where(inside, x - average, 0.0)
            average += step / tl.maximum(seen, 1.0)
            spread += step * (x - average)
    middle = tl.sum(average * seen, 0) / tl.sum(seen)
    apart = average - middle[None, :]
    to = (n * parts + part) * heads + head
    tl.store(mean + to, middle, mask=head < heads)
    tl.store(square + to, tl.sum(spread + seen * apart * apart, 0), mask=head < heads)


@_tuned
@triton.jit
def contexts(
    attention,
    value,
    static_context,
    out,
    sums,
    mean,
    square,
    norm_weight,
    norm_bias,
    dynamic_bias,
    height,
    width,
    dilation,
    pixels,
    heads,
    sharing,
    heads_of_group,
    parts,
    KERNEL_SIZE: tl.constexpr,
    EPS: tl.constexpr,
    INDEX: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    BLOCK_SHARING: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """The dynamic context [N, C, H, W], and the sums of both contexts over a part, [N, P, C]."""
    taps: tl.constexpr = KERNEL_SIZE * KERNEL_SIZE
    n, part = tl.cast(tl.program_id(0) // parts, INDEX), tl.program_id(0) % parts
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    in_heads = head < heads
    share = tl.program_id(2) * BLOCK_SHARING + tl.arange(0, BLOCK_SHARING)[:, None, None]
    first, end = _first_pixel(part, parts, pixels, INDEX), _first_pixel(part + 1, parts, pixels, INDEX)
    channels = heads * sharing

    # GroupNorm's statistics from those of the parts.
    others = tl.arange(0, BLOCK_PARTS)
    begins, ends = _first_pixel(others, parts, pixels, INDEX), _first_pixel(others + 1, parts, pixels, INDEX)
    counts = tl.where(others < parts, (ends - begins) * taps, 0).to(SUM)[:, None]
    at_parts = (n * parts + others)[:, None] * heads + head[None, :]
    read = (others < parts)[:, None] & in_heads[None, :]
    means = tl.load(mean + at_parts, mask=read, other=0.0)
    squares = tl.load(square + at_parts, mask=read, other=0.0)
    everything = (pixels * taps).to(SUM)
    middle = tl.sum(means * counts, 0) / everything
    apart = means - middle[None, :]
    factor = 1.0 / tl.sqrt(tl.sum(squares + counts * apart * apart, 0) / everything + EPS)

    weight_channel = head // heads_of_group * taps * heads_of_group + head % heads_of_group
    channel = (head // heads_of_group * sharing)[None, None, :] + share
    channel = channel * heads_of_group + (head % heads_of_group)[None, None, :]
    in_channels = in_heads[None, None, :] & (share < sharing)
    bias = tl.load(dynamic_bias + channel, mask=in_channels, other=0.0).to(SUM)
    pooled = tl.zeros([BLOCK_SHARING, BLOCK_PIXELS, BLOCK_HEADS], SUM)
    for start in range(first, end, BLOCK_PIXELS):
        pixel = start + tl.arange(0, BLOCK_PIXELS)
        i, j = pixel // width, pixel % width
        weight_at = ((n * pixels + pixel) * (heads * taps))[:, None] + weight_channel[None, :]
        in_weights = (pixel < end)[:, None] & in_heads[None, :]
        in_tile = (pixel < end)[None, :, None] & in_channels
        dynamic = tl.zeros([BLOCK_SHARING, BLOCK_PIXELS, BLOCK_HEADS], SUM) + bias
        for u in range(KERNEL_SIZE):
            y = i + (u - KERNEL_SIZE // 2) * dilation
            for v in range(KERNEL_SIZE):
                x = j + (v - KERNEL_SIZE // 2) * dilation
                tap = (u * KERNEL_SIZE + v) * heads_of_group
                scale = tl.load(norm_weight + weight_channel + tap, mask=in_heads, other=0.0).to(SUM) * factor
                shift = tl.load(norm_bias + weight_channel + tap, mask=in_heads, other=0.0).to(SUM) - middle * scale
                weight = tl.load(attention + weight_at + tap, mask=in_weights, other=0.0).to(SUM)
                weight = weight * scale[None, :] + shift[None, :]
                in_image = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                cell_at = ((n * height + y) * width + x)[None, :, None] * channels + channel
                cell = tl.load(value + cell_at, mask=in_tile & in_image[None, :, None], other=0.0).to(SUM)
                dynamic += weight[None, :, :] * cell
        dynamic *= tl.sigmoid(dynamic)
        at = (n * pixels + pixel)[None, :, None] * channels + channel
        static = tl.load(static_context + at, mask=in_tile, other=0.0).to(SUM)
        pooled += tl.where(in_tile, dynamic + static, 0.0)
        tl.store(out + at, dynamic.to(out.dtype.element_ty), mask=in_tile)
    to = (n * parts + part) * channels + channel
    tl.store(sums + to, tl.sum(pooled, 1, keep_dims=True), mask=in_channels)


@triton.jit
def rows_times(
    matrix,
    bias,
    vectors,
    out,
    rows,
    columns,
    parts,
    divisor,
    SIGMOID: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Sums of vectors [N, P, columns] over P, divided; a matrix times them, and ReLU or sigmoid: [N, rows]."""
    n = tl.program_id(0)
    row = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    part = tl.arange(0, BLOCK_PARTS)[:, None]
    total = tl.zeros([BLOCK_ROWS], SUM)
    for start in range(0, columns, BLOCK_COLUMNS):
        column = start + tl.arange(0, BLOCK_COLUMNS)[None, :]
        read = (part < parts) & (column < columns)
        x = tl.sum(tl.load(vectors + (n * parts + part) * columns + column, mask=read, other=0.0), 0, keep_dims=True)
        read = (row < rows)[:, None] & (column < columns)
        weight = tl.load(matrix + row[:, None] * columns + column, mask=read, other=0.0).to(SUM)
        total += tl.sum(weight * x, 1)
    total = total / divisor + tl.load(bias + row, mask=row < rows, other=0.0).to(SUM)
    total = tl.sigmoid(total) if SIGMOID else tl.maximum(total, 0.0)
    tl.store(out + n * rows + row, total, mask=row < rows)


@triton.jit
def mix(
    out,
    static_context,
    share,
    out_scale,
    out_bias,
    positions,
    pixels,
    channels,
    NORM: tl.constexpr,
    INDEX: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """The mixture of dynamic context, in place, and static context, and the norm behind the layer if there is one."""
    position = tl.cast(tl.program_id(0), INDEX) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)[:, None]
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)[None, :]
    in_tile = (position < positions) & (channel < channels)
    at = position * channels + channel
    static = tl.load(static_context + at, mask=in_tile, other=0.0).to(SUM)
    dynamic = tl.load(out + at, mask=in_tile, other=0.0).to(SUM)
    mixed = static + tl.load(share + position // pixels * channels + channel, mask=in_tile, other=0.0) * (
        dynamic - static
    )
    if NORM:
        mixed *= tl.load(out_scale + channel, mask=channel < channels, other=0.0).to(SUM)
        mixed += tl.load(out_bias + channel, mask=channel < channels, other=0.0).to(SUM)
    tl.store(out + at, mixed.to(out.dtype.element_ty), mask=in_tile)
