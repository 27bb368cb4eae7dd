"""Every architecture of timm (Wightman, "PyTorch Image Models", 2019), and the protocol's ResNet50 among them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from benchbench.builtin.architectures.requirements import ImageShape, image_shape, require_classes
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import OptionError, in_mode

RESNET50_SMALLEST = (32, 32)  # leaves one pixel to the last stage


def make_resnet50(*, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The standard ResNet50 (He et al., 2016): 7x7 stride-2 stem and max-pool whatever the size of the input.

    Args:
        input_shape: (channels, height, width), at least 32x32.
        classes: number of logits, at least 2.

    Returns:
        A model from float (N, channels, height, width) in [0, 1] to logits (N, classes), initialised as by He et al.: the
        last normalisation of a block starts at one, where timm's default is zero.

    Raises:
        OptionError: the input is no image or too small, or there are fewer than two classes.
    """
    image = image_shape("resnet50", input_shape, smallest=RESNET50_SMALLEST)
    require_classes("resnet50", classes)
    model: nn.Module = _timm().create_model(
        "resnet50", pretrained=False, num_classes=classes, in_chans=image.channels, zero_init_last=False
    )
    return model


def make_timm_model(*, member: str, input_shape: tuple[int, ...], classes: int, pretrained: bool = False) -> nn.Module:
    """A timm model, told the size of its input where it wants to know, and tried on one blank image.

    Args:
        member: timm's name, for instance ``resnet18`` or, for particular weights, ``resnet18.a1_in1k``.
        input_shape: (channels, height, width).
        classes: number of logits, at least 2.
        pretrained: whether to start from the published weights, downloaded by timm. Inputs are pixels / 255 all the same,
            never normalised by mean and deviation.

    Returns:
        A model from float (N, channels, height, width) in [0, 1] to logits (N, classes).

    Raises:
        OptionError: timm has no such model or weights, or the model cannot take such images.
    """
    name = f"timm:{member}"
    image = image_shape(name, input_shape, smallest=(1, 1))
    require_classes(name, classes)
    timm = _timm()
    if not timm.is_model(member):
        near = difflib.get_close_matches(member, timm.list_models(), n=3)
        raise OptionError(f"timm has no model {member!r}", hint=f"nearest: {', '.join(near)}" if near else "")
    try:
        model = _create(timm, member, image, num_classes=classes, in_chans=image.channels, pretrained=pretrained)
        shape = _try(model, image)
    except (RuntimeError, ValueError, TypeError, AssertionError, OSError) as error:
        raise OptionError(f"{name} cannot be built for inputs of shape {input_shape}: {error}") from error
    if shape != (1, classes):
        raise OptionError(f"{name} returns {shape} for one image, expected logits of shape (1, {classes})")
    return model


def list_timm_models() -> Iterable[str]:
    """Names of all timm architectures."""
    names: list[str] = _timm().list_models()
    return names


def _timm() -> ModuleType:
    import_torchvision()  # timm imports torchvision, which needs help beside some builds of torch
    import timm

    module: ModuleType = timm
    return module


def _create(timm: ModuleType, member: str, image: ImageShape, **options: Any) -> nn.Module:
    """Build with the image's size, or without it where the model is of no fixed size and refuses one."""
    try:
        model: nn.Module = timm.create_model(member, img_size=(image.height, image.width), **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(member, **options)
    return model


def _try(model: nn.Module, image: ImageShape) -> tuple[int, ...]:
    """Shape of the answer to one blank image."""
    blank = torch.zeros(1, image.channels, image.height, image.width)
    with in_mode(model, training=False), torch.no_grad():
        return tuple(model(blank).shape)
