"""The corruptions by name, and how strong each is at severities 1 to 5, for small and for large images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from benchbench.contract import KeyedGenerator
from benchbench_corruptions.blur import defocus_blur, motion_blur
from benchbench_corruptions.digital import brightness, contrast, jpeg_compression, pixelate
from benchbench_corruptions.noise import gaussian_noise, impulse_noise, shot_noise

Scale = Literal["small", "large"]
Corruption = Callable[[Tensor, Any, KeyedGenerator], Tensor]

CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "motion_blur": motion_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}

SEVERITIES = (1, 2, 3, 4, 5)

# The strengths of CIFAR-10-C (small, 32x32) and ImageNet-C (large, 224x224): as the authors published them.
STRENGTHS: Mapping[Scale, Mapping[str, tuple[Any, ...]]] = {
    "small": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500.0, 250.0, 100.0, 75.0, 50.0),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        "motion_blur": ((6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
    "large": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60.0, 25.0, 12.0, 5.0, 3.0),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "defocus_blur": ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
        "motion_blur": ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": (25, 18, 15, 10, 7),
    },
}


def corrupt(images: Tensor, name: str, severity: int, scale: Scale, generator: KeyedGenerator) -> Tensor:
    """Corrupt images as a file of 8-bit pixels would hold them.

    Args:
        images: float32 (N, C, H, W) in [0, 1], C 1 or 3.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        scale: whose strengths.
        generator: of the same N examples; every severity draws its own noise.

    Returns:
        float32 (N, C, H, W): multiples of 1/255 in [0, 1].
    """
    strength = STRENGTHS[scale][name][severity - 1]
    corrupted = CORRUPTIONS[name](images, strength, generator.child(name, severity))
    return corrupted.clamp(0.0, 1.0).mul(255.0).round() / 255.0
