"""Published facts, and names."""

import pytest
import torch

from cotnet.bench import candidates
from cotnet.bench.peers import PUBLISHED, find_models, measurable_peers, published_size
from cotnet.models import BODIES, PUBLISHED_ACCURACY


def test_the_published_facts():
    names = {peer.name for peer in PUBLISHED}
    assert set(PUBLISHED_ACCURACY) <= names
    for peer in PUBLISHED:
        assert 70 < peer.top1 < 90
        if peer.setup == "advanced" and peer.name in PUBLISHED_ACCURACY:
            assert peer.top1 == PUBLISHED_ACCURACY[peer.name][0]
    with torch.device("meta"):
        for name in ("seresnet50d", "botnet26t_256"):
            candidates.timm.create_model(candidates.PEERS[name].timm, **candidates.PEERS[name].kwargs)
    assert set(find_models(measurable_peers())) == set(measurable_peers())


def test_names_of_models():
    assert find_models(["cotnet50", "cotnet1*"])[:2] == ["cotnet50", "cotnet101"]
    assert find_models(["cotnet50", "cotnet50"]) == ["cotnet50"]
    with pytest.raises(ValueError, match="unknown model 'resnt50'; did you mean resnet50"):
        find_models(["resnt50"])
    assert {name: published_size(name) for name in ("cotnet50", "se_cotnetd_152_L", "resnet50", "test_vit")} == {
        "cotnet50": 224, "se_cotnetd_152_L": 320, "resnet50": 224, "test_vit": 160,
    }  # fmt: skip
    assert set(BODIES) <= set(find_models(["*cotne*"]))
