"""What to say where a package that only one way needs is not installed."""

from runtime.faults import one_line

from . import ExportError


def optimum_missing(what: str, fault: ImportError) -> ExportError:
    """The error for something that only optimum does.

    Args:
        what: begins the sentence, such as "--quantizer optimum".
        fault: of the import.
    """
    return ExportError(
        f"{what} needs optimum with its ONNX part ({one_line(fault)}): "
        'pip install "otolite[optimum]" in an environment of its own, since optimum-onnx wants '
        "transformers older than 4.58 and the rest of Otolite is tested beside a newer one"
    )
