"""Several processes that work on one model: shared training steps, divided evaluation.

`launch` joins the processes that torchrun started; `group` is how they communicate. This package imports neither by itself,
because importing benchbench must not import torch.
"""

from __future__ import annotations
