"""One picture of a comparison: a panel for each measure, a point with its interval for each
model.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_cmtl.comparison.measures import Measure
from ernie_cmtl.errors import UserError

FORMATS = ("svg", "png")
_POINTS_PER_INCH = 200


def check_drawing(figure: Path | None) -> None:
    """Refuse a picture that cannot be drawn, before anything is measured.

    Raises:
        UserError: The libraries are not installed, or the ending of the file is unknown.
    """
    if figure and figure.suffix.removeprefix(".").lower() not in FORMATS:
        raise UserError(
            f"--figure {figure}: its ending is none of {', '.join(f'.{name}' for name in FORMATS)}"
        )
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"a picture needs an extra: pip install 'ernie-cmtl[report]' ({error}); without "
            "--output and --figure there is none"
        ) from error


def draw(measures: Sequence[Measure], format: str) -> bytes:
    """Return the picture as a file of a format, svg or png."""
    chart = _chart(measures)
    if format == "png":
        stream = io.BytesIO()
        chart.save(stream, format="png", ppi=_POINTS_PER_INCH)
        return stream.getvalue()
    text = io.StringIO()
    chart.save(text, format="svg")
    return text.getvalue().encode()


def _chart(measures: Sequence[Measure]) -> Any:
    import altair

    return altair.vconcat(*(_panel(measure) for measure in measures)).configure_view(stroke="#ddd")


def _panel(measure: Measure) -> Any:
    import altair

    rows = [
        {"model": name, "value": one.value, "low": low, "high": high}
        for name, one in measure.models.items()
        for low, high in [one.interval or (one.value, one.value)]
    ]
    data = altair.InlineData(values=rows)
    models = altair.Y("model:N", sort=list(measure.models), title=None, axis=_AXIS)
    scale = altair.Scale(zero=False, nice=True)
    points = (
        altair.Chart(data)
        .mark_point(filled=True, size=60, color="black")
        .encode(x=altair.X("value:Q", scale=scale, title=None), y=models)
    )
    intervals = (
        altair.Chart(data)
        .mark_rule(color="black")
        .encode(x=altair.X("low:Q", scale=scale, title=None), x2="high:Q", y=models)
    )
    layers = [intervals, points]
    if measure.reference is not None:
        place = altair.InlineData(values=[{"reference": measure.reference}])
        line = altair.Chart(place).mark_rule(color="grey", strokeDash=[4, 4])
        layers.insert(0, line.encode(x=altair.X("reference:Q", scale=scale, title=None)))
    return altair.layer(*layers).properties(
        title=altair.Title(f"{measure.name} (95 %, {measure.count})", anchor="start", fontSize=11),
        width=480,
        height={"step": 24},
    )


_AXIS: dict[str, Any] = {"labelLimit": 400}
