"""A certificate authority for one test, and a certificate of this machine's that it signed."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .ports import LOOPBACK

__all__ = ["Certificates"]


class Certificates:
    """PEM files in `folder`: `authority` to trust, `certificate` and `key` for a server on the loopback interface.

    `client_certificate` and `client_key`, of the same authority, are for servers that ask who calls.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.certificate, self.key = _issue(authority, folder, "server", LOOPBACK, "localhost")
        self.client_certificate, self.client_key = _issue(authority, folder, "client", "client@localhost")

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows `certificate`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts `authority` alone."""
        return ssl.create_default_context(cafile=self.authority)


def _issue(authority: trustme.CA, folder: Path, name: str, *identities: str) -> tuple[Path, Path]:
    leaf = authority.issue_cert(*identities)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
    private = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # Java reads no other
    return certificate, key
