"""Networks whose answers show every mistake."""

import torch

from cotnet.bench import candidates, measure


def test_the_weights_hide_nothing():
    """With a last norm of zero, as networks start, a branch would not show in the answer."""
    network = candidates.create_network("cotnet_nano")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
        network.layer3[2].mixer.value.conv.weight *= 1.01
        assert (network(x) - before).abs().max() / before.abs().max() > measure.TOLERANCE
