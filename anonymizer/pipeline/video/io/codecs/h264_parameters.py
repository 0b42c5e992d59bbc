"""What the parameter sets of H.264 (ITU-T H.264, 7.3.2) say about pixels and pictures that are never shown."""

from __future__ import annotations

from anonymizer.pipeline.video.io.codecs.unit_bits import UnitBits

__all__ = ["has_redundant_pictures", "hides_pixels"]

#: profiles whose sequence parameter sets state the chroma format
_WITH_CHROMA = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244})
#: width and height of a chroma sample in pixels, by chroma format
_CHROMA = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}
#: width and height of a macroblock: sizes are multiples of it
_BLOCK = 16


def hides_pixels(sps: bytes) -> bool:
    """Tell whether a cropping window hides more than what fills up the last macroblocks.

    Args:
        sps: a sequence parameter set, with its header.

    Returns:
        True if pixels at the left or the top are hidden, or a whole macroblock or more at the right or the bottom. True
        also if the parameter set cannot be read.
    """
    try:
        return _hides_pixels(UnitBits(sps[1:]))
    except (EOFError, KeyError):
        return True


def has_redundant_pictures(pps: bytes) -> bool:
    """Tell whether pictures may come a second time, which decoders pass over.

    Args:
        pps: a picture parameter set, with its header.

    Returns:
        True also if the parameter set cannot be read, or has several slice groups.
    """
    bits = UnitBits(pps[1:])
    try:
        bits.golomb()
        bits.golomb()
        bits.read(2)
        if bits.golomb():
            return True
        bits.golomb()
        bits.golomb()
        # weighted prediction
        bits.read(3)
        for _ in range(3):
            bits.golomb()
        # deblocking, constrained prediction
        bits.read(2)
        return bool(bits.read(1))
    except EOFError:
        return True


def _hides_pixels(bits: UnitBits) -> bool:
    profile = bits.read(8)
    bits.read(16)
    bits.golomb()
    chroma = _read_chroma(bits) if profile in _WITH_CHROMA else 1
    # the length of a picture's number, then how its order is stated
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    bits.read(1)
    # width and height in macroblocks
    bits.golomb()
    bits.golomb()
    fields = 1 if bits.read(1) else 2
    if fields == 2:
        bits.read(1)
    bits.read(1)
    if not bits.read(1):
        return False
    left, right, top, bottom = (bits.golomb() for _ in range(4))
    width, height = _CHROMA[chroma]
    return bool(left or top or right * width >= _BLOCK or bottom * height * fields >= _BLOCK * fields)


def _read_chroma(bits: UnitBits) -> int:
    """Read the chroma format, bit depths and scaling lists; 0: grey, or three planes coded apart."""
    chroma = bits.golomb()
    apart = chroma == 3 and bits.read(1)
    bits.golomb()
    bits.golomb()
    bits.read(1)
    if bits.read(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return 0 if apart else chroma


def _skip_scaling_list(bits: UnitBits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + ((code + 1) // 2 if code & 1 else -(code // 2))) % 256
        last = following or last
