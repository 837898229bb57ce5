"""From teacher to winner: supernets, distillation, search, and the command line over it all."""


class CompressError(Exception):
    """A fault a user can act on: the message names the value, the rule and the way out."""


class CallError(CompressError):
    """What was asked makes no sense, whatever lies on the disk: a wrong call."""


class BudgetError(CompressError):
    """No subnet fits the limits that were given."""


__all__ = ["BudgetError", "CallError", "CompressError"]
