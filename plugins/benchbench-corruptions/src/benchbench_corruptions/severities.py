"""Corruptions by name, and their strengths at severities 1 to 5, for small and large images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from benchbench.contract import KeyedGenerator
from benchbench_corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from benchbench_corruptions.digital import brightness, contrast, jpeg_compression, pixelate
from benchbench_corruptions.elastic import elastic_transform
from benchbench_corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from benchbench_corruptions.weather import fog, frost, snow

Scale = Literal["small", "large"]
Corruption = Callable[[Tensor, Any, KeyedGenerator], Tensor]

CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}

SEVERITIES = (1, 2, 3, 4, 5)

_L = 244 / 224  # the authors' elastic transforms of 224 pixels are set for 244

# The strengths of CIFAR-10-C (small, 32x32) and ImageNet-C (large, 224x224), from the authors' programs that made them:
# ImageNet-C/create_c/make_cifar_c.py and ImageNet-C/imagenet_c/imagenet_c/corruptions.py of github.com/hendrycks/robustness.
STRENGTHS: Mapping[Scale, Mapping[str, tuple[Any, ...]]] = {
    "small": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500.0, 250.0, 100.0, 75.0, 50.0),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "motion_blur": ((6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
        ),
        "frost": ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "fog": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "elastic_transform": (
            (0.0, 0.0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
    "large": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60.0, 25.0, 12.0, 5.0, 3.0),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "defocus_blur": ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "motion_blur": ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "snow": (
            (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
        ),
        "frost": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "fog": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "elastic_transform": (
            (2.0 * _L, 0.7 * _L, 0.1 * _L),
            (2.0 * _L, 0.08 * _L, 0.2 * _L),
            (0.05 * _L, 0.01 * _L, 0.02 * _L),
            (0.07 * _L, 0.01 * _L, 0.02 * _L),
            (0.12 * _L, 0.01 * _L, 0.02 * _L),
        ),
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
