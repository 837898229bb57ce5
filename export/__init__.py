"""From a dense module to a bundle that carries its own proof."""


class ExportError(Exception):
    """A model cannot be exported as asked, or the exported form differs from the trained one."""


__all__ = ["ExportError"]
