"""The properties that make a picture a panorama (GPano, in XMP): read from the original, and written anew.

Only numbers, the two switches and the projection are kept. The rest of XMP is dropped: it may hold pictures and names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

__all__ = ["MOST_BYTES", "Panorama", "read_panorama", "write_panorama"]

#: The largest XMP packet that is read. A JPEG's segment holds 64 KB; programs that note each edit write more in TIFF.
MOST_BYTES = 2**20
#: Values by the name of the property; empty for a picture that is no panorama.
Panorama = Mapping[str, str]

_NAMESPACE = "http://ns.google.com/photos/1.0/panorama/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NUMBERS = {
    *(f"Pose{axis}Degrees" for axis in ("Heading", "Pitch", "Roll")),
    *(f"InitialView{axis}Degrees" for axis in ("Heading", "Pitch", "Roll")),
    *("InitialHorizontalFOVDegrees", "InitialVerticalFOVDegrees", "InitialCameraDolly", "SourcePhotosCount"),
    *("CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels", "CroppedAreaLeftPixels", "CroppedAreaTopPixels"),
    *("FullPanoWidthPixels", "FullPanoHeightPixels"),
    *(f"LargestValidInteriorRect{side}" for side in ("Left", "Top", "Width", "Height")),
}
_SWITCHES = {"UsePanoramaViewer", "ExposureLockUsed"}
_PROJECTION, _PROJECTIONS = "ProjectionType", {"equirectangular", "cylindrical", "fisheye", "cubemap"}
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,12})?")


def read_panorama(xmp: bytes | None) -> Panorama:
    """Read the properties of a panorama.

    Args:
        xmp: an XMP packet, or None.

    Returns:
        Numbers, switches and the projection by the name of the property, without duplicates. It is empty if the packet
        has none, is no XML, has more than `MOST_BYTES`, or declares a document type.
    """
    # a document type may define entities, which grow without end
    if not xmp or len(xmp) > MOST_BYTES or b"<!" in xmp.replace(b"\0", b"").replace(b"<!--", b""):
        return {}
    is_wide = xmp.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        root = ElementTree.fromstring(xmp if is_wide else xmp.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    found: dict[str, str] = {}
    for node in root.iter(f"{{{_RDF}}}Description"):
        values = [*node.attrib.items(), *((child.tag, child.text or "") for child in node)]
        for qualified, value in values:
            namespace, _, name = qualified.removeprefix("{").partition("}")
            if namespace == _NAMESPACE and _is_allowed(name, value.strip()):
                found.setdefault(name, value.strip())
    return found


def _is_allowed(name: str, value: str) -> bool:
    if name in _NUMBERS:
        return _NUMBER.fullmatch(value) is not None
    if name in _SWITCHES:
        return value.lower() in ("true", "false")
    return name == _PROJECTION and value.lower() in _PROJECTIONS


def write_panorama(panorama: Panorama) -> bytes:
    """Write an XMP packet with the properties of a panorama, and nothing else.

    Args:
        panorama: from `read_panorama`.

    Returns:
        The packet, UTF-8; empty if there are no properties.
    """
    if not panorama:
        return b""
    rows = "".join(f"\n   <GPano:{name}>{escape(value)}</GPano:{name}>" for name, value in panorama.items())
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'>\n"
        f" <rdf:RDF xmlns:rdf='{_RDF}'>\n"
        f"  <rdf:Description rdf:about='' xmlns:GPano='{_NAMESPACE}'>{rows}\n"
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end='r'?>"
    ).encode()
