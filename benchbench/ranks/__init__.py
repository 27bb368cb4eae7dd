"""Several processes at one model: its training shared batch by batch, its evaluation shard by shard.

`launch` joins the processes that torchrun started, `group` is what they say to each other. Nothing is imported until it is
asked for: importing benchbench does not import torch.
"""

from __future__ import annotations
