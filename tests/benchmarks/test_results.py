"""What the benchmarks make of their samples: ratios, goals, plots and pages."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.keep import keep
from benchmarks.layers import OTHER, Statistics, attributed, layer_of
from benchmarks.page import BEGIN, END, page_tables, write_page
from benchmarks.plot import plot
from benchmarks.result import Bound, Metric, Row, Table, as_json, from_json
from benchmarks.run import Bench
from benchmarks.spread import percentile, ratios, spread

SVG = "{http://www.w3.org/2000/svg}"


def a_table() -> Table:
    rows = [
        Row("echo", {"rate": [100.0, 200.0, 300.0]}),
        Row("ours <1>", {"rate": [50.0, 40.0, 30.0]}, {"x_echo": Bound(0.3, 0.5)}, ours=True),
    ]
    for row in rows:
        row.compare("rate", rows[0], "rate", "x_echo")
    metrics = (Metric("x_echo", "x echo", 2), Metric("rate", "requests/s"))
    return Table("accept", "Accept & wait", metrics, "x_echo", rows, ("A note.",))


def test_a_spread_is_told_of_the_median() -> None:
    assert spread([90, 100, 110]) == pytest.approx(0.2)
    assert (spread([]), spread([0, 0])) == (0, 0)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([50, 100], [100, 200]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="longer"):
        ratios([1], [1, 2])


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_samples(percent: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_a_goal_is_held_to_the_median_in_the_right_direction() -> None:
    table = a_table()
    assert table.row("ours <1>").samples["x_echo"] == [0.5, 0.2, 0.1]
    assert list(table.short_of()) == ["accept: ours <1>: x echo is 0.20, and must be 0.3"]

    table.row("ours <1>").bounds = {"x_echo": Bound(0.2, 0.5)}
    assert list(table.short_of()) == []
    late = Table(
        "late", "Late", (Metric("ms", "ms", lower=True),), "ms", [Row("ours", {"ms": [9.0]}, {"ms": Bound(8)})]
    )
    assert list(late.short_of()) == ["late: ours: ms is 9.00, and must be 8"]


def test_json_holds_the_whole_table() -> None:
    table = a_table()
    kept = json.loads(json.dumps(as_json(table)))
    assert page_tables([from_json(kept)]) == page_tables([table])
    assert kept["rows"][1]["spread"]["x_echo"] == pytest.approx(2.0)


def test_a_plot_has_a_bar_for_each_row_and_a_line_for_each_goal() -> None:
    drawn = ET.fromstring(plot(a_table()))
    bars = drawn.findall(f"{SVG}rect")
    assert [bar.get("class") for bar in bars] == ["peer", "ours"]
    echo, ours = (float(bar.get("width") or 0) for bar in bars)
    assert ours / echo == pytest.approx(0.2, rel=0.01)
    assert [line.get("class") for line in drawn.findall(f"{SVG}line")] == ["must", "aim", "axis"]
    assert "ours <1>" in [text.text for text in drawn.findall(f"{SVG}text")]
    assert "prefers-color-scheme: dark" in "".join(drawn.itertext())


def test_a_page_gets_the_tables_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    results = {"machine": {"CPU": "fast"}, "rounds": 3, "seconds": 3.0, "tables": [as_json(a_table())]}
    write_page(page, results)
    write_page(page, results)

    lines = page.read_text().splitlines()
    assert lines[0] == "# Before"
    assert lines[-1] == "After"
    assert lines.count(BEGIN) == lines.count(END) == 1
    assert "old" not in lines
    assert "| CPU | fast |" in lines
    assert "![Accept & wait](performance/accept.svg)" in lines
    goal = "x echo: 0.3 / 0.5, **not reached**"
    assert f"| **ours <1>** | 0.20 (200%) | 40 (50%) | {goal} |" in lines


def test_a_folder_keeps_the_tables_of_earlier_runs_in_the_order_of_the_page(tmp_path: Path) -> None:
    page, out = tmp_path / "performance.md", tmp_path / "performance"
    page.write_text(f"{BEGIN}\n{END}\n")
    for name in ("mime", "accept", "mime"):
        table = a_table()
        table.name = name
        keep(out, table, Bench(rounds=2), {"CPU": "fast"})

    assert [table["name"] for table in json.loads((out / "results.json").read_text())["tables"]] == ["accept", "mime"]
    assert sorted(file.name for file in out.glob("*.svg")) == ["accept.svg", "mime.svg"]
    assert page.read_text().count("### Accept & wait") == 2


def test_what_a_library_takes_counts_to_who_calls_it() -> None:
    key, draft, parse = ("/x/app/access/a.py", 1, "key"), ("/x/app/rest/body.py", 1, "read"), ("~", 0, "json")
    statistics: Statistics = {
        key: (1, 1, 2.0, 3.0, {}),
        draft: (1, 1, 1.0, 4.0, {}),
        parse: (2, 2, 4.0, 4.0, {key: (1, 1, 1.0, 1.0), draft: (1, 1, 3.0, 3.0)}),
        ("~", 0, "poll"): (1, 1, 0.5, 0.5, {}),
    }
    found = attributed(statistics)
    assert found == pytest.approx({"authentication, role, limits": 3.0, "reading the body": 4.0, OTHER: 0.5})


@pytest.mark.parametrize(
    ("file", "layer"),
    [
        ("/x/app/mail/dkim.py", "sign"),
        ("/x/app/mail/compose.py", "prepare and compose"),
        ("/x/app/queue/put.py", "accept"),
        ("/x/app/queue/claim.py", "claim"),
        ("/x/site-packages/graphql/execution/execute.py", "GraphQL"),
        ("/lib/python3.11/json/decoder.py", None),
    ],
)
def test_a_file_has_the_layer_of_the_most_special_rule(file: str, layer: str | None) -> None:
    assert layer_of((file, 1, "f")) == layer
