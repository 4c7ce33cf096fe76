"""Propose a modality and a role for every column, each with the reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from plait.config import Role
from plait.data.modalities.base import Evidence, Settings
from plait.data.modalities.categorical import CategoricalModality
from plait.data.modalities.registry import MODALITIES
from plait.data.table import columns as column_facts
from plait.data.table.columns import Facts, example
from plait.data.table.giveaway import giveaways
from plait.data.table.source import Table
from plait.data.targets.cells import as_number
from plait.display.notebook import block, grid
from plait.errors import SchemaError, counted, suggest, unknown

_IGNORE_WORDS = ("ignore", "ignored")
_CODES = CategoricalModality.name
"""What numbers are read as that are codes and no quantities."""


@dataclass(frozen=True)
class ColumnPlan:
    """What one column is for.

    Attributes:
        name: of the column.
        role: input, target, group or ignored.
        modality: how an input is read; None for other roles.
        reason: why, in words to show the user.
        quality: figures: ``missing`` and ``duplicates`` (shares from 0 to 1), ``distinct`` values among
            the ``counted`` cells, the ``commonest`` value and its share, some ``examples``.
    """

    name: str
    role: Role
    modality: str | None
    reason: str
    quality: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """Every column's plan.

    Attributes:
        columns: in the table's order.
        rows: of the table it was proposed for.
        repeated_rows: how many rows repeat an earlier one in every column; None when columns hold
            bytes or arrays, which are not compared.
        warnings: what a user should know about the data, a sentence each.
    """

    columns: tuple[ColumnPlan, ...]
    rows: int = 0
    repeated_rows: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, str]:
        """Modality by name of each input column, in order."""
        return {c.name: c.modality for c in self.columns if c.role == "input" and c.modality}

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict."""
        return tuple(column.name for column in self.columns if column.role == "target")

    @property
    def group(self) -> str | None:
        """The column whose values stay on one side of a split."""
        return next((column.name for column in self.columns if column.role == "group"), None)

    def _repr_html_(self) -> str:
        """Every column's plan, for a notebook."""
        rows = [
            [
                column.name,
                column.role,
                column.modality,
                f"{column.quality['missing']:.1%}" if "missing" in column.quality else None,
                column.quality.get("examples", []),
                column.reason,
            ]
            for column in self.columns
        ]
        head = ["column", "role", "read as", "missing", "examples", "why"]
        return block(f"Schema of {counted(self.rows)}", grid(head, rows, 200), notes=self.warnings)

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            **asdict(self),
            "columns": [asdict(column) for column in self.columns],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Schema":
        """What `to_json` gave."""
        columns = tuple(ColumnPlan(**column) for column in data["columns"])
        return cls(**{**data, "columns": columns, "warnings": tuple(data["warnings"])})


def propose(
    table: Table,
    targets: Sequence[str],
    settings: Settings,
    *,
    columns: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    group: str | None = None,
) -> Schema:
    """Choose a role and a modality for every column of a table.

    Args:
        table: looked at, not read whole: 300 cells a column for the modality, up to 100,000 rows for the
            distinct values, all rows for the missing ones.
        targets: columns to predict; none for a mere look at the data.
        settings: opens the first media cells.
        columns: modality by column where the user knows better; ``ignore`` leaves one out.
        ignore: columns to leave out.
        group: the column whose values stay on one side of the split.

    Raises:
        SchemaError: listing everything that contradicts itself or the table.
    """
    given = dict(columns or {})
    left_out = {*ignore, *(name for name, word in given.items() if word in _IGNORE_WORDS)}
    forced = {name: word for name, word in given.items() if word not in _IGNORE_WORDS}
    _check_request(table, targets, forced, left_out, group)
    facts = {name: column_facts.count(table, name) for name in table.columns}
    plans = []
    warnings: list[str] = []
    for name in table.columns:
        role: Role
        if name in targets:
            role, modality, reason = "target", None, "the column to predict"
        elif name == group:
            role, modality = "group", None
            reason = "its rows stay on one side of the split; as an input it would give them away"
        elif name in left_out:
            role, modality, reason = "ignored", None, "as requested"
        else:
            answers = {target: facts[target] for target in targets}
            role, modality, reason = _plan(name, table, facts[name], answers, settings, forced)
        plans.append(ColumnPlan(name, role, modality, reason, facts[name].quality()))
        warnings += _warn(plans[-1], facts[name], {target: facts[target] for target in targets})
        if group is None and role == "input":  # rows can be split by one column only
            hints = column_facts.source(name, modality or "", facts[name])
            warnings += [f"{name}: {hint}" for hint in hints]
    flagged = {name for name, fact in facts.items() if _gives_away(fact, facts, targets)}
    unflagged = [plan.name for plan in plans if plan.role == "input" and plan.name not in flagged]
    warnings += giveaways(table, unflagged, targets)
    repeated = column_facts.repeated_rows(list(facts.values()))
    if repeated:
        warnings.append(
            f"{counted(repeated, 'row repeats', 'rows repeat')} an earlier row in every column"
        )
    schema = Schema(tuple(plans), table.rows, repeated, tuple(warnings))
    _check_result(schema, facts, targets, forced)
    return schema


def _check_request(
    table: Table,
    targets: Sequence[str],
    forced: Mapping[str, str],
    left_out: set[str],
    group: str | None,
) -> None:
    """Everything wrong with what the user asked for, in one error."""
    known = set(table.columns)
    problems = []
    places = [("target", targets), ("column", forced), ("ignored column", sorted(left_out))]
    for place, names in [*places, ("group", [group] if group is not None else [])]:
        problems += [
            f"{place} '{name}': {table.name} has no such column.{suggest(name, table.columns)} "
            f"Its columns: {', '.join(table.columns)}."
            for name in dict.fromkeys(names)
            if name not in known
        ]
    for name in dict.fromkeys(targets):
        if list(targets).count(name) > 1:
            problems.append(
                f"target '{name}' is named {list(targets).count(name)} times; name it once."
            )
        if name in left_out:
            problems.append(f"'{name}' is both a target and ignored; choose one.")
        if name in forced:
            problems.append(
                f"'{name}' is both a target and an input ({forced[name]}): a model that sees the answer "
                "learns nothing else. Leave it out of the columns."
            )
        if name == group:
            problems.append(f"'{name}' is both a target and the group; choose one.")
    for name in sorted(left_out & {*forced, group or ""}):
        role = "the group" if name == group else f"an input ({forced[name]})"
        problems.append(f"'{name}' is both ignored and {role}; choose one.")
    if group is not None and group in forced:
        problems.append(
            f"'{group}' is both the group and an input ({forced[group]}): what splits the rows must "
            "not be learnt from. Choose one."
        )
    for name, modality in forced.items():
        if modality not in MODALITIES:
            problems.append(f"column '{name}': {unknown('modality', modality, MODALITIES)}")
    _raise(problems)


def _raise(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise SchemaError(problems[0])
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SchemaError(f"{len(problems)} things are wrong:\n{lines}")


def _plan(
    name: str,
    table: Table,
    facts: Facts,
    targets: Mapping[str, Facts],
    settings: Settings,
    forced: Mapping[str, str],
) -> tuple[Role, str | None, str]:
    """Role, modality and reason of a column that is neither target nor group."""
    if name in forced:
        return "input", forced[name], "as requested"
    if not facts.sample:
        return "ignored", None, f"all {facts.rows} cells are missing"
    constant = facts.distinct == 1
    if constant and not facts.missing:
        value = example(facts.sample[0])
        return (
            "ignored",
            None,
            f"all {facts.rows} cells are '{value}': it tells no row from another",
        )
    best = strongest(name, facts.sample, settings)
    if best is None:
        kind = table.arrow().schema.field(name).type
        return (
            "ignored",
            None,
            f"no modality reads its cells ({kind}), such as {example(facts.sample[0])}",
        )
    modality, evidence = best
    reason = evidence.reason
    if MODALITIES[modality].quantitative and column_facts.leading_zeros(facts.sample):
        modality, reason = _CODES, "digits with leading zeros are codes, not numbers"
    if constant and MODALITIES[modality].quantitative:
        modality, reason = (
            _CODES,
            "a single number or missing, so that only its presence is informative",
        )
    for target, answers in targets.items():
        if column_facts.leak(facts, answers):
            return (
                "ignored",
                None,
                (
                    f"it goes one to one with the target '{target}', so it seems to be the target "
                    "itself (leakage). If it will be known for new rows, name it: --column "
                    f"{name}={modality}"
                ),
            )
    why = column_facts.identifier(name, modality, facts)
    if why is not None:
        return "ignored", None, why
    few = facts.distinct is not None and 2 < facts.distinct <= 50
    named_code = bool(column_facts.name_words(name) & {"id", "ids", "code"})
    if MODALITIES[modality].quantitative and few and named_code:
        modality = _CODES
        reason = f"{facts.distinct} numbers that come back, and the name says id"
    return "input", modality, reason


def strongest(
    name: str, cells: Sequence[object], settings: Settings
) -> tuple[str, Evidence] | None:
    """The modality with the strongest evidence; the first registered wins a draw."""
    best: tuple[str, Evidence] | None = None
    for modality, part in MODALITIES.items():
        evidence = part.matches(name, cells, settings)
        if evidence is not None and (best is None or evidence.strength > best[1].strength):
            best = modality, evidence
    return best


def _warn(plan: ColumnPlan, facts: Facts, targets: Mapping[str, Facts]) -> list[str]:
    """What is worth knowing about a column that is used."""
    if plan.role == "ignored":
        return []
    warnings = []
    share = facts.missing / facts.rows
    if share > 0.5:
        warnings.append(f"{share:.0%} of its cells are missing")
    if plan.role == "input":
        common = facts.commonest
        if common is not None and common[1] >= 0.99 and facts.looked >= 20:
            warnings.append(f"{common[1]:.1%} of its cells are '{example(common[0])}'")
        if (
            plan.modality
            and MODALITIES[plan.modality].nominal
            and facts.looked >= 20
            and 2 * (facts.distinct or 0) > facts.looked
        ):
            warnings.append(
                f"{facts.distinct} categories in {facts.looked} cells: most are seen once; as text it "
                f"may help more (--column {plan.name}=text)"
            )
        warnings += _mixed(plan, facts)
        warnings += [
            f"each of its {facts.distinct} values goes with one value of '{target}' only; if it would "
            f"not be known for new rows, leave it out (--ignore {plan.name})"
            for target, answers in targets.items()
            if column_facts.gives_away(facts, answers)
        ]
    return [f"{plan.name}: {sentence}" for sentence in warnings]


def _gives_away(facts: Facts, all_facts: Mapping[str, Facts], targets: Sequence[str]) -> bool:
    """Whether the column's values alone, each on repeat, say a target's value."""
    return any(column_facts.gives_away(facts, all_facts[target]) for target in targets)


def _mixed(plan: ColumnPlan, facts: Facts) -> list[str]:
    """A warning when some cells are numbers and others are not."""
    part = MODALITIES[plan.modality] if plan.modality else None
    if part is None or not (part.quantitative or part.nominal):
        return []
    odd = [cell for cell in facts.sample if as_number(cell) is None]
    numbers = len(facts.sample) - len(odd)
    if not odd or numbers < 0.05 * len(facts.sample):
        return []
    share = numbers / len(facts.sample)
    return [f"mixed cells: {share:.0%} are numbers, others are not, such as '{example(odd[0])}'"]


def _check_result(
    schema: Schema, facts: Mapping[str, Facts], targets: Sequence[str], forced: Mapping[str, str]
) -> None:
    """Columns that were named and hold nothing, and tables with nothing to learn from."""
    problems = [
        f"column '{name}' is named {forced[name]}, but all {schema.rows} of its cells are missing."
        for name in forced
        if not facts[name].sample
    ]
    if targets and not schema.inputs:
        lines = [f"{c.name}: {c.reason}" for c in schema.columns if c.role == "ignored"]
        problems.append(
            "no column is left to learn from. "
            + ("Ignored: " + "; ".join(lines) + ". " if lines else "")
            + "Name one: --column name=modality"
        )
    _raise(problems)
