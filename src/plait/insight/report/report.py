"""`Predictor.report`: the page, section by section, to a file."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from jaxtyping import Int64

from plait.data.features import PreparedTable
from plait.data.table.quarantine import Entry, Quarantine
from plait.data.table.source import Table, open_table
from plait.display.markup import Html, join, named
from plait.display.page import document
from plait.display.progress import Reporter, Silent
from plait.display.section import LANGUAGES, Language, Section
from plait.errors import ConfigError, TableError, check_keywords, counted, error_line, unknown
from plait.insight.explain.explanation import only
from plait.insight.fitted import Fitted
from plait.insight.report import (
    contributions,
    data,
    map,
    mistakes,
    robustness,
    summary,
    training,
    trust,
    within,
)
from plait.insight.report.context import BRIEF, Context, Limits, some_rows
from plait.insight.report.row import row_sections
from plait.sealed import write_whole

FILE = "report.html"
"""What the report of a fit is called, in the run's folder."""

SEEDS = 2**32
"""Seeds are below it."""

Make = Callable[[Context], Section | None]

SECTIONS: tuple[Make, ...] = (
    summary.section,
    contributions.section,
    within.section,
    robustness.section,
    trust.section,
    mistakes.section,
    data.section,
    map.section,
    training.section,
)
"""The parts of a report, in order."""


class ReportOptions(TypedDict, total=False):
    """How a report is written, and what it is compared with.

    Attributes:
        language: ``en`` (default) or ``zh``.
        train: the table the model was fitted to, to compare with; None: where the run says it was.
        run: the folder of the run, for what training wrote down; None: what the model keeps.
        limits: how many rows are looked at.
        seed: of everything drawn; default: 0.
    """

    language: str
    train: Any
    run: Path | str | None
    limits: Limits | None
    seed: int


def report(
    fitted: Fitted,
    source: Any,
    path: Path | str,
    *,
    root: Path | str | None = None,
    row: int | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[ReportOptions],
) -> Path:
    """`plait.Predictor.report`, which says what it takes and gives."""
    check_keywords(options, ReportOptions.__annotations__)
    train, run, seed = options.get("train"), options.get("run"), options.get("seed", 0)
    language, place = check_language(options.get("language", "en")), check_path(path, source, train)
    _check_seed(seed)
    table, limits = _opened(fitted, source, root), options.get("limits") or Limits()
    learnt = None if train is None else _opened(fitted, train, root, "train: ")
    rows = np.unique(np.linspace(0, table.rows - 1, limits.rows).astype(np.int64))
    if row is not None:
        looked, rows = only(table, row), np.array([row])
    else:
        looked = table if len(rows) == table.rows else table.take(rows)
    context = Context(
        fitted,
        looked,
        rows,
        table.rows,
        language=language,
        limits=limits,
        seed=seed,
        run=None if run is None else Path(run),
        train=learnt,
        about=table.name,
        reporter=reporter or Silent(),
    )
    return write(context, place, whole=row is None)


def report_held_out(
    model: Fitted,
    table: Table,
    rows: Int64[np.ndarray, " rows"],
    prepared: PreparedTable,
    folder: Path,
    reporter: Reporter,
) -> Path | None:
    """The report at the end of a fit, on its validation rows, to ``report.html`` in the run's folder.

    It looks at few rows (`plait.insight.report.context.BRIEF`). A file that cannot be written is
    noted: the model is saved by then.

    Args:
        table, prepared: of the whole fit.
        rows: the validation rows.
    """
    spread = rows[np.unique(np.linspace(0, len(rows) - 1, BRIEF.rows).astype(np.int64))]
    places = {int(row): place for place, row in enumerate(spread)}
    quarantine = Quarantine(
        Entry(places[entry.row], entry.column, entry.reason)
        for entry in prepared.quarantine.entries
        if entry.row in places
    )
    context = Context(
        model,
        table.take(spread),
        spread,
        len(rows),
        language="zh" if model.config.report == "zh" else "en",
        limits=BRIEF,
        seed=model.config.seed,
        run=folder,
        train=table,
        held=True,
        reporter=reporter,
        given=PreparedTable(some_rows(prepared.columns, spread), quarantine, prepared.absent),
    )
    context.about = context.say(
        f"{table.name}, held out for validation with seed {model.config.seed}",
        f"{table.name}，以种子 {model.config.seed} 留出的验证集",
    )
    try:
        return write(context, folder / FILE)
    except ConfigError as error:
        reporter.note(str(error))
        return None


def write(context: Context, place: Path, *, whole: bool = True) -> Path:
    """Make the page and write it, so that a kill leaves no half of it.

    Args:
        whole: about all rows; else about the only one.
    """
    for line in summary.strangers(context, "en") if whole else ():
        context.reporter.note(line)
    text = page_of(context) if whole else row_page(context)
    try:
        write_whole(place, text)
    except OSError as error:
        raise ConfigError(
            [f"the report could not be written to {place}: {error_line(error)}."]
        ) from error
    return place


def page_of(context: Context) -> str:
    """The page as text."""
    made = _sections(context)
    names = ", ".join(target.name for target in context.model.targets)
    title = context.say(f"Report on {names}", f"{names} 的报告")
    lead = context.say(f"{counted(len(context))} of ", f"{len(context):,} 行，来自 ")
    return document(
        title,
        join([lead, named(context.about)]),
        made,
        language=context.language,
        footer=_footer(context),
    )


def row_page(context: Context) -> str:
    """The page about one row as text."""
    row = context.rows[0]
    return document(
        context.say(f"Row {row}, explained", f"第 {row} 行的解释"),
        join([context.say("of ", "来自 "), named(context.about)]),
        row_sections(context),
        language=context.language,
        footer=_footer(context),
    )


def _sections(context: Context) -> list[Section]:
    sections = []
    with context.reporter.stage("report", len(SECTIONS), "parts") as stage:
        for make in SECTIONS:
            section = make(context)
            if section is not None:
                sections.append(section)
            stage.advance(1)
    return sections


def _footer(context: Context) -> Html:
    made = context.say(
        f"Made by plait {version('plait')}, seed {context.seed}. This page is one file: no script, "
        "nothing loaded from elsewhere.",
        f"由 plait {version('plait')} 生成，随机种子 {context.seed}。"
        "本页为单个文件：无脚本，不从别处加载任何内容。",
    )
    if not context.album.left_out:
        return join([made])
    return join(
        [
            made,
            " ",
            context.say(
                f"{context.album.left_out} images or sounds were left out to keep it small.",
                f"为控制大小，省略了 {context.album.left_out} 个图片或声音。",
            ),
        ]
    )


def check_language(language: str) -> Language:
    """The language, refused where reports are not in it.

    Raises:
        ConfigError: naming those they are in.
    """
    for known in LANGUAGES:
        if language == known:
            return known
    raise ConfigError([f"language: {unknown('language', language, LANGUAGES)}"])


def check_path(path: Path | str, *sources: Any, name: str = "output") -> Path:
    """The file to write, refused before any work where it cannot be one.

    Args:
        sources: what is read for it; tables in memory cannot be replaced.
        name: of the option, for messages.

    Raises:
        ConfigError: it is a folder, its folder is not there, it is a file that is read for it, or its
            name does not end in .html, as no file of a bundle does.
    """
    place = Path(path)
    if place.is_dir():
        raise ConfigError(
            [f"{name}: '{place}' is a folder; name a file, such as {place / 'report.html'}."]
        )
    if not place.parent.is_dir():
        raise ConfigError([f"{name}: there is no folder '{place.parent}' to write to."])
    for source in sources:
        given = isinstance(source, str | Path) and place.exists() and Path(source).exists()
        if given and place.samefile(source):
            raise ConfigError(
                [
                    f"{name}: '{place}' is the table being read; writing there would replace it. Name "
                    "another file."
                ]
            )
    if place.suffix.lower() != ".html":
        raise ConfigError(
            [
                f"{name}: a report is an HTML page, and '{place}' does not end in .html; name it "
                f"{place.with_suffix('.html').name}."
            ]
        )
    return place


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise ConfigError([f"seed={seed}: input should be from 0 to {SEEDS - 1}."])


def _opened(model: Fitted, source: Any, root: Path | str | None, which: str = "") -> Table:
    """A table that has some of the model's columns."""
    table = open_table(source, root=root)
    _check_columns(model, table, which)
    return table


def _check_columns(model: Fitted, table: Table, which: str = "") -> None:
    known: Sequence[str] = list(model.features.modalities)
    if not set(known) & set(table.columns):
        raise TableError(
            f"{which}{table.name} has none of the model's input columns ({', '.join(known)}); it has "
            f"{', '.join(table.columns)}. Rename its columns, or pass the right table."
        )
