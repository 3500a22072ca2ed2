"""The annotation layers that a build was asked for."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ernie_cmtl.corpus.layers import FittedLayer, Layer, find_layer
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language


def make_layers(named: Mapping[str, Mapping[str, Any]], language: Language) -> dict[str, Layer]:
    """Make layers by their names and options.

    Raises:
        UserError: One of them cannot be made.
    """
    return {name: make_layer(name, options, language) for name, options in named.items()}


def make_layer(name: str, options: Mapping[str, Any], language: Language) -> Layer:
    """Make a layer.

    Raises:
        UserError: There is no such layer, an option is not accepted, or it does not support the
            language.
    """
    layer = find_layer(name)
    try:
        return layer(layer.Options.model_validate(dict(options)), language)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, p['loc']))}: {p['msg']} (got {p['input']!r})"
            for p in error.errors()
        )
        accepted = ", ".join(sorted(layer.Options.model_fields)) or "none"
        raise UserError(f"layers.{name}: {'; '.join(problems)}; options are {accepted}") from error


def layers_without_text(layers: dict[str, Layer], asked: bool) -> dict[str, Layer]:
    """Return the layers that labelled rows alone can have; refuse the others if they were asked
    for.

    Raises:
        UserError: One was asked for that needs running text.
    """
    needing = [
        name
        for name, layer in layers.items()
        if isinstance(layer, FittedLayer) and (layer.learns or layer.of_documents)
    ]
    if needing and asked:
        raise UserError(
            f"layer {', '.join(needing)} needs running text, and there are labelled rows alone: "
            "name text with --input, or leave the layer out"
        )
    return {name: layer for name, layer in layers.items() if name not in needing}
