"""Run a bundle as a stream, with numpy and one engine."""

from . import microphone
from .bundle import Manifest
from .faults import AudioFault, BundleFault, RuntimeFault
from .keyword import Event
from .listen import listen
from .phone_stream import Frames, PhoneStream
from .stream import Model, Stream, load

__all__ = [
    "AudioFault",
    "BundleFault",
    "Event",
    "Frames",
    "Manifest",
    "Model",
    "PhoneStream",
    "RuntimeFault",
    "Stream",
    "listen",
    "load",
    "microphone",
]
