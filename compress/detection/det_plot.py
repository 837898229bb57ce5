"""A picture of detection error tradeoffs: misses over false alarms per hour."""

from pathlib import Path

import numpy as np

from runtime.atomic import replacing_file

from .results import Evaluation


def write_plot(evaluation: Evaluation, path: Path) -> None:
    """Draw a curve for each condition, over all keywords, and the bundle's own thresholds on it.

    Rates under one alarm in the hours heard cannot be told and are shaded; a curve that has no
    alarm at all is not drawn there. No miss at all is drawn at half of one.

    Args:
        evaluation: what was counted.
        path: the PNG to write; an older one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    axes = figure.subplots()
    hours = evaluation.alarms.hours
    least = 1.0 / hours
    rates = [least, *evaluation.plan.rates_per_hour]
    for condition, hits in evaluation.hits.items():
        floor = 0.5 / int(hits.words.sum())
        curve = np.array([(rate, miss) for _, rate, miss in evaluation.curve(condition)])
        told = curve[curve[:, 0] > 0.0]
        rates += told[:, 0].tolist()
        (line,) = axes.step(
            told[:, 0], np.maximum(told[:, 1], floor), where="pre", label=condition, linewidth=1.2
        )
        rate, miss = evaluation.own_point(condition)
        axes.plot(max(rate, least / 2.0), max(miss, floor), "o", color=line.get_color())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(rates) / 3.0, max(rates) * 1.5)
    axes.set_ylim(top=1.1)
    axes.axvspan(min(rates) / 3.0, least, color="0.9", zorder=0)
    for rate in evaluation.plan.rates_per_hour:
        axes.axvline(rate, color="0.6", linestyle=":", linewidth=0.8)
    axes.set_xlabel(f"false alarms per hour ({hours:.2f} h heard; shaded: under one alarm)")
    axes.set_ylabel("miss ratio")
    axes.set_title(f"{evaluation.about['bundle']}; dots: its own thresholds", fontsize=10)
    axes.grid(which="major", color="0.92")
    axes.legend(fontsize=8)
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
