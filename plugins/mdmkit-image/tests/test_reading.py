"""Pictures as people have them: turned, transparent, deep, animated or damaged; each has one right reading."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
from PIL import Image, ImageOps

from mdmkit import MdmkitError, MdmkitWarning
from mdmkit_image.reading import Source, read_picture

WIDTH, HEIGHT = 6, 4
GREY = Image.fromarray((np.arange(24, dtype=np.uint8) * 10).reshape(HEIGHT, WIDTH))
# EXIF's orientation, and the transposition that a camera's picture needs then.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(given: Any, mode: str = "L", background: str = "white", size: tuple[int, int] = GREY.size) -> np.ndarray:
    return np.asarray(read_picture(Source("prompt 3", "image", given, background, size, mode, "the model's 6 x 4.")))


def silent(given: Any, **options: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(given, **options)


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, kind: str) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(6, 4) * 10) if orientation > 4 else GREY
    options = {"lossless": True} if kind == "WEBP" else {}
    data = stored(image, kind, exif=turned(orientation), **options)
    right = np.asarray(image.transpose(TURNS[orientation]))
    assert right.shape == (HEIGHT, WIDTH)
    assert np.array_equal(silent(data), right)
    assert np.array_equal(silent(Image.open(BytesIO(data))), right)
    already = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert np.array_equal(silent(already), right)


def test_the_size_is_judged_when_the_picture_is_upright() -> None:
    with pytest.raises(MdmkitError, match="has 4 x 6 pixels when turned as its EXIF orientation says, and the model's"):
        read(stored(GREY, exif=turned(6)))
    with pytest.raises(MdmkitError, match="prompt 3: the image has 4 x 6 pixels, and the model's 6 x 4"):
        read(GREY.transpose(Image.Transpose.ROTATE_90))


def alphas() -> dict[str, Image.Image]:
    """Black, opaque in the left half and clear in the right one, in every way that Pillow has."""
    half = Image.new("L", GREY.size)
    half.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    black = Image.new("L", GREY.size, 0)
    la, rgba = Image.merge("LA", (black, half)), Image.merge("RGBA", (black, black, black, half))
    index = Image.new("P", GREY.size, 1)
    index.putpalette([0, 0, 0, 0, 0, 0])
    index.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    key = Image.new("L", GREY.size, 9)  # one grey is transparent
    key.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    deep = np.where(np.arange(WIDTH) < WIDTH // 2, 0, 40000).astype(np.uint16)
    return {
        "LA": la,
        "La": la.convert("La"),
        "RGBA": rgba,
        "RGBa": rgba.convert("RGBa"),
        "P": Image.open(BytesIO(stored(index, transparency=1))),
        "L": Image.open(BytesIO(stored(key, transparency=9))),
        "RGB": Image.open(BytesIO(stored(key.convert("RGB"), transparency=(9, 9, 9)))),
        "I;16": Image.open(BytesIO(stored(Image.fromarray(np.tile(deep, (HEIGHT, 1))), transparency=40000))),
    }


@pytest.mark.parametrize("mode", alphas())
@pytest.mark.parametrize(("background", "beneath"), [("white", 255), ("black", 0)])
def test_transparent_pixels_are_composited_and_noted(mode: str, background: str, beneath: int) -> None:
    image = alphas()[mode]
    right = np.tile([0] * 3 + [beneath] * 3, (HEIGHT, 1))
    with pytest.warns(MdmkitWarning, match=f"image of prompt 3 has transparent .* composited on {background}"):
        assert np.array_equal(read(image, background=background), right)


def test_half_transparent_white_on_black_is_grey() -> None:
    with pytest.warns(MdmkitWarning):
        assert set(read(Image.new("LA", GREY.size, (255, 100)), background="black").flat) == {100}


def test_an_alpha_channel_that_hides_nothing_is_no_note() -> None:
    assert np.array_equal(silent(GREY.convert("RGBA")), np.asarray(GREY))
    assert np.array_equal(silent(GREY.convert("LA"), mode="RGB"), np.asarray(GREY.convert("RGB")))


def pgm(values: np.ndarray) -> bytes:
    return b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes()


def test_deep_values_are_scaled_by_their_range() -> None:
    eight = np.asarray(GREY)
    deep = eight.astype(np.uint16) * 257
    for given in (
        Image.fromarray(deep),
        stored(Image.fromarray(deep)),
        stored(Image.fromarray(deep), "TIFF"),
        pgm(deep),
    ):
        assert np.array_equal(silent(given), eight)
        assert np.array_equal(silent(given, mode="RGB")[..., 2], eight)
    dark = np.full((HEIGHT, WIDTH), 300, np.uint16)  # 1 of 255, not white
    assert set(silent(stored(Image.fromarray(dark))).flat) == {1}
    floats = Image.fromarray(eight.astype(np.float32) / 255)
    assert np.array_equal(silent(floats), eight)
    assert np.array_equal(silent(stored(floats, "TIFF")), eight)


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_converted(mode: str) -> None:
    image = Image.new("L", GREY.size, 255)
    image.paste(0, (0, 0, 2, 2))
    assert np.array_equal(silent(image.convert("RGB").convert(mode)), np.asarray(image))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((HEIGHT, WIDTH), 200, np.float32), "floats from 200 to 200"),
        (np.full((HEIGHT, WIDTH), -1, np.float32), "floats from -1 to -1"),
        (np.full((HEIGHT, WIDTH), np.nan, np.float32), "floats from nan to nan"),
        (np.full((HEIGHT, WIDTH), 200, np.int32), "32-bit integers from 200 to 200"),
    ],
)
def test_values_of_an_unknown_range_are_refused(values: np.ndarray, told: str) -> None:
    for given in (Image.fromarray(values), stored(Image.fromarray(values), "TIFF")):
        with pytest.raises(MdmkitError, match=f"{told}, so which value is white is not known. Save it with 8 or 16"):
            read(given)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken_and_noted(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "moving"
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("L", GREY.size, value) for value in (70, 5)]
    path.write_bytes(stored(GREY, kind, save_all=True, append_images=frames, **options))
    with pytest.warns(MdmkitWarning, match=rf"the image {path} has 3 frames: only frame 1 is used\.$"):
        assert np.array_equal(read(str(path)), np.asarray(GREY))
    later = Image.open(path)
    later.seek(2)
    with pytest.warns(MdmkitWarning, match="only frame 3 is used"):
        assert set(read(later).flat) == {5}


def test_previews_behind_a_photograph_are_no_frames() -> None:
    assert silent(stored(GREY, "MPO", save_all=True, append_images=[GREY])).shape == (HEIGHT, WIDTH)


def png_of(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size, and holds nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"", r"the image is empty \(0 bytes\)"),
        (b"GIF89a", "cannot be read|not an image"),
        (stored(Image.effect_noise(GREY.size, 90))[:60], "cannot be read"),
        (png_of(0, 0), "cannot be read|not an image"),
        (png_of(9000, 9000), "has 9000 x 9000 pixels, and"),
        (png_of(60_000, 60_000), "has more pixels than Pillow reads, and the model's"),
        (Image.new("L", (0, 0)), "has 0 x 0 pixels"),
        (Image.new("LAB", GREY.size), "cannot be read: conversion from LAB"),
        ("a\0b", "cannot be read: embedded null byte"),
        ("absent.png", r"image absent.png cannot be read: No such file or directory\."),
        (np.zeros((HEIGHT, WIDTH)), "a file's name, a file's bytes or a PIL image, not of type ndarray"),
    ],
)
def test_what_is_no_picture_is_refused(given: Any, told: str) -> None:
    with pytest.raises(MdmkitError, match=told) as caught:
        read(given)
    assert str(caught.value).startswith("prompt 3: ")


Image.init()
# TGA has no end mark: its footer may be missing, and the pixels are whole without it.
KINDS = ("PNG", "GIF", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "ICO", "QOI", "JPEG2000", "PCX", "SGI", "AVIF")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in Image.SAVE])
@pytest.mark.filterwarnings("ignore:.*(EXIF|Truncated)")
def test_a_file_that_was_cut_is_refused_wherever_it_ends(kind: str, tmp_path: Path) -> None:
    data = stored(Image.new("RGB", (16, 16), "red"), kind)
    assert read(data, size=(16, 16)).shape == (16, 16)
    assert read(data + b"\n", size=(16, 16)).shape == (16, 16)
    file = tmp_path / "picture"
    for length in {*range(len(data) - 30, len(data)), *range(0, len(data), max(1, len(data) // 30))}:
        file.write_bytes(data[:length])
        for given in (data[:length], file):
            with pytest.raises(MdmkitError, match="prompt 3: the image"):
                read(given, size=(16, 16))


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    with pytest.raises(MdmkitError, match="cannot be read"):
        read(loop)


def test_damaged_exif_data_is_no_reason_to_refuse() -> None:
    assert np.array_equal(read(stored(GREY, exif=b"Exif\0\0MM\0*rubbish")), np.asarray(GREY))
