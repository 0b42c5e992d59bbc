"""Sign receipts and check their signatures, with Ed25519 (RFC 8032)."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anonymizer.pipeline.errors import InvalidParameter

__all__ = ["SigningKey", "key_id", "load_public_key", "make_key", "public_file", "verify"]

_PUBLIC = "an Ed25519 public key: a PEM file, such as `anonymizer receipt-key` writes"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. Its `repr` shows only which one it is.

    Attributes:
        private: the key.
    """

    private: Ed25519PrivateKey

    def __repr__(self) -> str:
        """The id of the public key."""
        return f"SigningKey({key_id(self.private.public_key())})"

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, parameter: str = "key") -> SigningKey:
        """Load a private key.

        Args:
            path: a PEM file (PKCS 8, without a password) that only its owner may read or write (mode 0600).
            parameter: what the error calls the path.

        Raises:
            InvalidParameter: the file cannot be read, is open to others, or holds no Ed25519 private key.
        """
        file = Path(path)
        try:
            with file.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                content = opened.read()
        except OSError as error:
            raise InvalidParameter(parameter, path, f"a file that can be read ({error.strerror})") from None
        if mode & 0o077:
            raise InvalidParameter(parameter, path, "a file that only its owner may read or write: `chmod 600` does it")
        try:
            private = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidParameter(parameter, path, "an Ed25519 private key as PEM: `anonymizer receipt-key` makes one")
        return cls(private)

    def sign(self, content: bytes) -> dict[str, str]:
        """Sign bytes.

        Returns:
            `algorithm`, `key_id`, `public_key` (base64 of 32 bytes) and `value` (base64 of 64 bytes).
        """
        public = self.private.public_key()
        return {
            "algorithm": "Ed25519",
            "key_id": key_id(public),
            "public_key": _text(public.public_bytes_raw()),
            "value": _text(self.private.sign(content)),
        }


def make_key(path: str | os.PathLike[str]) -> SigningKey:
    """Make a key: the private one in a new file of mode 0600, the public one beside it in `PATH.pub`.

    Args:
        path: the new file; missing folders are created.

    Raises:
        InvalidParameter: there is such a file already, or it cannot be written.
    """
    private, file = Ed25519PrivateKey.generate(), Path(path)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for place, content, mode in ((file, pem, 0o600), (public_file(file), public, 0o644)):
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(content)
    except FileExistsError as error:
        raise InvalidParameter("path", error.filename, "a new file: an old key is never replaced") from None
    except OSError as error:
        raise InvalidParameter("path", path, f"a file that can be written ({error.strerror})") from None
    return SigningKey(private)


def public_file(path: Path) -> Path:
    """The path of the public key beside a private key."""
    return path.with_name(path.name + ".pub")


def load_public_key(path: str | os.PathLike[str], *, parameter: str = "key") -> Ed25519PublicKey:
    """Load a public key.

    Args:
        path: a PEM file.
        parameter: what the error calls the path.

    Raises:
        InvalidParameter: the file cannot be read, or holds no Ed25519 public key.
    """
    try:
        loaded = serialization.load_pem_public_key(Path(path).read_bytes())
    except OSError as error:
        raise InvalidParameter(parameter, path, f"a file that can be read ({error.strerror})") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidParameter(parameter, path, _PUBLIC) from None
    if not isinstance(loaded, Ed25519PublicKey):
        raise InvalidParameter(parameter, path, _PUBLIC)
    return loaded


def verify(public: Ed25519PublicKey, content: bytes, value: str) -> bool:
    """Tell whether a signature is that of this key over these bytes.

    Args:
        public: the key that is trusted.
        content: what was signed.
        value: base64 of the signature.
    """
    try:
        public.verify(base64.b64decode(value, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_id(public: Ed25519PublicKey) -> str:
    """A short name of a public key: the first 16 hexadecimal digits of its sha256."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
