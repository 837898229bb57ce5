"""SHA-256 without OpenSSL: hashlib loads it, 3.6 MB of memory, for this one function."""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast


class Digest(Protocol):
    """Of the bytes so far."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def _interpreters_own() -> Callable[..., Digest]:
    for name in ("_sha2", "_sha256"):  # of Python 3.12, and of those before
        try:
            return cast(Callable[..., Digest], import_module(name).sha256)
        except (ImportError, AttributeError):
            continue
    import hashlib

    return hashlib.sha256


sha256 = _interpreters_own()
"""As hashlib's: of bytes, or of what `update` is given then."""
