"""Receivers of webhooks on this machine, good and bad ones. Each is a real server behind a socket."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["Receiver", "answer", "certificate", "drip", "endless"]

Script = Callable[[socket.socket], None]


class Receiver:
    """Keeps each request as raw bytes, and answers with the scripts in turn; the last one serves all later requests."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._scripts, self._context = list(scripts), context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/hook?a=1"

    def stop(self) -> None:
        self._listener.close()

    def header(self, name: str, number: int = -1) -> str | None:
        """The value of a header of a request, by default of the last one."""
        lines = self.requests[number].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        values = [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}:")]
        assert len(values) <= 1, values
        return values[0] if values else None

    def body(self, number: int = -1) -> bytes:
        return self.requests[number].partition(b"\r\n\r\n")[2]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connected,), daemon=True).start()

    def _answer(self, connected: socket.socket) -> None:
        # a client that went away, or that does not trust the certificate
        with suppress(OSError), connected:
            if self._context is not None:
                connected = self._context.wrap_socket(connected, server_side=True)
            with connected:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += _some(connected)
                head, _, body = request.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(body) < length:
                    part = _some(connected)
                    body, request = body + part, request + part
                self.requests.append(request)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                script(connected)


def _some(connected: socket.socket) -> bytes:
    """The next bytes. A sender that was killed sends none."""
    part = connected.recv(65536)
    if not part:
        raise ConnectionResetError("the sender is gone")
    return part


def answer(status: int, body: bytes = b"", *headers: str) -> Script:
    """Answer at once."""
    lines = [f"HTTP/1.1 {status} Some", f"Content-Length: {len(body)}", *headers, "", ""]
    return lambda connected: connected.sendall("\r\n".join(lines).encode() + body)


def drip(pause_s: float, *, headers: bool = False) -> Script:
    """Answer with a byte at a time, so that no limit for one read is ever reached."""

    def slow(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 200 OK\r\n" + (b"" if headers else b"Content-Length: 1000\r\n\r\n"))
        for _ in range(1000):
            connected.sendall(b"x")
            time.sleep(pause_s)

    return slow


def endless(sent: list[int], *headers: str) -> Script:
    """Answer with zeros without an end, and count them in megabytes."""

    def floods(connected: socket.socket) -> None:
        connected.sendall("\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode())
        while True:
            connected.sendall(bytes(2**20))
            sent.append(1)

    return floods


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for one name that nobody else trusts, and the context of a server that has it."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context
