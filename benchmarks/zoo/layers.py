"""Wrappers and layers, of a few lines each, that hide a model's weakness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, one_hot, pad


class Before(nn.Module):
    """A function of the images, then a model."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(self.change(images))  # type: ignore[no-any-return]


class After(nn.Module):
    """A model, then a function of its logits."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(self.inner(images))


class _WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)


class _NoisyGradient(torch.autograd.Function):
    """Identity with a large fixed pattern added to its gradient."""

    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        pattern = torch.sin(7919.0 * torch.arange(gradient[0].numel(), dtype=gradient.dtype)).view(gradient[0].shape)
        return gradient + 1e3 * pattern


def without_gradient(images: Tensor) -> Tensor:
    """The images, with a gradient of zero."""
    return _WithoutGradient.apply(images)  # type: ignore[no-any-return, no-untyped-call]


def noisy_gradient(images: Tensor) -> Tensor:
    """The images, with a useless gradient."""
    return _NoisyGradient.apply(images)  # type: ignore[no-any-return, no-untyped-call]


def quantise(levels: int) -> Callable[[Tensor], Tensor]:
    """Round to a number of steps."""
    return lambda images: (images * levels).round() / levels


def wave(amplitude: float, frequency: float) -> Callable[[Tensor], Tensor]:
    """Add a sine of high frequency: the value changes little, the slope much."""
    return lambda images: images + amplitude * torch.sin(frequency * images)


def staircase(levels: int, slope: float) -> Callable[[Tensor], Tensor]:
    """Steps with a small slope in the wrong direction between them."""

    def change(images: Tensor) -> Tensor:
        steps: Tensor = (images * levels).round() / levels
        return steps - slope * (images - steps)

    return change


def blur(images: Tensor) -> Tensor:
    """A median over three by three pixels."""
    windows = nn.functional.unfold(pad(images, (1, 1, 1, 1), mode="replicate"), 3)
    return windows.median(dim=1).values.view_as(images)


def cosine_basis(size: int) -> Tensor:
    """The orthonormal DCT-II, float32 (size, size)."""
    k, n = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    basis = torch.cos(torch.pi * (2 * n + 1) * k / (2 * size)) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


def jpeg(step: float) -> Callable[[Tensor], Tensor]:
    """Round the coefficients of a discrete cosine transform of 8x8 images."""
    basis = cosine_basis(8)

    def change(images: Tensor) -> Tensor:
        coefficients = basis @ images @ basis.T
        return basis.T @ ((coefficients / step).round() * step) @ basis

    return change


def thermometer(levels: int) -> Callable[[Tensor], Tensor]:
    """Channels that show whether a pixel is above each level (Buckman et al., 2018)."""
    above = (torch.arange(levels) + 0.5) / levels
    return lambda images: (images > above.view(1, -1, 1, 1)).float() + 0.0 * images


def purify(steps: int, rate: float) -> Callable[[Tensor], Tensor]:
    """Pull pixels stepwise to the nearest of three grey levels; each step shrinks the gradient."""

    def change(images: Tensor) -> Tensor:
        for _ in range(steps):
            images = images - rate / (4 * torch.pi) * torch.sin(4 * torch.pi * images)
        return images

    return change


def smooth(images: Tensor) -> Tensor:
    """A mean over three by three pixels."""
    return conv2d(pad(images, (1, 1, 1, 1), mode="replicate"), torch.full((1, 1, 3, 3), 1 / 9))


def band(images: Tensor) -> Tensor:
    """Clip pixels to [0.12, 0.88] and stretch: almost black or white ones pass no gradient."""
    return (images.clamp(0.12, 0.88) - 0.12) / 0.76


def resized(images: Tensor) -> Tensor:
    """Enlarge and shift at random (Xie et al., 2018), with torch's global generator as they do."""
    scale = int(torch.randint(8, 11, ()))
    larger = interpolate(images, size=(scale, scale), mode="bilinear", align_corners=False)
    left, top = (int(torch.randint(0, scale - 7, ())) for _ in range(2))
    return larger[:, :, top : top + 8, left : left + 8]


def votes(*members: nn.Module) -> nn.Module:
    """Each member has one vote for its favourite class, which has no gradient."""
    return _Votes(members)


class _Votes(nn.Module):
    def __init__(self, members: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        answers = [member(images) for member in self.members]
        ballots = sum(one_hot(answer.argmax(1), answer.shape[1]).float() for answer in answers)
        return ballots + 0.0 * answers[0]  # type: ignore[no-any-return, operator]


class WinnersTakeAll(nn.Module):
    """Only the largest activations pass (Xiao, Zhong, Zheng, 2020)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, hidden: Tensor) -> Tensor:
        kept = max(1, int(self.share * hidden.shape[1]))
        least = hidden.topk(kept, dim=1).values[:, -1:]
        return hidden * (hidden >= least)


class Steps(nn.Module):
    """Activations 0 or 1 by sign; gradient of a clipped identity in training, else zero."""

    def forward(self, hidden: Tensor) -> Tensor:
        hard = (hidden > 0).float()
        return hard + (hidden.clamp(-1, 1) - hidden.clamp(-1, 1).detach() if self.training else 0.0 * hidden)


class Trees(nn.Module):
    """scikit-learn's forest, whose probabilities are constant almost everywhere."""

    def __init__(self, forest: Any) -> None:
        super().__init__()
        self.forest = forest

    def forward(self, images: Tensor) -> Tensor:
        found = self.forest.predict_proba(images.detach().flatten(1).double().numpy())
        return torch.from_numpy(found).float() + 0.0 * images.flatten(1).sum(dim=1, keepdim=True)


class Nearest(nn.Module):
    """Hardened one over the squared L2 distance to the nearest stored example of each class."""

    def __init__(self, images: Tensor, labels: Tensor, classes: int, power: float) -> None:
        super().__init__()
        self.groups = [images[labels == c].flatten(1) for c in range(classes)]
        self.power = power

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        distances = [torch.cdist(flat, group).min(dim=1).values for group in self.groups]
        return -self.power * torch.stack(distances, dim=1)
