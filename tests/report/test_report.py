"""The page of a run: complete in itself, true to the log, and safe whatever the log says."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.charts import MOST_POINTS, Series, line_chart, thinned
from ernie_cmtl.errors import UserError
from ernie_cmtl.pictures import _with_fewer_points, svg
from ernie_cmtl.report.alerts import alerts
from ernie_cmtl.report.runs import read_run
from ernie_cmtl.verbs.report import report

HEADS = [
    "knowledge_masking/masked_token",
    "capitalization/capital",
    "sentence_reordering/order",
]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def specs_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.S)
    assert found
    specs: dict[str, Any] = json.loads(found[1])
    return specs


def values_of(spec: Any) -> list[dict[str, Any]]:
    """Every row of data in a chart."""
    rows = list(spec.get("data", {}).get("values", []))
    for layer in spec.get("layer", []):
        rows += values_of(layer)
    return rows


def copied(run: Path, to: Path) -> Path:
    """A copy whose corpus is where it was."""
    shutil.copytree(run, to)
    return to


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def write_log(run: Path, lines: list[Any]) -> None:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in text))


def test_a_page_shows_what_the_log_says(finished: Path, tmp_path: Path) -> None:
    result = report([finished], tmp_path / "page.html", tmp_path / "figures")
    page = (tmp_path / "page.html").read_text("utf-8")
    specs = specs_of(page)
    assert result["charts"] == len(specs) == page.count("data-spec=") == page.count("<noscript>")
    for head in HEADS:
        name = head.replace("/", "-")
        assert {f"loss-{name}", f"accuracy-{name}"} <= specs.keys()
    lines = [line for line in log_of(finished) if line["kind"] == "train"]
    logged = [(line["step"], line["tasks"][HEADS[0]]["loss"]) for line in lines]
    drawn = values_of(specs[f"loss-{HEADS[0].replace('/', '-')}"])
    of_training = [row for row in drawn if row.get("series") == "train"]
    assert [(row["step"], row["value"]) for row in of_training] == logged
    # Stage borders and the score of the most frequent class are drawn.
    accuracy = values_of(specs[f"accuracy-{HEADS[1].replace('/', '-')}"])
    assert {"step": 5, "stage": "first"} in accuracy
    assert [row["level"] for row in accuracy if "level" in row] == ["most frequent class"]
    for text in ("received at step 12", "S2 second", "most frequent class", "fingerprint"):
        assert text in page
    assert len(list((tmp_path / "figures").glob("*.svg"))) == len(specs)


def test_a_page_asks_nothing_of_any_network(finished: Path, tmp_path: Path) -> None:
    report([finished], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    own = re.sub(r"<script>.*?</script>|<noscript>.*?</noscript>", "", page, flags=re.S)
    assert (
        "http"
        not in own.replace("http-equiv", "")
        .replace("vega.github.io", "")
        .split('<script type="application/json"')[0]
    )
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page.split("<script>")[0])
    assert "default-src 'none'" in page
    assert page.count("</script>") == page.count("<script")


def test_text_cannot_put_html_into_a_page(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    lines = log_of(run)
    for line in lines:
        if line["kind"] in {"train", "heldout"}:
            line["stage"] = EVIL
            line["tasks"] = line["tasks"] | {f"{EVIL}/head": next(iter(line["tasks"].values()))}
    lines.append({"kind": "skipped", "step": 9, "tasks": [EVIL], "gradient_norm": None})
    lines.append({"kind": "sharing", "step": 9, "stage": EVIL, "groups": {EVIL: EVIL}})
    write_log(run, lines)
    report([run], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "alert(1)" in page
    for raw in ("<script>alert", "<img src=x"):
        assert raw not in page


def test_a_long_run_makes_no_large_page(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    lines = log_of(run)
    train = [line for line in lines if line["kind"] == "train"][-1]
    heldout = [line for line in lines if line["kind"] == "heldout"]
    many = [train | {"step": step} for step in range(25, 100_001, 25)]
    skipped = [
        {
            "kind": "skipped",
            "step": step,
            "tasks": [HEADS[0]],
            "gradient_norm": 1e9,
            "documents": [7] * 50,
        }
        for step in range(1, 5000)
    ]
    write_log(run, [*heldout, *many, *skipped])
    report([run], tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "4,799 more" in page
    assert max(len(values_of(spec)) for spec in specs_of(page).values()) < 4 * MOST_POINTS


def test_points_are_means_over_bins_and_gaps_are_skipped() -> None:
    points: list[tuple[int, float | None]] = [(step, float(step)) for step in range(1, 1001)]
    found = thinned(points)
    assert len(found) == MOST_POINTS
    assert found[0] == (4, 2.5)
    assert found[-1] == (1000, 998.5)
    assert thinned([(1, None), (2, float("nan")), (3, float("inf")), (4, 1.0)]) == [(4, 1.0)]


@pytest.mark.parametrize("kind", ["damaged", "empty", "missing", "no checkpoint", "no corpus"])
def test_a_page_says_what_cannot_be_read(finished: Path, tmp_path: Path, kind: str) -> None:
    run = copied(finished, tmp_path / "run")
    expected = {
        "damaged": "lines of the log that cannot be read: 4; they are skipped",
        "empty": "the log has no scores yet",
        "missing": "the log cannot be read: No such file",
        "no checkpoint": "there is no checkpoint yet",
        "no corpus": "its corpus cannot be read",
    }[kind]
    if kind == "damaged":
        bad = ["{", '"text"', '{"kind": "train", "step": "x"}', '{"kind": "other", "step": 1}']
        write_log(run, [*bad, *log_of(run)])
    elif kind == "empty":
        write_log(run, [])
    elif kind == "missing":
        (run / "metrics.jsonl").unlink()
    elif kind == "no checkpoint":
        shutil.rmtree(run / "checkpoints")
    else:
        settings = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(
            re.sub(r"corpus: .*", "corpus: /nowhere", settings, count=1)
        )
        pinned = json.loads((run / "corpus.json").read_text()) | {"place": "/nowhere"}
        (run / "corpus.json").write_text(json.dumps(pinned))
    if kind in {"missing", "no corpus"}:
        found = report([run], tmp_path / "page.html")["warnings"]
        assert "<h2>Warnings" in (tmp_path / "page.html").read_text("utf-8")
    else:
        found = alerts(read_run(run, "mine"))
    assert any(expected in warning for warning in found)


def test_several_runs_are_drawn_over_one_another(finished: Path, tmp_path: Path) -> None:
    other = copied(finished, tmp_path / "other")
    settings = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(
        settings.replace("learning_rate: 0.001", "learning_rate: 0.002")
    )
    report([finished, other], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    drawn = values_of(specs_of(page)["learning-rate"])
    names = {"/".join(run.resolve().parts[-2:]) for run in (finished, other)}
    assert {row["series"] for row in drawn if "series" in row} == names
    assert "Settings that differ" in page
    assert "<td>optimizer.learning_rate</td><td>0.001</td><td>0.002</td>" in page


def test_alerts_name_what_misleads(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    score = {"loss": 1.0, "accuracy": 0.5, "labels": 500, "majority": 0.6, "one_class": False}
    heldout = {
        "kind": "heldout",
        "step": 6,
        "stage": "second",
        "tasks": {
            HEADS[0]: score | {"accuracy": 0.9, "labels": 20},
            HEADS[1]: score,
            HEADS[2]: score | {"one_class": True},
        },
    }
    train = [line for line in log_of(run) if line["kind"] == "train"][-1] | {"step": 5}
    skipped = {"kind": "skipped", "step": 3, "tasks": ["capitalization"], "gradient_norm": 1.0}
    write_log(run, [train | {"data_wait_share": 0.5}, heldout, skipped])
    shutil.rmtree(run / "checkpoints")
    found = "\n".join(alerts(read_run(run, "mine")))
    for text in (
        "the run is at step 6 of 12; if it does not train, the same command",
        "skipped steps: 1 (capitalization 1)",
        "waited for data 50% of the time",
        f"{HEADS[0]} has only 20 held-out labels",
        f"{HEADS[1]} is no better than the most frequent class: 50.0% against 60.0%",
        f"{HEADS[2]} gives one and the same answer",
    ):
        assert text in found


def test_forgetting_is_an_alert(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    score = {"loss": 1.0, "accuracy": 0.9, "labels": 500, "majority": 0.1, "one_class": False}
    worse = score | {"accuracy": 0.6}
    lines = [(0, worse), (5, score), (12, worse)]
    write_log(
        run, [{"kind": "heldout", "step": s, "tasks": {HEADS[0]: found}} for s, found in lines]
    )
    assert f"mine: {HEADS[0]} forgot 30.0% of accuracy since its best stage" in alerts(
        read_run(run, "mine")
    )


def test_what_is_no_page_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("my own words")
    with pytest.raises(UserError, match=r"was not written by the verb report"):
        report([finished], mine)
    assert mine.read_text() == "my own words"
    with pytest.raises(UserError, match=r"is a folder; name a file"):
        report([finished], tmp_path)
    with pytest.raises(UserError, match=r"no run folder"):
        report([tmp_path], tmp_path / "page.html")
    # A page is replaced.
    report([finished], tmp_path / "page.html")
    report([finished], tmp_path / "page.html")


def test_without_the_packages_the_message_names_the_extra(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(UserError, match=r"altair.*pip install 'ernie-cmtl\[report\]'"):
        report([finished], tmp_path / "page.html")


@pytest.mark.skipif(not BROWSER, reason="no Chromium")
@pytest.mark.parametrize("width", [1280, pytest.param(400, marks=pytest.mark.slow)])
def test_a_browser_without_a_network_draws_every_chart(
    finished: Path, tmp_path: Path, width: int
) -> None:
    charts = report([finished], tmp_path / "page.html")["charts"]
    alone = ["unshare", "-n"] if subprocess.run(["unshare", "-n", "true"]).returncode == 0 else []
    assert BROWSER
    shown = subprocess.run(
        [
            *alone,
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    drawn = re.sub(r"<(script|noscript)>.*?</\1>", "", shown.stdout, flags=re.S)
    assert len(re.findall(r'<svg[^>]*class="marks"', drawn)) == charts
    assert "cannot be drawn" not in drawn


def test_a_picture_has_fewer_points_and_ends_where_the_line_ends() -> None:
    points = [(step, float(step)) for step in range(1, 251)]
    chart = line_chart("a", "a", [Series("train", points)], "loss")
    assert chart
    fewer = values_of(_with_fewer_points(chart.spec, 60))
    assert len(fewer) == 50
    assert fewer[-1] == {"step": 250, "value": 250.0, "series": "train"}
    assert len(svg(chart, most=60)) < len(svg(chart))
