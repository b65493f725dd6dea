"""A table as an SVG: a bar for each row, and the goals of those that have one. Readable on light and dark pages."""

from collections.abc import Iterator
from html import escape

from benchmarks.result import Metric, Row, Table

WIDTH = 880
LETTER = 7.4
MARGIN = 22
BAR_HEIGHT = 18
ROW_HEIGHT = 28
TOP = 62
BOTTOM = 30
VALUES = 90
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933; }
  .title { font-size: 15px; font-weight: 600; }
  .small { font-size: 11px; fill: #5b6770; }
  .ours { fill: #0b7285; }
  .peer { fill: #adb5bd; }
  .must { stroke: #c92a2a; stroke-width: 2; }
  .aim { stroke: #2b8a3e; stroke-width: 2; stroke-dasharray: 3 2; }
  .axis { stroke: #868e96; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e9ec; }
    .small { fill: #a7b0b8; }
    .ours { fill: #3bc9db; }
    .peer { fill: #5c666f; }
    .must { stroke: #ff8787; }
    .aim { stroke: #69db7c; }
  }
"""


def plot(table: Table) -> str:
    """The SVG of the table's plotted metric; rows without it are left out."""
    metric = table.metric(table.plotted)
    rows = [row for row in table.rows if row.samples.get(metric.key)]
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    names = MARGIN + LETTER * max((len(row.name) for row in rows), default=0)
    room = WIDTH - names - VALUES
    scale = room / (max((_most(row, metric) for row in rows), default=0) or 1)
    bars = [
        piece for place, row in enumerate(rows) for piece in _bar(row, metric, names, TOP + place * ROW_HEIGHT, scale)
    ]
    axis = f'<line class="axis" x1="{names:.1f}" x2="{names:.1f}" y1="{TOP - 6}" y2="{height - BOTTOM}"/>'
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(table.title)}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="12" y="24">{escape(table.title)}</text>',
        f'<text class="small" x="12" y="44">{escape(_legend(table, metric))}</text>',
    ]
    return "\n".join([*head, *bars, axis, "</svg>", ""])


def _most(row: Row, metric: Metric) -> float:
    return max([row.median(metric.key) or 0.0, *_goals(row, metric).values()])


def _legend(table: Table, metric: Metric) -> str:
    direction = "shorter bars are better" if metric.lower else "longer bars are better"
    goals = "; red line: must, dashed green line: aim" if any(metric.key in row.bounds for row in table.rows) else ""
    return f"{metric.heading}, median of the rounds; {direction}{goals}"


def _bar(row: Row, metric: Metric, names: float, y: int, scale: float) -> Iterator[str]:
    value = row.median(metric.key) or 0.0
    width = value * scale
    middle = y + BAR_HEIGHT - 4
    yield f'<text x="{names - 10:.1f}" y="{middle}" text-anchor="end">{escape(row.name)}</text>'
    kind = "ours" if row.ours else "peer"
    yield f'<rect class="{kind}" x="{names:.1f}" y="{y}" width="{max(width, 1):.1f}" height="{BAR_HEIGHT}"/>'
    far = max([width, *(goal * scale for goal in _goals(row, metric).values())])
    yield f'<text x="{names + far + 8:.1f}" y="{middle}">{value:,.{metric.digits}f}</text>'
    for name, goal in _goals(row, metric).items():
        x = names + goal * scale
        yield f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + BAR_HEIGHT + 3}"/>'


def _goals(row: Row, metric: Metric) -> dict[str, float]:
    bound = row.bounds.get(metric.key)
    if bound is None:
        return {}
    goals = {"must": bound.must, "aim": bound.aim}
    return {name: goal for name, goal in goals.items() if goal is not None}
