"""The picture of README: one row of the demo, what each stream contributed, and the answer.

    python -m benchmarks.picture      # or: make picture

Makes the demo's tables (1,200 training rows, seed 0), fits plait with default options to the picture,
the sound, the hint and the tabular columns, and takes the first test row that has all four, is
answered correctly, and to which every stream contributes at least 0.1: on a row that one stream
answers alone there is nothing to see. The figures are the Shapley values of `Predictor.contributions`.
Writes docs/picture.svg and docs/picture.zh-CN.svg.
"""

import csv
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import plait
from plait.recipes.demo.table import build

DOCS = Path(__file__).resolve().parents[1] / "docs"
LEAST = 0.1
TABULAR = ("number", "day", "channel")
STREAMS = ("image", "audio", "text", "tabular")

WORDS = {
    "picture.svg": ("one row", "contribution to the answer", "answer: {}", "no input: {}", STREAMS),
    "picture.zh-CN.svg": (
        "一行",
        "每个流对答案的贡献",
        "答案：{}",
        "没有输入时：{}",
        ("图像", "声音", "文本", "表格列"),
    ),
}

# Okabe and Ito's colours, which colour-blind readers tell apart, on white and on near-black alike.
COLOURS = ("#0072b2", "#d98200", "#009e73", "#cc79a7")
STYLE = """
.page{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.none{fill:#8c959f}.card{fill:none;stroke:#8c959f}
@media(prefers-color-scheme:dark){.page{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#a8b3bf}}
text{font-family:system-ui,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
"""

# Places in the picture, in its own units; 600 wide, so that 18 of them are 11 px on a telephone.
WIDTH, HEIGHT = 600, 446
CARD, TOP, STEP, CARD_HEIGHT = 176, 44, 80, 68
ZERO, ONE = 222, 508
"""Where probabilities 0 and 1 lie."""
BAR, ANSWER_TOP, ANSWER_HEIGHT = 30, 368, 40


@dataclass(frozen=True)
class Row:
    """One row with its explanation.

    Attributes:
        folder: of the table, where the paths of the cells lead from.
        empty, fused: the probability of the answer with no stream and with all.
        shares: what each of `STREAMS` adds; they sum to ``fused - empty``.
    """

    folder: Path
    cells: dict[str, str]
    answer: str
    empty: float
    fused: float
    shares: list[float]


def explained(folder: Path) -> Row:
    """Fit the demo and explain the first row that shows all four streams at work."""
    tables = build(folder / "data", rows=1200, seed=0)
    model = plait.fit(tables.train, "label", group="voice", ignore=("pulse",), progress=True)
    contributions = model.contributions(tables.test)
    order = [contributions.streams.index(stream) for stream in STREAMS]
    shares = contributions.targets["label"]
    with tables.test.open(encoding="utf-8", newline="") as lines:
        for row, cells in enumerate(csv.DictReader(lines)):
            complete = all(cells[name] for name in ("image", "audio", "text", *TABULAR))
            values = shares.values[row, order]
            if complete and shares.answers[row] == cells["label"] and values.min() >= LEAST:
                print(f"row {row}: {values.round(3)}")
                empty, fused = float(shares.empty[row]), float(shares.fused[row])
                return Row(tables.test.parent, cells, cells["label"], empty, fused, values.tolist())
    raise SystemExit(f"no test row has all four streams contributing {LEAST} or more")


def pixels(path: Path, *, left: float, top: float, size: float) -> str:
    """A picture as one path of rectangles per shade: four shades, neighbours joined."""
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"), dtype=float)
    shades = (np.ptp(grey) and (grey - grey.min()) / np.ptp(grey) * 4.99).astype(int)
    scale = size / max(grey.shape)
    paths = []
    for shade in range(1, 5):
        runs = []
        for y, line in enumerate(shades == shade):
            edges = np.flatnonzero(np.diff(np.r_[False, line, False].astype(int)))
            runs += [
                f"M{start} {y}h{stop - start}v1h-{stop - start}z"
                for start, stop in edges.reshape(-1, 2)
            ]
        paths.append(f'<path opacity="{shade / 4}" d="{"".join(runs)}"/>')
    place = f"translate({left} {top}) scale({scale:.4f})"
    return f'<g class="ink" transform="{place}">{"".join(paths)}</g>'


def sound(path: Path, *, left: float, middle: float, width: float, height: float) -> str:
    """The envelope of a 16-bit WAV file, mirrored about its middle."""
    with wave.open(str(path)) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), dtype=np.int16).astype(float)
    loud = np.array([np.abs(part).max() for part in np.array_split(samples, 80)])
    loud *= height / 2 / max(loud.max(), 1)
    x = np.linspace(left, left + width, len(loud))
    upper = [f"{a:.1f},{middle - b:.1f}" for a, b in zip(x, loud, strict=True)]
    lower = [f"{a:.1f},{middle + b:.1f}" for a, b in zip(x, loud, strict=True)]
    return f'<polygon class="ink" points="{" ".join(upper + lower[::-1])}"/>'


def text(
    x: float, y: float, words: str, *, size: int = 18, style: str = "ink", more: str = ""
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" class="{style}"{more}>{escape(words)}</text>'
    )


def wrapped(words: str, *, width: int = 17) -> list[str]:
    """Words in lines of at most ``width`` letters."""
    lines = [""]
    for word in words.split():
        joined = f"{lines[-1]} {word}".strip()
        lines[-1:] = [joined] if len(joined) <= width else [lines[-1], word]
    return lines


def cell(row: Row, stream: str, top: float) -> str:
    """What the row holds for a stream, on a card."""
    card = (
        f'<rect class="card" x="8.5" y="{top + 0.5}" width="{CARD}" height="{CARD_HEIGHT}" rx="6"/>'
    )
    if stream == "image":
        return card + pixels(row.folder / row.cells["image"], left=14, top=top + 5, size=58)
    if stream == "audio":
        path = row.folder / row.cells["audio"]
        return card + sound(path, left=16, middle=top + 34, width=CARD - 16, height=54)
    lines = [row.cells[name] for name in TABULAR]
    if stream == "text":
        lines = wrapped(row.cells["text"])[:3]
    return card + "".join(
        text(18, top + 20 + 20 * line, words, size=16) for line, words in enumerate(lines)
    )


def picture(row: Row, words: tuple[str, str, str, str, Sequence[str]]) -> str:
    """The whole SVG: cards at the left, a waterfall of contributions that falls into the answer."""
    title, share, answer, nothing, names = words

    def x(probability: float) -> float:
        return ZERO + (ONE - ZERO) * probability

    def box(left: float, right: float, top: float, height: float, look: str) -> str:
        place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.1f}"'
        return f"<rect {place} {look}/>"

    parts = [
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
        text(8, 28, title, style="soft"),
        text(ZERO, 28, share, style="soft"),
        box(x(0), x(row.empty), ANSWER_TOP, ANSWER_HEIGHT, 'class="none"'),
    ]
    start = row.empty
    for number, (stream, value, colour) in enumerate(
        zip(STREAMS, row.shares, COLOURS, strict=True)
    ):
        top = TOP + STEP * number
        middle = top + CARD_HEIGHT / 2
        bar, stop = middle - BAR / 2, start + value
        fill = f'fill="{colour}"'
        faint = f'{fill} opacity="0.22"'
        parts += [
            box(CARD + 9, x(start), bar, BAR, faint),
            box(x(start), x(stop), bar + BAR, ANSWER_TOP - bar - BAR, faint),
            box(x(start), x(stop), bar, BAR, fill),
            box(x(start), x(stop), ANSWER_TOP, ANSWER_HEIGHT, fill),
            text(x(stop) + 8, middle + 6, f"+{value:.3f}"),
            text(CARD + 14, bar - 4, names[number], size=16, style="soft"),
            cell(row, stream, top),
        ]
        start = stop
    bold = ' font-weight="bold"'
    parts += [
        text(8, ANSWER_TOP + 28, answer.format(row.answer), size=22, more=bold),
        text(x(row.fused) + 8, ANSWER_TOP + 28, f"{row.fused:.3f}", size=22, more=bold),
        text(ZERO, HEIGHT - 14, nothing.format(f"{row.empty:.3f}"), size=16, style="soft"),
    ]
    shares = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, row.shares, strict=True))
    described = f"<title>{escape(f'{share}: {shares}; {answer.format(row.answer)}')}</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return "\n".join([head, described, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def main() -> None:
    """Fit, explain, draw."""
    with TemporaryDirectory() as folder:
        row = explained(Path(folder))
        for name, words in WORDS.items():
            (DOCS / name).write_text(picture(row, words), encoding="utf-8")


if __name__ == "__main__":
    main()
