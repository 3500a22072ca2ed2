"""Charts as pictures, drawn without a browser."""

from collections.abc import Sequence
from typing import Any

from ernie_cmtl.charts import MOST_POINTS, Chart, altair

_POINTS_PER_INCH = 200


def svg(chart: Chart, width: int = 460, most: int = MOST_POINTS) -> str:
    """Return a chart as SVG, without a browser; most: points of a line."""
    altair()
    import vl_convert

    spec = _with_fewer_points(chart.spec, most) | {"width": width, "background": "white"}
    return str(vl_convert.vegalite_to_svg(spec))


def _with_fewer_points(spec: dict[str, Any], most: int) -> dict[str, Any]:
    """Return a chart whose lines have at most so many points; the last one of each stays."""
    found = dict(spec)
    if "layer" in spec:
        found["layer"] = [_with_fewer_points(layer, most) for layer in spec["layer"]]
    if "series" in next(iter(rows := spec.get("data", {}).get("values", [])), {}):
        lines: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            lines.setdefault(row["series"], []).append(row)
        kept = [line[:: -max(1, -(-len(line) // most))][::-1] for line in lines.values()]
        found["data"] = {"values": [row for line in kept for row in line]}
    return found


def one_picture(charts: Sequence[Chart], format: str, width: int = 480) -> bytes:
    """Return charts below one another, each with its title, as one file; format: svg or png."""
    altair()
    import vl_convert

    panels = []
    for chart in charts:
        spec = {key: value for key, value in chart.spec.items() if key != "$schema"}
        title = {"text": chart.title, "anchor": "start", "fontSize": 11}
        panels.append(spec | {"width": width, "title": title})
    whole = {"vconcat": panels, "background": "white"}
    if format == "png":
        return bytes(vl_convert.vegalite_to_png(whole, ppi=_POINTS_PER_INCH))
    return str(vl_convert.vegalite_to_svg(whole)).encode()
