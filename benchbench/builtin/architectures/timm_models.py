"""Models of timm (Wightman, "PyTorch Image Models", 2019), and the protocol's ResNet50."""

from __future__ import annotations

import difflib
import os
import pickle
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError

from benchbench.builtin.architectures.requirements import image_shape, require_classes
from benchbench.builtin.architectures.timm_fitting import REFUSALS, NoFitError, create_fitting
from benchbench.builtin.deferred import nn
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import OptionError, UsageError
from benchbench.version import install_command

RESNET50_SMALLEST = (32, 32)  # leaves one pixel to the last stage


def make_resnet50(*, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet50 (He et al., 2016): 7x7 stride-2 stem and max-pool for inputs of every size.

    It is initialised as by He et al.: the last normalisation of a block starts at one; timm's default is zero.
    """
    image = image_shape("resnet50", input_shape, smallest=RESNET50_SMALLEST)
    require_classes("resnet50", classes)
    model: nn.Module = _timm().create_model(
        "resnet50", pretrained=False, num_classes=classes, in_chans=image.channels, zero_init_last=False
    )
    return model


def make_timm_model(
    *,
    member: str,
    input_shape: tuple[int, ...],
    classes: int,
    pretrained: bool = False,
    weights: str = "",
    patch_size: int | None = None,
    output_stride: int | None = None,
) -> nn.Module:
    """Build a timm model (``img_size`` is passed if accepted), and check it on a blank image.

    A model that does not take the size as published gets finer patches, or stages that dilate instead of shrinking, if timm
    has such an option for it: see `benchbench.builtin.architectures.timm_fitting`.

    Args:
        member: timm's name, for instance ``resnet18`` or, for particular weights, ``resnet18.a1_in1k``.
        input_shape: of images.
        classes: number of logits.
        pretrained: whether to start from the published weights, which timm downloads. Inputs stay pixels / 255, never
            normalised by mean and deviation. timm adapts the weights to another number of channels or classes: it sums
            filters and makes a new last layer.
        weights: a file with the published weights, instead of a download: safetensors, or tensors saved by torch.
        patch_size: side of the patches, for models that take it; None for the published one, or one that fits.
        output_stride: pixels of the image per feature of the last stage, for models that take it; None likewise.

    Raises:
        OptionError: timm has no such model or weights, the weights cannot be loaded or belong to another model, or the
            model cannot take such images.
    """
    name = f"timm:{member}"
    image = image_shape(name, input_shape, smallest=(1, 1))
    require_classes(name, classes)
    if weights and not Path(weights).is_file():
        raise OptionError(f"weights: there is no file {weights}", hint="safetensors, or tensors saved by torch")
    timm = _timm()
    if not timm.is_model(member.partition(".")[0]):
        near = difflib.get_close_matches(member, timm.list_models(), n=3)
        raise OptionError(f"timm has no model {member!r}", hint=f"nearest: {', '.join(near)}" if near else "")
    options: dict[str, object] = {"num_classes": classes, "in_chans": image.channels}
    if pretrained or weights:
        options["pretrained"] = True
    if weights:
        options["pretrained_cfg_overlay"] = {"file": weights}
    chosen = {"patch_size": patch_size, "output_stride": output_stride}
    given = {option: value for option, value in chosen.items() if value is not None}
    try:
        fitted = create_fitting(timm, member, image, options, given)
    except OSError as error:
        raise OptionError(
            f"{name}: the published weights cannot be had: {_first_line(error)}",
            hint="run it once where the network is, so that timm keeps them, or give a file: weights = FILE",
        ) from error
    except (NoFitError, *REFUSALS, pickle.UnpicklingError, SafetensorError) as error:
        reason = error.__cause__ if isinstance(error, NoFitError) else error
        message = f"{name} cannot be built for inputs of shape {input_shape}: {_first_line(reason)}"
        raise OptionError(message, hint=_sizes(timm, member, error) if not given else "") from error
    if fitted.answer_shape != (1, classes):
        raise OptionError(
            f"{name} returns {fitted.answer_shape} for one image, expected logits of shape (1, {classes})",
            hint="it is no classifier",
        )
    return fitted.model


def list_timm_models() -> Iterable[str]:
    """Names of timm architectures, without and with weights: ``resnet18``, ``resnet18.a1_in1k``."""
    timm = _timm()
    return dict.fromkeys([*timm.list_models(), *timm.list_pretrained()])


def _timm() -> ModuleType:
    import_torchvision()  # timm imports torchvision, which needs help beside some builds of torch
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UsageError(f"models of timm need {error.name}", hint=install_command("timm")) from error
    module: ModuleType = timm
    return module


def _sizes(timm: ModuleType, member: str, error: Exception) -> str:
    """The size of images that the model does take; empty if the size is not the problem."""
    if not isinstance(error, NoFitError):
        return ""
    if error.side is not None:
        return f"it takes {error.side}x{error.side} images"
    _, height, width = timm.get_pretrained_cfg(member).input_size
    return f"it is published for {height}x{width} images"


def _first_line(error: BaseException | None) -> str:
    """The first line of an exception's message; without one, the place in timm that raised it."""
    if error is None:
        return ""
    if lines := str(error).splitlines():
        return lines[0]
    every = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in every if f"{os.sep}timm{os.sep}" in frame.filename] or every
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}{where}"
