"""`plait fusions`: which fusion methods there are, six to start with and the rest by family."""

import re
from typing import Any

from plait.cli.app import AsJson, app, out, print_json, say

STARTERS = ("hybrid", "concat", "late", "attention", "weighted", "mapping")
"""Shown first: the default, the baseline of `plait compare`, and one for each common situation."""

FAMILIES = {
    "basic": {
        "concat": "one perceptron on all streams' vectors side by side; the baseline",
        "early": "concat with residual layers, fused from the first layer on",
        "weighted": "a weighted sum; the weights differ from row to row",
        "mapping": "streams mapped into one space, then averaged",
        "sum": "the streams' vectors added",
        "mean": "the streams' vectors averaged",
        "max": "the largest value of each number",
        "deepsets": "the streams as a set, of any size",
        "gmu": "a gate per stream, number by number",
        "embrace": "each number drawn from one stream; robust to missing ones",
        "centralnet": "a central network that reads every layer of the towers",
        "mmtm": "towers that recalibrate each other's channels",
    },
    "bilinear": {
        "tensor": "every product of numbers of all streams; few, narrow streams",
        "lowrank": "the same at low rank; any number of streams",
        "multiplicative": "one stream after the other, multiplied in",
        "mcb": "compact bilinear pooling by count sketches",
        "mlb": "low-rank bilinear pooling of each pair",
        "mfb": "the same with sum pooling",
        "mutan": "a Tucker decomposition of each pair",
        "block": "a block-term decomposition of each pair",
    },
    "conditioning": {
        "film": "each stream scaled and shifted by the others",
        "nlgate": "each stream attends to the others through a gate",
        "channel": "channels gated by all streams",
    },
    "attention": {
        "attention": "a fused token and a few tokens per stream attend to each other",
        "coattention": "each pair of streams attends to each other; short streams",
        "mult": "tokens of each stream attend to every other stream",
        "onestream": "all tokens in one transformer; short streams",
        "bottleneck": "streams exchange through a few shared tokens; long streams",
        "perceiver": "learned latents read all tokens; long streams",
        "qformer": "learned queries read each stream; long streams",
    },
    "experts and graphs": {
        "experts": "a gate sends each row to a few of many perceptrons",
        "graph": "graph attention between the streams; many streams",
    },
    "late": {
        "late": "each stream answers alone, the answers are combined",
        "hybrid": "late, with concat as one more voter; the default",
        "product": "the streams' answers multiplied",
        "dempster": "evidence combined by Dempster's rule, with its uncertainty",
        "qmf": "each stream's answer weighted by its confidence, row by row",
    },
    "generative": {
        "mvae": "product of the streams' posteriors",
        "mmvae": "mixture of the streams' posteriors",
        "mopoe": "mixture of products over all subsets of streams",
        "gan": "missing streams translated from the present ones",
        "mctn": "a code that can be translated into every other stream",
    },
    "alignment": {
        "dcca": "streams trained to correlate",
        "contrastive": "vectors of one row pulled together, of different rows apart",
        "misa": "what streams share and what is private, apart",
    },
    "missing streams": {
        "shaspec": "shared and specific features; the shared ones stand in",
        "actionmae": "tokens of missing streams predicted from the others",
    },
}
"""Family → fusion → what it does, in a line. The docs' fusion catalogue has formulas and papers."""


@app.command(rich_help_panel="Look")
def fusions(as_json: AsJson = False) -> None:
    """List the fusion methods, each in a line: six to start with, then the rest by family.

    Choose one with --fusion NAME, or compare several:
    plait compare --fusion NAME,NAME.

    Example: [bold]plait fusions[/bold]
    """
    from plait.cli.tables import grid

    methods = listed()
    if as_json:
        print_json(methods)
        return
    groups: dict[str, list[list[str]]] = {"To start with": []}
    for name in sorted(methods, key=lambda name: (*STARTERS, name).index(name)):
        method = methods[name]
        title = "To start with" if name in STARTERS else method["family"].capitalize()
        kinds = f" (targets: {', '.join(method['targets'])})" if method["targets"] else ""
        groups.setdefault(title, []).append([name, method["about"] + kinds])
    for title, rows in groups.items():
        out.print(f"[bold]{title}[/bold]")
        out.print(grid(["", ""], [["  " + name, about] for name, about in rows], left=2))
    say(out, "Targets: every kind, if not stated otherwise.")


def listed() -> dict[str, dict[str, Any]]:
    """Every registered fusion: its family, what it does, and its kinds of target if they are limited."""
    from plait.data.targets.registry import kinds_of
    from plait.model.fusion.registry import FUSIONS

    known = {
        name: (family, about) for family, names in FAMILIES.items() for name, about in names.items()
    }
    methods = {}
    for name, kind in FUSIONS.items():
        summary = _plain((kind.__doc__ or "").strip().partition("\n")[0])
        family, about = known.get(name, ("registered elsewhere", summary))
        limited = kinds_of(kind.heads or ())
        methods[name] = {"family": family, "about": about, "targets": limited}
    return methods


def _plain(line: str) -> str:
    """A line of a docstring without its markup: roles, code quotes, emphasis."""
    return re.sub(r":\w+:(?=`)|`+~?|\*\*", "", line)
