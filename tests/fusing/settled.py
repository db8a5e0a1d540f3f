"""Networks as after training, their answers, and how far those are apart."""

import torch
from torch import nn


def settle(model, size=64):
    """Give the norms statistics and scales as after training; the network is then in eval mode."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.affine:
                nn.init.uniform_(module.weight, 0.3, 0.6)
                nn.init.normal_(module.bias, 0, 0.1)
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, size, size))
    return model.eval()


def answers(model, x):
    with torch.no_grad():
        return model(x)


def error(actual, expected):
    return float((actual - expected).abs().max() / expected.abs().max())
