"""ImageDecoder, on files that this test encodes itself; JPEG on those of the official suite."""

import struct
import zlib

import numpy as np
import pytest
from onnx.backend.test.case.node import _image_decoder_data as official

import pyinfer
from nodes import node_model


def decode(data, pixel_format="RGB", **options):
    x = np.frombuffer(data, np.uint8)
    model = pyinfer.load(node_model("ImageDecoder", [x], {"pixel_format": pixel_format}), **options)
    return model.run({"x0": x})["y0"]


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def bmp(image, bits=24, flip=True):
    h, w = image.shape[:2]
    rows = image[::-1, :, ::-1] if flip else image[..., ::-1]
    if bits == 32:
        rows = np.concatenate([rows, np.zeros((h, w, 1), np.uint8)], -1)
    body = b"".join(r.tobytes() + bytes(-r.nbytes % 4) for r in rows)
    header = struct.pack("<IiiHHIIiiII", 40, w, h if flip else -h, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def bmp_with_palette(index, palette, bits):
    h, w = index.shape
    packed = b""
    for row in index[::-1]:
        stream = "".join(format(v, f"0{bits}b") for v in row)
        stream += "0" * (-len(stream) % 32)
        packed += int(stream, 2).to_bytes(len(stream) // 8, "big")
    colours = b"".join(bytes([b, g, r, 0]) for r, g, b in palette)
    header = struct.pack("<IiiHHIIiiII", 40, w, h, 1, bits, 0, 0, 0, 0, len(palette), 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + len(colours)) + header + colours + packed


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(rows, pixel, filters):
    """The rows of a PNG, each behind the number of its filter."""
    out, above = b"", bytes(len(rows[0]) if rows else 0)
    for number, row in enumerate(rows):
        kind = filters[number % len(filters)]
        line = bytearray([kind])
        for i, v in enumerate(row):
            a = row[i - pixel] if i >= pixel else 0
            b = above[i]
            c = above[i - pixel] if i >= pixel else 0
            near = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
            paeth = a if near[0] == min(near) else b if near[1] == min(near) else c
            line.append((int(v) - [0, a, b, (a + b) // 2, paeth][kind]) % 256)
        out += bytes(line)
        above = row
    return out


def pack_bits(samples, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", int(v) * 257) for v in samples)
    stream = "".join(format(int(v), f"0{depth}b") for v in samples)
    stream += "0" * (-len(stream) % 8)
    return int(stream, 2).to_bytes(len(stream) // 8, "big")


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, depth, color, *, palette=None, filters=(0, 1, 2, 3, 4), interlaced=False, level=6):
    """`samples` is [height, width, samples of a pixel]."""
    h, w, n = samples.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    raw = b""
    for x, y, dx, dy in passes:
        part = samples[y::dy, x::dx]
        if part.size:
            rows = [pack_bits(row.ravel(), depth) for row in part]
            raw += filtered(rows, max(1, n * depth // 8), filters)
    data = zlib.compress(raw, level)
    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlaced))
    )
    if palette is not None:
        out += chunk(b"PLTE", palette.tobytes())
    half = len(data) // 2
    return out + chunk(b"IDAT", data[:half]) + chunk(b"IDAT", data[half:]) + chunk(b"IEND", b"")


def tiff(image, big=False, photometric=2, rows_per_strip=None):
    h, w, n = image.shape
    o = ">" if big else "<"
    step = rows_per_strip or h
    strips = [image[i : i + step].tobytes() for i in range(0, h, step)]
    body, offsets = b"", []
    for s in strips:
        offsets.append(8 + len(body))
        body += s
    where = 8 + len(body)
    body += b"".join(struct.pack(o + "I", v) for v in offsets)
    tags = [(256, 4, 1, w), (257, 4, 1, h), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, photometric)]
    tags += [
        (273, 4, len(strips), where if len(strips) > 1 else offsets[0]),
        (277, 3, 1, n),
        (278, 4, 1, step),
    ]
    directory = struct.pack(o + "H", len(tags))
    for tag, kind, count, value in tags:
        held = struct.pack(o + "HH", value, 0) if kind == 3 else struct.pack(o + "I", value)
        directory += struct.pack(o + "HHI", tag, kind, count) + held
    return (b"MM\0*" if big else b"II*\0") + struct.pack(o + "I", 8 + len(body)) + body + directory


def gray_of(image):
    r, g, b = (image[..., i].astype(np.int64) for i in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(np.uint8)[..., None]


SIZES = [(1, 1), (4, 5), (3, 8), (7, 2), (16, 33)]


@pytest.mark.parametrize("size", SIZES)
def test_bmp(size):
    image = pixels(*size)
    for bits in (24, 32):
        for flip in (True, False):
            np.testing.assert_array_equal(decode(bmp(image, bits, flip)), image)
    for bits in (1, 4, 8):
        palette = np.random.default_rng(1).integers(0, 256, (2**bits, 3)).astype(np.uint8)
        index = np.random.default_rng(2).integers(0, 2**bits, size)
        np.testing.assert_array_equal(decode(bmp_with_palette(index, palette, bits)), palette[index])


@pytest.mark.parametrize("size", SIZES)
def test_pnm(size):
    h, w = size
    image = pixels(h, w)
    gray, bits = image[..., :1], image[..., 0] & 1
    header = f"\n# comment\n{w} {h}\n"
    np.testing.assert_array_equal(decode(f"P6{header}255\n".encode() + image.tobytes()), image)
    np.testing.assert_array_equal(decode(f"P5{header}255\n".encode() + gray.tobytes()), gray.repeat(3, 2))
    wide = gray.astype(">u2") * 257
    np.testing.assert_array_equal(decode(f"P5{header}65535\n".encode() + wide.tobytes()), gray.repeat(3, 2))
    text = " ".join(str(v) for v in image.ravel())
    np.testing.assert_array_equal(decode(f"P3{header}255\n{text}\n".encode()), image)
    text = " ".join(str(v) for v in gray.ravel())
    np.testing.assert_array_equal(decode(f"P2{header}255\n{text}\n".encode()), gray.repeat(3, 2))
    black = np.where(bits[..., None] == 1, 0, 255).astype(np.uint8).repeat(3, 2)
    np.testing.assert_array_equal(decode(f"P4{header}".encode() + np.packbits(bits, 1).tobytes()), black)
    np.testing.assert_array_equal(decode(f"P1{header}{''.join(map(str, bits.ravel()))}".encode()), black)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_png(size, interlaced, level):
    options = {"interlaced": interlaced, "level": level}
    image = pixels(*size)
    alpha = pixels(*size, seed=3)[..., :1]
    gray = image[..., :1]
    for depth in (8, 16):
        np.testing.assert_array_equal(decode(png(image, depth, 2, **options)), image)
        np.testing.assert_array_equal(
            decode(png(np.concatenate([image, alpha], 2), depth, 6, **options)), image
        )
        np.testing.assert_array_equal(decode(png(gray, depth, 0, **options)), gray.repeat(3, 2))
        with_alpha = png(np.concatenate([gray, alpha], 2), depth, 4, **options)
        np.testing.assert_array_equal(decode(with_alpha), gray.repeat(3, 2))
    for depth in (1, 2, 4):
        small = gray % int(2**depth) if depth < 8 else gray
        expected = (small.astype(int) * 255 // (2**depth - 1)).astype(np.uint8).repeat(3, 2)
        np.testing.assert_array_equal(decode(png(small, depth, 0, **options)), expected)
    for depth in (1, 2, 4, 8):
        palette = np.random.default_rng(4).integers(0, 256, (2**depth, 3)).astype(np.uint8)
        index = gray % int(2**depth) if depth < 8 else gray
        np.testing.assert_array_equal(
            decode(png(index, depth, 3, palette=palette, **options)), palette[index[..., 0]]
        )


def test_png_that_compresses_well():
    image = np.zeros((120, 200, 3), np.uint8)
    image[30:60, 20:] = (np.arange(180) % 7)[:, None]
    np.testing.assert_array_equal(decode(png(image, 8, 2, filters=(0,))), image)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("big", [False, True])
def test_tiff(size, big):
    image = pixels(*size)
    for rows in (None, 1, 3):
        np.testing.assert_array_equal(decode(tiff(image, big, rows_per_strip=rows)), image)
    gray = image[..., :1]
    np.testing.assert_array_equal(decode(tiff(gray, big, 1)), gray.repeat(3, 2))
    np.testing.assert_array_equal(decode(tiff(gray, big, 0)), 255 - gray.repeat(3, 2))


@pytest.mark.parametrize(
    "name", ["bmp_rgb", "png_rgb", "pnm_rgb", "tiff_rgb", "jpeg_rgb", "jpeg_bgr", "jpeg_grayscale"]
)
def test_official_files(name):
    case = getattr(official, f"image_decoder_decode_{name}")
    pixel_format = {"rgb": "RGB", "bgr": "BGR", "grayscale": "Grayscale"}[name.split("_")[1]]
    np.testing.assert_array_equal(decode(case.data.tobytes(), pixel_format), case.output)


def test_pixel_formats():
    image = pixels(5, 6)
    np.testing.assert_array_equal(decode(bmp(image), "BGR"), image[..., ::-1])
    np.testing.assert_array_equal(decode(bmp(image), "Grayscale"), gray_of(image))
    with pytest.raises(pyinfer.PyInferError):
        decode(bmp(image), "CMYK")


@pytest.mark.parametrize("name", ["jpeg2k_rgb", "webp_rgb"])
def test_other_formats_are_refused_by_name(name):
    case = getattr(official, f"image_decoder_decode_{name}")
    with pytest.raises(pyinfer.UnsupportedModel, match="not supported"):
        decode(case.data.tobytes())


def samples():
    image = pixels(6, 7)
    files = {
        "bmp": bmp(image),
        "png": png(image, 8, 2),
        "tiff": tiff(image),
        "pnm": b"P6 7 6 255\n" + image.tobytes(),
    }
    files["text"] = b"P3 7 6 255 " + b" ".join(str(v).encode() for v in image.ravel())
    files["interlaced"] = png(image[..., :1] % 4, 2, 0, interlaced=True)
    files["jpeg"] = official.image_decoder_decode_jpeg_rgb.data.tobytes()
    return files


@pytest.mark.parametrize("name", samples())
def test_damaged_files_give_no_pixels_or_an_error(name):
    data = samples()[name]
    x = np.frombuffer(data, np.uint8)
    model = pyinfer.load(node_model("ImageDecoder", [x]))
    rng = np.random.default_rng(5)
    variants = [data[:n] for n in range(0, len(data), max(1, len(data) // 150))]
    for _ in range(500):
        changed = bytearray(data)
        for at in rng.integers(
            0, min(len(data), int(rng.choice([40, 200, len(data)]))), int(rng.integers(1, 4))
        ):
            changed[at] = int(rng.choice([0, 255, 127, 128, rng.integers(0, 256)]))
        variants.append(bytes(changed))
    for variant in variants:
        try:
            y = model.run({"x0": np.frombuffer(variant, np.uint8)})["y0"]
            assert y.dtype == np.uint8
            assert y.shape == (0, 0, 3) or (y.ndim == 3 and y.shape[2] == 3)
        except pyinfer.PyInferError:
            pass


def test_damage_is_told_from_pixels():
    image = pixels(6, 7)
    for data in (b"", b"P", b"text", bmp(image)[:-1], png(image, 8, 2)[:-30], tiff(image)[:-1]):
        assert decode(data).shape == (0, 0, 3)
    flipped = bytearray(png(image, 8, 2, level=0))
    flipped[80] ^= 1  # a byte of a stored block: the checksum tells
    assert decode(bytes(flipped)).shape == (0, 0, 3)
    assert decode(b"", "Grayscale").shape == (0, 0, 1)


def test_claims_are_checked_before_memory_is_spent():
    huge = bytearray(png(pixels(2, 2), 8, 2))
    huge[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    assert decode(bytes(huge)).shape == (0, 0, 3)
    jpeg = bytearray(samples()["jpeg"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff" * 4
    assert decode(bytes(jpeg)).shape == (0, 0, 3)
    assert decode(b"P6 99999999 99999999 255\n" + bytes(100)).shape == (0, 0, 3)


def test_the_stream_has_rank_one():
    model = node_model("ImageDecoder", [np.zeros((2, 2), np.uint8)])
    with pytest.raises(pyinfer.PyInferError):
        pyinfer.load(model).run({"x0": np.zeros((2, 2), np.uint8)})
