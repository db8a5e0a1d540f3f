"""`cotnet models [PATTERN]`: the family as a table."""

import fnmatch

from cotnet.cli.parser import Parser

DESCRIPTION = """List the networks: parameters, input size in pixels, and ImageNet accuracy.

The accuracies are the authors' (350-epoch set-up, percent); this project has not repeated them. Any other network of
timm can be trained, too; it is not listed here."""


def run(arguments: list[str]) -> None:
    """Print the table.

    Raises:
        ValueError: No name fits the pattern.
    """
    parser = Parser("models", DESCRIPTION)
    parser.add_argument("pattern", nargs="?", default="*", help="a name, with * and ? as wild cards")
    pattern = parser.parse_args(arguments).pattern

    import timm
    import torch

    from cotnet.models import BODIES, PUBLISHED_ACCURACY

    names = fnmatch.filter(BODIES, pattern) or fnmatch.filter(BODIES, f"*{pattern}*")
    if not names:
        raise ValueError(f"no model fits {pattern!r}; there are {', '.join(BODIES)}")
    rows = [("name", "parameters", "input", "top-1", "top-5", "origin")]
    for name in names:
        with torch.device("meta"):
            parameters = sum(p.numel() for p in timm.create_model(name).parameters())
        cfg = timm.get_pretrained_cfg(name)
        assert cfg is not None
        top1, top5 = (f"{score:.1f}" for score in PUBLISHED_ACCURACY[name]) if name in PUBLISHED_ACCURACY else "--"
        origin = "this project's own" if cfg.description else "the authors'"
        rows.append((name, f"{parameters:,}", str(cfg.input_size[-1]), top1, top5, origin))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(w) if i in (0, 5) else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print("\ntop-1, top-5: the authors' ImageNet accuracy in percent, 350-epoch set-up")
