"""The registry in the real package's layout: models by dataset, threat model and name."""

from collections import OrderedDict
from enum import Enum

import torch
from torch import nn


class BenchmarkDataset(Enum):
    """Datasets, by their folder in the cache."""

    cifar_10 = "cifar10"
    imagenet = "imagenet"


class ThreatModel(Enum):
    """Threat models, by their folder in the cache."""

    Linf = "Linf"
    L2 = "L2"


class Tiny(nn.Module):
    """A network whose statistics are buffers."""

    def __init__(self, classes=10):
        super().__init__()
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("sigma", torch.full((1, 3, 1, 1), 0.25))
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.linear = nn.Linear(4 * 64, classes)

    def forward(self, x):
        """Logits."""
        x = self.conv((x - self.mu) / self.sigma).relu()
        return self.linear(x.flatten(1))


class Pair(nn.Module):
    """An ensemble."""

    def __init__(self):
        super().__init__()
        self.models = nn.ModuleList([Tiny(), Tiny()])

    def forward(self, x):
        """Mean logits."""
        return sum(model(x) for model in self.models) / 2


class Normalize(nn.Module):
    """A layer of statistics."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))

    def forward(self, x):
        """Centred images."""
        return x - self.mean


def normalized():
    """A network behind a normalisation, as timm's models are there."""
    return nn.Sequential(OrderedDict(normalize=Normalize(), model=Tiny(classes=1000)))


model_dicts = OrderedDict(
    [
        (
            BenchmarkDataset.cifar_10,
            OrderedDict(
                [
                    (
                        ThreatModel.Linf,
                        OrderedDict(
                            [
                                ("Nobody2020Tiny", {"model": Tiny, "gdrive_id": "made-up"}),
                                ("Nobody2021Pair", {"model": Pair, "gdrive_id": ["made-up", "too"]}),
                                ("Nobody2022Mixed", {"model": Tiny, "gdrive_id": ["made-up", "too"]}),
                            ]
                        ),
                    ),
                    (
                        ThreatModel.L2,
                        OrderedDict([("Nobody2020Tiny", {"model": lambda: Tiny(), "gdrive_id": "made-up"})]),
                    ),
                ]
            ),
        ),
        (
            BenchmarkDataset.imagenet,
            OrderedDict(
                [(ThreatModel.Linf, OrderedDict([("Nobody2023", {"model": normalized, "gdrive_id": "made-up"})]))]
            ),
        ),
    ]
)
