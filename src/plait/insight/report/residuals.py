"""What a number's answers miss by, and the rows that are furthest off."""

import numpy as np
from jaxtyping import Int64

from plait.data.targets.target import Target
from plait.display.markup import Html, cards, compact, figure, join, plots, signed, tag
from plait.insight.diagnose.mistakes import residuals
from plait.insight.report.context import Context
from plait.insight.report.contributions import cells
from plait.insight.report.scatter import Spot, grouped_scatter

ROWS_SHOWN = 6
"""Rows whose cells are shown."""

MAX_DOTS = 2000
"""Points in a plot at most."""


def numbers(context: Context, target: Target) -> Html:
    """Residual plots and worst rows of a number."""
    say, rows = context.say, np.flatnonzero(context.truths[target.name][1])
    truth = target.in_units(context.truths[target.name][0][rows])
    summary = residuals(truth, target.in_units(context.scores[target.name][rows]))
    spread = np.unique(np.linspace(0, len(rows) - 1, MAX_DOTS).astype(np.int64))
    worst = set(summary.worst.tolist())

    def spots(ys: np.ndarray) -> list[Spot]:
        return [
            Spot(
                float(truth[at]),
                float(ys[at]),
                0,
                f"{context.named_row(int(rows[at]))}: {compact(truth[at])} → "
                f"{compact(summary.answer[at])}",
                at in worst,
            )
            for at in spread.tolist()
        ]

    true = say("true", "真实值")
    ring = say(f"the {len(worst)} largest errors", f"误差最大的 {len(worst)} 行")
    answers = grouped_scatter(
        spots(summary.answer), [say("rows", "行")], title=say("Answers and truth", "答案与真实值"),
        axes=(true, say("answer", "答案")), ring=ring, guides=["diagonal"], size=(640, 400),
    )  # fmt: skip
    errors = grouped_scatter(
        spots(summary.error), [say("rows", "行")], title=say("Residuals", "残差"),
        axes=(true, say("answer − true", "答案 − 真实值")), ring=ring, guides=["level"], size=(640, 400),
    )  # fmt: skip
    return join(
        [
            plots(figure(answers), figure(errors)),
            _worst(context, rows[summary.worst], summary.worst, truth, summary.answer),
        ]
    )


def _worst(
    context: Context,
    places: Int64[np.ndarray, " worst"],
    order: Int64[np.ndarray, " worst"],
    truth: np.ndarray,
    answer: np.ndarray,
) -> Html:
    """The rows that are furthest off."""
    say = context.say
    shown = []
    for place, at in zip(places[:ROWS_SHOWN].tolist(), order[:ROWS_SHOWN].tolist(), strict=True):
        caption = compact(answer[at]) + say(", true: ", "，实为 ") + f"{compact(truth[at])} "
        gap = f"({signed(float(answer[at] - truth[at]))})"
        shown.append(card(context, place, join([caption, gap])))
    return join([tag("h4", say("Largest errors", "偏差最大的行")), cards(shown)])


def card(context: Context, place: int, caption: Html) -> Html:
    """One row: what is said of it, and its cells."""
    return join([tag("h4", context.named_row(place)), tag("p", caption), cells(context, place)])
