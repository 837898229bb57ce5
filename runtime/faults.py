"""What can go wrong on the device, as one family that a caller can catch."""


class RuntimeFault(Exception):  # noqa: N818 RuntimeError is Python's own
    """A fault a user can act on: the message names the value, the rule and the way out."""


class BundleFault(RuntimeFault):
    """A bundle is missing, damaged, of an unknown version, or asks for what is not installed."""


class AudioFault(RuntimeFault):
    """A recording or a microphone cannot be read."""
