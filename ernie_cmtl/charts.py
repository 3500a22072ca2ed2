"""Charts of values over steps, heat maps and values with intervals, by Altair."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean
from typing import Any

from ernie_cmtl.errors import UserError

MOST_POINTS = 250
"""Of a line; where there are more, each point is the mean over a bin."""
_HEIGHT = 190
_ROW = 26
_LARGE = 1000
"""Values from here on are labelled 1k, 2M."""


def altair() -> Any:
    """Return the module that draws, which is an optional package.

    Raises:
        UserError: It is not installed.
    """
    try:
        import altair
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"charts need {error.name}, which is not installed: pip install 'ernie-cmtl[report]'"
        ) from None
    return altair


@dataclass(frozen=True)
class Chart:
    """A chart of Vega-Lite."""

    name: str
    """Name of its file among the figures."""
    title: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[tuple[int, float]]
    """(step, value), in order of step."""
    measured: bool = False
    """Show each point: there are few, of held-out measurements."""


@dataclass(frozen=True)
class Marks:
    """Lines that help to read a chart."""

    borders: Sequence[tuple[int, str]] = ()
    """Steps at which a stage ends, with its name."""
    levels: Sequence[tuple[float, str]] = field(default_factory=list)
    """Values to compare with, as that of the majority class."""


def thinned(points: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """Return at most `MOST_POINTS` points: the last step and the mean value of each bin; what is
    missing or not finite is skipped.
    """
    found = [(step, value) for step, value in points if value is not None and isfinite(value)]
    size = -(-len(found) // MOST_POINTS)
    if size <= 1:
        return found
    bins = [found[first : first + size] for first in range(0, len(found), size)]
    return [(part[-1][0], fmean(value for _, value in part)) for part in bins]


def line_chart(
    name: str,
    title: str,
    series: Sequence[Series],
    unit: str,
    marks: Marks | None = None,
    percent: bool = False,
) -> Chart | None:
    """Return a chart of values over steps, or None where there is no value; unit: title of the
    vertical axis.
    """
    alt, marks = altair(), marks or Marks()
    rows: list[dict[str, Any]] = [
        {"step": step, "value": value, "series": one.name}
        for one in series
        for step, value in one.points
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(row["series"] for row in rows))
    columns = 2 if len(names) > 2 else 0
    legend = alt.Legend(title=None, orient="top", columns=columns, labelLimit=170)
    is_large = max(abs(row["value"]) for row in rows) >= _LARGE
    form = ".0%" if percent else "~s" if is_large else "~g"
    base = alt.Chart().encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(format="~s", grid=False)),
        y=alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False), axis=alt.Axis(format=form)),
        color=alt.Color("series:N", sort=names, legend=legend if len(names) > 1 else None),
        tooltip=[
            alt.Tooltip("series:N", title="of"),
            alt.Tooltip("step:Q", format=","),
            alt.Tooltip("value:Q", title=unit, format=".1%" if percent else ".4~g"),
        ],
    )
    few = {one.name for one in series if one.measured}
    points = [row for row in rows if row["series"] in few]
    layers = [
        _borders(alt, marks),
        base.mark_line(clip=True).properties(data=alt.Data(values=rows)),
        points and base.mark_point(filled=True, size=36).properties(data=alt.Data(values=points)),
        *_levels(alt, marks),
    ]
    return Chart(name, title, _spec(alt.layer(*filter(None, layers)), _HEIGHT))


def _borders(alt: Any, marks: Marks) -> Any:
    if not marks.borders:
        return None
    rows = [{"step": step, "stage": stage} for step, stage in marks.borders]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_rule(strokeDash=[2, 3], opacity=0.55, color="#888888")
        .encode(x="step:Q", tooltip=[alt.Tooltip("stage:N", title="end of stage"), "step:Q"])
    )


def _levels(alt: Any, marks: Marks) -> list[Any]:
    rows = [{"value": value, "level": label} for value, label in marks.levels]
    if not rows:
        return []
    return [
        alt.Chart(alt.Data(values=rows))
        .mark_rule(strokeDash=[6, 4], color="#b5651d")
        .encode(y="value:Q", tooltip=[alt.Tooltip("level:N", title=" "), "value:Q"])
    ]


def area_chart(name: str, title: str, series: Sequence[Series], marks: Marks) -> Chart | None:
    """Return a chart of parts of a whole over steps, or None where there is none."""
    alt = altair()
    rows = [
        {"step": step, "value": value, "series": one.name}
        for one in series
        for step, value in one.points
    ]
    if not rows:
        return None
    names = [one.name for one in series]
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=260)
    areas = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(interpolate="step-before", opacity=0.85)
        .encode(
            x=alt.X("step:Q", axis=alt.Axis(format="~s", grid=False)),
            y=alt.Y("value:Q", stack="zero", title="share", axis=alt.Axis(format=".0%")),
            color=alt.Color("series:N", sort=names, legend=legend),
            tooltip=["series:N", "step:Q", alt.Tooltip("value:Q", format=".1%")],
        )
    )
    parts = filter(None, (areas, _borders(alt, marks)))
    return Chart(name, title, _spec(alt.layer(*parts), _HEIGHT + 40))


def heat_map(
    name: str,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[tuple[str, str], float],
    percent: bool = True,
) -> Chart | None:
    """Return a heat map with a number in each cell, or None where there is none.

    values: (row, column) -> value.
    """
    alt = altair()
    cells = [
        {"row": row, "column": column, "value": values[row, column]}
        for row in rows
        for column in columns
        if (row, column) in values
    ]
    if not cells:
        return None
    form = ".1%" if percent else ".2f"
    scale = alt.Scale(scheme="blues", nice=False)
    base = alt.Chart(alt.Data(values=cells)).encode(
        x=alt.X("column:N", sort=list(columns), title=None, axis=alt.Axis(labelAngle=-30)),
        y=alt.Y("row:N", sort=list(rows), title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=["row:N", "column:N", alt.Tooltip("value:Q", format=form)],
    )
    middle = (min(values.values()) + max(values.values())) / 2
    ink = f"datum.value > {middle}"
    layers = (
        base.mark_rect().encode(color=alt.Color("value:Q", scale=scale, legend=None)),
        base.mark_text(fontSize=11).encode(
            text=alt.Text("value:Q", format=form),
            color=alt.condition(ink, alt.value("#ffffff"), alt.value("#111111")),
        ),
    )
    height = _ROW * len(dict.fromkeys(cell["row"] for cell in cells))
    return Chart(name, title, _spec(alt.layer(*layers), height))


def _spec(chart: Any, height: int) -> dict[str, Any]:
    found: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    # The page sets colours for light and dark; a theme of Altair's would overrule them.
    found.pop("config", None)
    return found


@dataclass(frozen=True)
class Dot:
    """A value with its interval."""

    label: str
    value: float
    interval: tuple[float, float] | None = None


def dot_chart(
    name: str, title: str, dots: Sequence[Dot], unit: str, reference: float | None = None
) -> Chart | None:
    """Return a row for each value with its interval, or None where there is none; reference: a
    value to compare with, as that of the majority class.
    """
    alt = altair()
    rows: list[dict[str, Any]] = [
        {"label": dot.label, "value": dot.value}
        | ({"low": dot.interval[0], "high": dot.interval[1]} if dot.interval else {})
        for dot in dots
    ]
    if not rows:
        return None
    labels = list(dict.fromkeys(dot.label for dot in dots))
    axis = alt.Axis(labelLimit=240)
    value = alt.X("value:Q", title=unit, scale=alt.Scale(zero=False))
    label = alt.Y("label:N", sort=labels, title=None, axis=axis)
    shown = [alt.Tooltip("label:N", title=" "), *(f"{key}:Q" for key in ("value", "low", "high"))]
    known = alt.Data(values=[row for row in rows if "low" in row])
    bars = alt.Chart(known).mark_rule(strokeWidth=2, opacity=0.6, color="#1f77b4")
    layers = [
        bars.encode(x=alt.X("low:Q", title=unit), x2="high:Q", y=label, tooltip=shown),
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=60, opacity=1, color="#1f77b4")
        .encode(x=value, y=label, tooltip=shown),
    ]
    if reference is not None:
        level = alt.Chart(alt.Data(values=[{"value": reference}]))
        layers.append(level.mark_rule(strokeDash=[6, 4], color="#b5651d").encode(x="value:Q"))
    return Chart(name, title, _spec(alt.layer(*layers), _ROW * len(labels)))
