"""Discourse markers: words at the head of a sentence that say how it hangs together with the one
before.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import field_validator

from ernie_cmtl.corpus.layers import LayerOptions, TextLayer
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language

MOST_MARKERS = 254
"""As many kinds as a layer of one byte can tell apart."""

DEFAULTS: Mapping[Language, str] = {
    "en": (
        "accordingly additionally admittedly afterwards again alternatively altogether anyway "
        "apparently arguably basically besides briefly certainly clearly collectively consequently "
        "conversely crucially curiously currently earlier elsewhere especially essentially "
        "eventually evidently fortunately frankly further furthermore generally gradually happily "
        "hence historically however immediately importantly incidentally increasingly indeed "
        "initially instead interestingly ironically lastly lately later likewise luckily mainly "
        "meanwhile moreover naturally nevertheless next nonetheless notably obviously occasionally "
        "often originally otherwise overall particularly perhaps possibly presently presumably "
        "previously probably rather really recently regardless sadly second secondly separately "
        "significantly similarly simply simultaneously sometimes soon specifically still strangely "
        "subsequently suddenly surely surprisingly then thereafter therefore though thus today "
        "together traditionally truly typically ultimately undoubtedly unfortunately usually yet "
        "above_all after_all all_in_all as_a_result as_such at_first at_last at_the_same_time "
        "at_times by_comparison by_contrast by_the_way for_example for_instance for_now "
        "for_the_most_part from_then_on in_addition in_any_case in_conclusion in_contrast "
        "in_effect in_fact in_general in_other_words in_particular in_practice in_short in_sum "
        "in_the_end in_the_meantime in_theory in_turn more_importantly most_importantly no_doubt "
        "of_course on_the_contrary on_the_other_hand on_the_whole once_again so_far that_is "
        "to_be_sure to_this_end what_is_more"
    ),
    "zh": (
        "但 但是 可 可是 不过 然而 却 只是 反而 相反 反之 其实 事实上 实际上 当然 诚然 因此 因而 "
        "所以 于是 从而 故 可见 由此可见 总之 总的来说 综上所述 简而言之 换言之 换句话说 也就是说 "
        "即 例如 比如 譬如 尤其 尤其是 特别是 此外 另外 而且 并且 同时 与此同时 同样 同样地 "
        "不仅如此 除此之外 再者 况且 何况 甚至 首先 其次 再次 最后 最终 最初 起初 后来 随后 接着 "
        "然后 之后 此后 此前 之前 当时 目前 如今 现在 近年来 有时 通常 一般来说 一般而言 具体来说 "
        "据说 据悉 显然 或许 也许 可能 幸运的是 不幸的是 遗憾的是 一方面 另一方面 否则 如果 虽然 "
        "尽管 即使 由于 因为 既然 无论如何 不管怎样 到目前为止 值得注意的是"
    ),
}
"""Language -> markers; an underscore stands for a space."""


class DiscourseMarkersOptions(LayerOptions):
    """Which markers are looked for."""

    markers: tuple[str, ...] = ()
    """The markers, whose order is the order of the classes; none: those of the language."""
    files: tuple[str, ...] = ()
    """Files of further markers, one a line."""
    comma: bool | None = None
    """Does a comma have to follow; none: in English, where an adverb without one is often no
    marker.
    """

    @field_validator("markers")
    @classmethod
    def _distinct(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := sorted({marker for marker in markers if markers.count(marker) > 1}):
            raise ValueError(f"markers stand in the list twice: {', '.join(repeated)}")
        return markers


class DiscourseMarkers(TextLayer):
    """Spans of a marker with the comma after it; the kind of a span is the marker's place in the
    list, from 1.
    """

    citation = "Discovery (Sileo et al. 2019); ERNIE 2.0, section 4.2.3"
    Options = DiscourseMarkersOptions
    options: DiscourseMarkersOptions

    def __init__(self, options: DiscourseMarkersOptions, language: Language) -> None:
        """Read the lists; the options that are kept with the corpus name every marker.

        Raises:
            UserError: A file is missing, or a marker stands in the lists twice, or there are too
                many.
        """
        super().__init__(options, language)
        given = [*options.markers, *(line for name in options.files for line in _lines(name))]
        markers = tuple(" ".join(marker.lower().split()) for marker in given) or _defaults(language)
        if repeated := sorted({marker for marker in markers if markers.count(marker) > 1}):
            raise UserError(
                f"layers.discourse_markers: markers stand in the lists twice: {', '.join(repeated)}"
            )
        if len(markers) > MOST_MARKERS:
            raise UserError(
                f"layers.discourse_markers: {len(markers)} markers; at most {MOST_MARKERS} can be "
                "told apart"
            )
        comma = language == "en" if options.comma is None else options.comma
        self.options = options.model_copy(update={"markers": markers, "files": (), "comma": comma})
        self._comma = comma
        self._by_head: dict[str, list[tuple[str, int]]] = {}
        for kind, marker in enumerate(markers, start=1):
            self._by_head.setdefault(self._head(marker), []).append((marker, kind))
        for found in self._by_head.values():
            found.sort(key=lambda row: -len(row[0]))
        self._heads = _head_pattern(self._by_head, language)

    def _head(self, marker: str) -> str:
        return marker.split(" ")[0] if self.language == "en" else marker[0]

    def marks(self, text: str) -> list[tuple[int, int, int]]:
        """Return first character, one past the last, and kind of each marker at what may be the
        head of a sentence.
        """
        found: list[tuple[int, int, int]] = []
        for match in self._heads.finditer(text):
            start = match.start()
            for marker, kind in self._by_head.get(match[0].lower(), ()):
                stop = self._stop(text, start, marker)
                if stop and (not found or start >= found[-1][1]):
                    found.append((start, stop, kind))
                    break
        return found

    def _stop(self, text: str, start: int, marker: str) -> int:
        """Return where a marker that may stand at a place ends, its comma included; 0 if it does
        not stand there.
        """
        stop = start + len(marker)
        if text[start:stop].lower() != marker:
            return 0
        if self.language == "en" and text[stop : stop + 1].isalnum():
            return 0
        comma = _COMMA.match(text, stop)
        return comma.end() if comma else 0 if self._comma else stop


_COMMA = re.compile(r"\s*[,，]")


def _head_pattern(heads: Iterable[str], language: Language) -> re.Pattern[str]:
    """Return what finds the heads where a sentence may begin; in English with a capital.

    Whether an ideograph begins a word is seen when marks are laid onto words.
    """
    if language == "zh":
        letters = re.escape(
            "".join(sorted({letter for head in heads for letter in head + head.upper()}))
        )
        return re.compile(rf"[{letters}](?<!\w.)")
    by_capital: dict[str, list[str]] = {}
    for head in heads:
        if re.fullmatch("[a-z]+", head):
            by_capital.setdefault(head[0].upper(), []).append(head[1:])
    # The pattern begins with a capital and looks back afterwards, so that the search can skip from
    # capital to capital.
    return re.compile(
        "|".join(
            rf"{capital}(?<!\w.)(?:{'|'.join(rests)})(?![a-z])"
            for capital, rests in by_capital.items()
        )
        or "(?!)"
    )


def _lines(name: str) -> list[str]:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"layers.discourse_markers: no file {name}")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _defaults(language: Language) -> tuple[str, ...]:
    return tuple(marker.replace("_", " ") for marker in DEFAULTS[language].split())
