"""A bundle that hears phones, or a word why it is none."""

from pathlib import Path

from runtime.bundle import Bundle, read_bundle
from runtime.manifest_rules import PHONES

from .. import CallError


def phones_bundle(path: Path) -> Bundle:
    """A bundle, if it is one of phones.

    Raises:
        CallError: it is of another task.
        BundleFault: it is none.
    """
    bundle = read_bundle(path)
    if bundle.manifest.task != PHONES:
        raise CallError(
            f"{path} tells {bundle.manifest.task}, and pronunciation is judged by phones; export a "
            "run of a recipe such as phones-tcn"
        )
    return bundle
