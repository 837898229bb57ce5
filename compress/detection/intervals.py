"""How far counts can be trusted: exact bounds of a Poisson rate and of a binomial share."""

CONFIDENCE = 0.95
"""Of every bound here and in what the command line prints."""


def poisson_upper(count: int, hours: float, confidence: float = CONFIDENCE) -> float:
    """The highest rate per hour that a count does not rule out; one-sided and exact.

    At this rate, so few or fewer events come up with a probability of 1 - confidence. No event in
    T hours gives -ln(1 - confidence) / T, at 95 % about 3 / T.

    Args:
        count: events, 0 or more.
        hours: time in which they were counted, above 0.
        confidence: in (0, 1).

    Raises:
        ValueError: a value outside its range.

    Source: Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28, 1936; a half of
    the chi-square quantile with 2 (count + 1) degrees of freedom is this gamma quantile.
    """
    if count < 0 or not hours > 0.0:
        raise ValueError(f"count must be 0 or more in hours above 0, got {count} in {hours}")
    _check(confidence)
    from scipy.stats import gamma

    return float(gamma.ppf(confidence, count + 1)) / hours


def binomial_interval(
    count: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The shares that a count out of a total does not rule out; two-sided, Clopper and Pearson's.

    Args:
        count: in [0, total].
        total: trials, 0 or more; none leave everything possible.
        confidence: in (0, 1).

    Raises:
        ValueError: a value outside its range.

    Source: Clopper, Pearson, Biometrika 26, 1934, by quantiles of the beta distribution.
    """
    if not 0 <= count <= total:
        raise ValueError(f"count must lie in [0, {total}], got {count}")
    _check(confidence)
    from scipy.stats import beta

    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(1.0 - tail, count + 1, total - count))
    return low, high


def _check(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
