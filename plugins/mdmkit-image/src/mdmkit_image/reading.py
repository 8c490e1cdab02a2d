"""Read an image or a mask as people have it, into one form: upright, one frame, opaque, 8 bits a channel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mdmkit import MdmkitError, MdmkitWarning, shown
from mdmkit_image.layout import said
from mdmkit_image.whole import is_cut

# Formats whose further frames are previews or layers of the same image.
ONE_IMAGE = ("MPO", "PSD")
# Formats whose 16-bit values are in mode I, of 32 bits, in some versions of Pillow.
WIDENED = ("PNG", "PPM")


@dataclass(frozen=True)
class Source:
    """An image or a mask that a prompt gives.

    Attributes:
        place: the prompt, for errors.
        role: `image` or `mask`.
        given: a file's name, the bytes of a file, or a PIL image.
        background: the colour under transparent pixels.
        size: the width and height it must have, in pixels.
        mode: the mode to convert it to, `L` or `RGB`.
        fix: what to do if its size is another one.
    """

    place: str
    role: str
    given: Any
    background: str
    size: tuple[int, int]
    mode: str
    fix: str

    @property
    def name(self) -> str:
        """Name it, with its file if it has one."""
        return f"{self.role} {shown(str(self.given))[1:-1]}" if isinstance(self.given, str | Path) else self.role

    def error(self, text: str) -> MdmkitError:
        return MdmkitError(f"{self.place}: the {self.name} {text}")

    def note(self, text: str) -> None:
        # Many prompts may share a file, so the note does not name the prompt: it is then shown once.
        where = self.name if self.name != self.role else f"{self.role} of {self.place}"
        warnings.warn(f"the {where} {text}", MdmkitWarning, stacklevel=2)


def read_picture(source: Source) -> Image.Image:
    """Read a picture, of the size and mode that its source says.

    It is turned as its EXIF orientation says, then its size is compared. Of an animation one frame is taken.
    Transparent pixels are composited on the background. Values of 16 bits, and floats from 0 to 1, become 8 bits. A
    file of another size is refused before its pixels are read, so it cannot take more memory than the size does.

    Raises:
        MdmkitError: it cannot be read, has another size, or has values of an unknown range.
    """
    with _reading(source), _opened(source) as picture:
        if picture.size not in (source.size, source.size[::-1]):  # before any pixel is read
            raise _of_size(source, picture.size)
        picture.load()
        if is_cut(source.given, picture.format):
            raise source.error(f"is cut: its last bytes are missing ({picture.format}). Copy or save it again.")
        upright = ImageOps.exif_transpose(picture)
        if upright.size != source.size:
            turned = upright.size != picture.size
            raise _of_size(source, upright.size, " when turned as its EXIF orientation says" if turned else "")
        _note_frames(source, picture)
        return _opaque(source, _in_8_bits(source, upright, picture.format)).convert(source.mode)


def _opened(source: Source) -> AbstractContextManager[Image.Image]:
    given = source.given
    if isinstance(given, Image.Image):
        return nullcontext(given)
    if isinstance(given, bytes):
        return Image.open(BytesIO(given))
    if isinstance(given, str | Path):
        return Image.open(given)
    raise MdmkitError(
        f"{source.place}: {source.role!r} is a file's name, a file's bytes or a PIL image, not of type "
        f"{type(given).__name__}."
    )


@contextmanager
def _reading(source: Source) -> Iterator[None]:
    """Turn whatever Pillow raises for a file that is missing, damaged or too large into an MdmkitError."""
    try:
        yield
    except MdmkitError:
        raise
    except UnidentifiedImageError:
        if _empty(source.given):
            raise source.error("is empty (0 bytes).") from None
        raise source.error("is not an image that Pillow can read. Save it as PNG.") from None
    except Image.DecompressionBombError:
        raise source.error(f"has more pixels than Pillow reads, and {source.fix}") from None
    except OSError as error:
        raise source.error(f"cannot be read: {error.strerror or said(error).rstrip('.')}.") from None
    except Exception as error:  # Pillow's readers raise many unrelated types for damaged files
        raise source.error(f"cannot be read: {said(error).rstrip('.')}. Save it as PNG.") from error


def _empty(given: Any) -> bool:
    return given == b"" or (isinstance(given, str | Path) and Path(given).is_file() and not Path(given).stat().st_size)


def _of_size(source: Source, size: tuple[int, int], turned: str = "") -> MdmkitError:
    width, height = size
    return source.error(f"has {width} x {height} pixels{turned}, and {source.fix}")


def _note_frames(source: Source, picture: Image.Image) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in ONE_IMAGE:
        source.note(f"has {frames} frames: only frame {picture.tell() + 1} is used.")


def _in_8_bits(source: Source, picture: Image.Image, format: str | None) -> Image.Image:
    """Scale 16-bit integers, and floats from 0 to 1, to 0 to 255; other modes have 8 bits or less already."""
    wide = picture.mode.startswith("I;16") or (picture.mode == "I" and format in WIDENED)
    if not wide and picture.mode not in ("I", "F"):
        return picture
    values = np.asarray(picture).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    most = 65535 if wide else 1
    if not (wide or picture.mode == "F") or not (low >= 0 and high <= most):
        kind = "32-bit integers" if picture.mode == "I" else "floats"
        raise source.error(
            f"has {kind} from {low:g} to {high:g}, so which value is white is not known. Save it with 8 or 16 bits, "
            "or give floats from 0 to 1."
        )
    grey = Image.fromarray((values * (255 / most)).round().astype(np.uint8))
    if "transparency" in picture.info:  # the one value that is transparent
        grey.putalpha(Image.fromarray((values != picture.info["transparency"]).astype(np.uint8) * 255))
    return grey


def _opaque(source: Source, picture: Image.Image) -> Image.Image:
    """Composite transparent pixels on the background."""
    if not picture.has_transparency_data:
        return picture
    layer = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    if layer.getchannel("A").getextrema()[0] == 255:
        return layer.convert("RGB")
    source.note(f"has transparent pixels: they are composited on {source.background}.")
    return Image.alpha_composite(Image.new("RGBA", layer.size, source.background), layer).convert("RGB")
