"""Build timm models for images of a size, as published or (if possible) with a finer stem."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType

from benchbench.builtin.architectures.requirements import ImageShape
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.contract import in_mode

Options = Mapping[str, object]

_LOG = logging.getLogger(__name__)
# timm's models raise any of these for a size that does not fit.
REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, ArithmeticError, LookupError)
_SIDES = (32, 64, 128, 224, 256)  # of square images; an error names the first that fits
_PATCH_SIZES = (8, 7, 4, 2, 1)
_OUTPUT_STRIDES = (16, 8)
ADAPTATIONS: tuple[Options, ...] = (
    *({"patch_size": size} for size in _PATCH_SIZES),
    *({"output_stride": stride} for stride in _OUTPUT_STRIDES),
)


class NoFitError(Exception):
    """No adaptation fits a model to an image size; `side` is of square images it takes, or None."""

    def __init__(self, side: int | None) -> None:
        super().__init__("no adaptation fits")
        self.side = side


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A model for images of the wanted size, and the shape of its answer to one of them."""

    model: nn.Module
    answer_shape: tuple[int, ...]


def create_fitting(timm: ModuleType, member: str, image: ImageShape, options: Options, given: Options) -> Fitted:
    """Build the model of timm that takes images of a size, with the keyword arguments `options`.

    It is built as published if it takes the size, else with the first fitting one of `ADAPTATIONS`: the coarsest patches
    that fit, else stages that dilate their filters instead of halving the image again. Candidates are tried on torch's meta
    device, without weights. Options `given` by the user are kept, and nothing else is adapted then.

    Raise a NoFitError, caused by the error of the model as published or as given, if no adaptation fits; one of `REFUSALS` if
    building fails for another reason.
    """
    first = {**_sized(image), **given}
    try:
        return _fitted(_create(timm, member, {**options, **first}), image)
    except REFUSALS as refusal:
        fitting = fitting_options(timm, member, image, given)
        if fitting is None:
            raise NoFitError(_side_that_fits(timm, member, image.channels, given)) from refusal
        if fitting == first:
            raise
        _LOG.info("timm:%s takes %dx%d with %s (%s)", member, image.height, image.width, fitting, refusal)
        return _fitted(_create(timm, member, {**options, **fitting}), image)


def fitting_options(timm: ModuleType, member: str, image: ImageShape, given: Options) -> Options | None:
    """Options with which a model takes images of a size; None if it takes no such images.

    They are the given ones, or else none or one of `ADAPTATIONS`; with ``img_size`` if the model accepts it.
    """
    adaptations: tuple[Options, ...] = (given,) if given else ({}, *ADAPTATIONS)
    sizes: tuple[Options, ...] = (_sized(image), {})
    candidates = ({**size, **adaptation} for adaptation, size in itertools.product(adaptations, sizes))
    return next((options for options in candidates if _fits(timm, member, image, options)), None)


def _fits(timm: ModuleType, member: str, image: ImageShape, options: Options) -> bool:
    try:
        with torch.device("meta"):
            answer(timm.create_model(member, in_chans=image.channels, **options), image)
    except REFUSALS:
        return False
    return True


def _side_that_fits(timm: ModuleType, member: str, channels: int, given: Options) -> int | None:
    for side in _SIDES:
        image = ImageShape(channels=channels, height=side, width=side)
        if any(_fits(timm, member, image, {**size, **given}) for size in (_sized(image), {})):
            return side
    return None


def answer(model: nn.Module, image: ImageShape) -> Tensor:
    """The model's answer to one blank image; on the meta device, only its shape.

    Raise a ValueError if a layer's output is empty (a mean over it would be NaN), if patches leave out a part of the image, or
    if the answer is not finite.
    """
    blank = torch.zeros(1, image.channels, image.height, image.width)
    with _without_losses(model), in_mode(model, training=False), torch.no_grad():
        found: Tensor = model(blank)
    if not found.is_meta and not bool(found.isfinite().all()):
        raise ValueError("the answer to a blank image is not finite")
    return found


def _fitted(model: nn.Module, image: ImageShape) -> Fitted:
    return Fitted(model=model, answer_shape=tuple(answer(model, image).shape))


def _sized(image: ImageShape) -> Options:
    return {"img_size": (image.height, image.width)}


def _create(timm: ModuleType, member: str, options: Options) -> nn.Module:
    """Build a model; retry without ``img_size`` if the model rejects it."""
    try:
        model: nn.Module = timm.create_model(member, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(member, **{name: value for name, value in options.items() if name != "img_size"})
    return model


@contextmanager
def _without_losses(model: nn.Module) -> Iterator[None]:
    """Refuse models with empty layer outputs, or with patches that do not cover the image."""
    first = True

    def refuse(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        nonlocal first
        if isinstance(output, torch.Tensor) and output.numel() == 0:
            raise ValueError(f"the image is too small: nothing is left of it after a {type(module).__name__}")
        if first and isinstance(module, nn.Conv2d):
            first = False
            _require_covered(module, inputs[0])

    with ExitStack() as hooks:
        for module in model.modules():
            hooks.enter_context(module.register_forward_hook(refuse))
        yield


def _require_covered(patches: nn.Conv2d, images: Tensor) -> None:
    """Refuse patches side by side, as of a transformer, that do not cover the whole image."""
    if patches.kernel_size != patches.stride or any(patches.padding):
        return
    left = [int(size) % side for size, side in zip(images.shape[-2:], patches.stride)]
    if any(left):
        side = "x".join(map(str, patches.stride))
        raise ValueError(f"patches of {side} pixels leave out {left[0]} rows and {left[1]} columns of the image")
