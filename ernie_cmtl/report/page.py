"""A page as one HTML file that needs nothing else: charts, data and the library that draws them are
inside.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from ernie_cmtl import __version__
from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.charts import Chart, altair
from ernie_cmtl.pictures import svg
from ernie_cmtl.report.parts import Page

GENERATOR = '<meta name="generator" content="ernie_cmtl report">'
"""Stands at the beginning of each page."""

_POINTS_OF_PICTURES = 60
"""Of a line, where scripts are off: a picture takes ten times the room of its data."""
_GLOBALS = "window.vegaEmbed = vegaEmbed;"
"""What the bundle gives to the scripts of the page."""


def html(page: Page) -> str:
    """Return a page as HTML.

    Raises:
        UserError: The packages that draw are not installed.
    """
    altair()
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        (files("ernie_cmtl.report") / "page.html").read_text(encoding="utf-8")
    )
    return template.render(
        page=page,
        specs=_inside_script({chart.name: chart.spec for chart in page.charts}),
        pictures={chart.name: svg(chart, most=_POINTS_OF_PICTURES) for chart in page.charts},
        library=_library(),
        generator=GENERATOR,
        version=__version__,
    )


def _inside_script(specs: dict[str, object]) -> str:
    """Return JSON that cannot end the script that it lies in: what a task, a stage or a document is
    called may be anything.
    """
    text = json.dumps(specs, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _library() -> str:
    import vl_convert

    bundle: str = vl_convert.javascript_bundle(_GLOBALS)
    # In a string of JavaScript both are the same; in HTML the first would end the script.
    return bundle.replace("</script", "<\\/script")


def write_figures(charts: list[Chart], folder: Path) -> list[str]:
    """Write each chart as an SVG file; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for chart in charts:
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in chart.name) + ".svg"
        write_text(folder / name, svg(chart, 640))
        names.append(name)
    return names
