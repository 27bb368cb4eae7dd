"""The margin of an example: how far it is on the wrong side of the decision boundary."""

from __future__ import annotations

from collections.abc import Iterator

from benchbench.builtin.deferred import Tensor, nn, torch, without_gradient
from benchbench.contract import full_precision

QUEUE_LENGTH = 1024  # examples per call, packed into full batches whenever some of them are fooled


def batch_width(images: Tensor) -> int:
    """Examples per pass: over about 64 leave a CPU's cache, under about 512 leave a GPU idle."""
    return 64 if images.device.type == "cpu" else 512


def batches(rows: Tensor, width: int) -> Iterator[Tensor]:
    """Split positions into batches; none for none."""
    if len(rows):
        yield from torch.split(rows, width)


@without_gradient
def clean_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of the images in float32, batch by batch."""
    with full_precision(images.device):
        return torch.cat([model(part) for part in torch.split(images, batch_width(images))])


def broadcast(values: Tensor, images: Tensor) -> Tensor:
    """View one value per example (N,) so that it multiplies images (N, ...)."""
    return values.view(-1, *[1] * (images.dim() - 1))


# After a rounded search, an example whose margin is within this share of its largest logit is searched once more in float32:
# bfloat16 keeps eight bits of a logit, and the verdicts that rounding changed were of examples much closer.
CLOSE = 0.02
# A margin counts as fooled only beyond what another batch size or memory layout could round away, relative to the logits.
ROUNDING = 1e-5


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest wrong logit minus the right one, float (N,); above 0 exactly where fooled."""
    return wrong_logits(logits, labels).amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]


def wrong_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits with -inf in the place of the right class, float (N, classes)."""
    return logits.scatter(1, labels[:, None], -torch.inf)


def likely_targets(logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong classes of each example by falling logit, int64 (N, classes - 1)."""
    return wrong_logits(logits, labels).argsort(dim=1, descending=True, stable=True)[:, :-1]


def all_but_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether only rounding may have kept a candidate from fooling the model, bool (N,).

    The logits (N, classes) are of about the size of the candidates' own, for instance the clean ones.
    """
    return margins > -CLOSE * logits.abs().amax(dim=1)


def surely_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether logits (N, classes) of margins (N,) fool the model beyond rounding, bool (N,)."""
    return margins > ROUNDING * logits.abs().amax(dim=1)


def keep_better(kept: Tensor, rows: Tensor, better: Tensor, offered: Tensor) -> None:
    """Overwrite rows, int64 (M,), of `kept` (N, ...) by the better offered ones (M, ...).

    The rows are all different. It never waits for the device.
    """
    before = kept.index_select(0, rows)
    kept.index_copy_(0, rows, torch.where(broadcast(better, before), offered, before))
