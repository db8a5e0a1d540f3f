"""What ``fuse`` did to a network."""

from dataclasses import dataclass, field


@dataclass
class FuseReport:
    """What was fused and what was left, by the names of the modules; ``print`` shows it as a table.

    Attributes:
        layers: The CoT and CoXt layers that became one operator.
        norms: The BatchNorms that were folded into what is before them.
        left: Each other CoT layer and BatchNorm, with the reason. The norms inside such a layer are not listed.
    """

    layers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The counts, and one line for each module that was left."""
        counts = f"{len(self.layers)} layers became one operator each, {len(self.norms)} BatchNorms were folded"
        left = [f"{len(self.left)} were left"] if self.left else []
        return "\n".join([counts, *left, *(f"  {name or 'the layer'}: {reason}" for name, reason in self.left.items())])
