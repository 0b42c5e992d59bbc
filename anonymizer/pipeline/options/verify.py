"""The option `verify`: whether a result is looked at again before it is handed over."""

from __future__ import annotations

from enum import StrEnum

from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import boolean, described

__all__ = ["VERIFY_HELP", "Verify", "verify_mode"]

VERIFY_HELP = (
    "look again at the finished file with half the thresholds: true redacts what is found, strict lets the file fail"
)


class Verify(StrEnum):
    """What happens with an object that is found only in the finished file; as a bool, `false` is False."""

    FALSE = "false"
    TRUE = "true"
    STRICT = "strict"

    def __bool__(self) -> bool:
        return self is not Verify.FALSE


def verify_mode(name: str, value: object) -> Verify:
    """Convert true, false or strict, in any case; true and false may be written as for other parameters.

    Args:
        name: the parameter, for the error.
        value: the text, a bool, or a `Verify`.

    Raises:
        InvalidParameter: the value is none of these.
    """
    if str(value).strip().lower() == Verify.STRICT:
        return Verify.STRICT
    try:
        return Verify.TRUE if boolean(name, value) else Verify.FALSE
    except InvalidParameter:
        raise InvalidParameter(name, value, "true, false or strict") from None


described(verify_mode, type="string", enum=[mode.value for mode in Verify])
