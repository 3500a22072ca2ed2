"""One picture of a comparison: a panel for each measure, a point with its interval for each
model.
"""

from collections.abc import Sequence
from pathlib import Path

from ernie_cmtl.charts import Chart, Dot, altair, dot_chart
from ernie_cmtl.comparison.measures import Measure
from ernie_cmtl.errors import UserError
from ernie_cmtl.pictures import one_picture

FORMATS = ("svg", "png")


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
        altair()
    except UserError as error:
        raise UserError(f"{error}; without --output and --figure there is no picture") from None


def draw(measures: Sequence[Measure], format: str) -> bytes:
    """Return the picture as a file of a format, svg or png."""
    return one_picture(measure_charts(measures), format)


def measure_charts(measures: Sequence[Measure]) -> list[Chart]:
    """Return a chart of each measure: the value of each model with its interval."""
    found = []
    for number, measure in enumerate(measures):
        dots = [Dot(model, one.value, one.interval) for model, one in measure.models.items()]
        title = f"{measure.name} (95 %, {measure.count})"
        found.append(dot_chart(f"measure-{number}", title, dots, "score", measure.reference))
    return [chart for chart in found if chart]
