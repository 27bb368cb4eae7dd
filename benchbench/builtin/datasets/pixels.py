"""Image files to uint8 arrays: decoding, resizing, cropping, with Pillow, in threads."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.builtin.datasets.folders import counted, listed
from benchbench.contract import CorruptDataError, DataError, OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

LARGEST_SIDE = 4096  # of an enlarged image
_ORIENTATION = 0x0112  # of EXIF
BLOCK = 256  # images decoded at a time


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """How an image is transformed after decoding; sizes are in [1, 4096].

    Attributes:
        shorter_side: pixels of the shorter side after resizing (bilinear, antialiased); None keeps the size.
    """

    shorter_side: int | None = None
    crop: int | None = None  # side of the centre crop that follows; None for no crop
    grayscale: bool = False  # one channel instead of three
    upright: bool = True  # whether images are turned by their EXIF entry

    def __post_init__(self) -> None:
        for name, value in (("shorter_side", self.shorter_side), ("crop", self.crop)):
            if value is not None and not 1 <= value <= LARGEST_SIDE:
                raise OptionError(f"{name} must be at least 1 pixel and at most {LARGEST_SIDE}, got {value}")


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An encoded image: its file's path, or its bytes; `name` says in messages where it is from."""

    name: str
    content: Path | bytes


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """Image parts that decoding left out, each with file names; threads may add concurrently."""

    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, file: ImageFile) -> None:
        """Note a part that was left out of a file."""
        self.files.setdefault(what, []).append(file.name)

    def notes(self, folder: Path) -> tuple[str, ...]:
        """A note for each part left out, with the number and some names of its images."""
        return tuple(
            f"{folder}: {what} left out of {counted(len(names), 'image')}: {listed(sorted(names))}"
            for what, names in sorted(self.files.items())
        )


def decode(file: ImageFile, pixel_format: PixelFormat, remarks: Remarks | None = None) -> NDArray[np.uint8]:
    """Decode one image, or the first frame of an animated one, to uint8 (C, H, W).

    Transparency and further frames are left out, and noted in the remarks. A truncated file, or one that is no image, is a
    CorruptDataError; more than 8 bits per channel, or more pixels than Pillow's limit against decompression bombs, a DataError.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    opened = io.BytesIO(file.content) if isinstance(file.content, bytes) else file.content
    try:
        with Image.open(opened) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(
                    f"{file.name} has pixels of mode {image.mode}: expected 8 bits per channel",
                    hint="convert it to an image of 8 bits per channel",
                )
            if remarks is not None:
                _remark(image, file, remarks)
            turned = _turn_upright(image) if pixel_format.upright else image
            turned.info.pop("transparency", None)  # Pillow warns of palettes with several transparent colours
            fitted = _fit(turned.convert("L" if pixel_format.grayscale else "RGB"), pixel_format)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{file.name} is suspiciously large: {error}") from error
    except (UnidentifiedImageError, EOFError, OSError, SyntaxError, ValueError) as error:
        raise CorruptDataError(
            f"{file.name} is damaged or no image: {error}", hint="replace it, or take it out of the data"
        ) from error
    pixels = np.asarray(fitted)
    return pixels[None] if pixel_format.grayscale else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _remark(image: Image, file: ImageFile, remarks: Remarks) -> None:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            remarks.add("transparency", file)
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # further frames of an MPO are a camera's previews
        remarks.add("all frames but the first", file)


def _turn_upright(image: Image) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _fit(image: Image, pixel_format: PixelFormat) -> Image:
    """Resize and crop with the rounding of torchvision's Resize and CenterCrop."""
    from PIL import Image as Pillow

    width, height = image.size
    if side := pixel_format.shorter_side:
        shorter = min(width, height)
        width, height = int(side * width / shorter), int(side * height / shorter)
        if width * height > LARGEST_SIDE**2:
            raise ValueError(f"resized to {width}x{height} pixels it would be suspiciously large")
        image = image.resize((width, height), Pillow.Resampling.BILINEAR)
    if crop := pixel_format.crop:
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        image = image.crop((left, top, left + crop, top + crop))
    return image


def decode_blocks(
    files: Sequence[ImageFile], pixel_format: PixelFormat, remarks: Remarks | None = None
) -> Iterator[list[NDArray[np.uint8]]]:
    """Decode images in threads, in order; yields lists of `BLOCK` arrays, uint8 (C, H, W)."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(files), BLOCK):
            yield list(pool.map(lambda file: decode(file, pixel_format, remarks), files[start : start + BLOCK]))


def decode_stack(
    files: Sequence[ImageFile], pixel_format: PixelFormat, remarks: Remarks | None = None
) -> NDArray[np.uint8]:
    """Decode images, at least one and of one size, into one array, uint8 (N, C, H, W)."""
    import numpy as np

    if not files:
        raise DataError("no images to decode")
    shape = decode(files[0], pixel_format).shape
    stack = np.empty((len(files), *shape), dtype=np.uint8)
    done = 0
    for block in decode_blocks(files, pixel_format, remarks):
        for image in block:
            if image.shape != shape:
                (_, height, width), (_, other_height, other_width) = shape, image.shape
                raise DataError(
                    f"images differ in size: {files[0].name} is {width}x{height}, "
                    f"{files[done].name} is {other_width}x{other_height}",
                    hint="set the option size to resize the shorter side and crop the centre",
                )
            stack[done] = image
            done += 1
    return stack
