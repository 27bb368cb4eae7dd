"""Modes of models for a block."""

from __future__ import annotations

import torch
from torch import nn

from benchbench.kernels.modes import in_mode


def test_program_of_torch_export_keeps_its_mode_while_the_layers_around_it_change() -> None:
    """It raises where its mode is set, which made `evaluate` refuse it as a model that cannot take its images."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    program = torch.export.export(
        network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("examples")},)
    )
    model = nn.Sequential(program.module(), nn.Dropout())
    images = torch.rand(3, 1, 8, 8)
    with in_mode(model, training=False):
        assert not model[1].training
        assert torch.equal(model(images), network(images))
    assert model[1].training
