"""Checkpoints take tensors in any layout."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from benchbench.training.checkpoint import Position, pack, write_checkpoint


def test_a_transposed_parameter_is_stored(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    model.weight.data = torch.arange(6.0).view(3, 2).T
    tensors = pack(model, torch.optim.SGD(model.parameters()))
    write_checkpoint(tmp_path / "one.safetensors", "id", tensors, Position())
    stored = load_file(tmp_path / "one.safetensors")
    assert torch.equal(next(one for one in stored.values() if one.shape == (2, 3)), model.weight)
