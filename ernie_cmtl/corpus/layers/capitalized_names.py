"""English names: runs of capitalised words, judged by where they stand and by the rest of the
document.
"""

import re

from pydantic import Field

from ernie_cmtl.corpus.layers import LayerOptions, SpanProvider

# Words that no name holds: what follows them begins anew.
_NEVER_TEXT = (
    "A An The This That These Those There Here Then Thus And But Or Nor So Yet If As At By For "
    "From In Into Of On To With Without I He She It We You They Me Him Her His Its My Our Your "
    "Their Us Them Who Whom Whose Which What When Where Why How While After Before Since Until "
    "Though Although Because However Moreover Meanwhile Also Not No Yes Is Are Was Were Be Been "
    "Has Have Had Do Does Did Can Could Would Should Shall Might Must Let Monday Tuesday Wednesday "
    "Thursday Friday Saturday Sunday January February March July September October November "
    "December Jan Feb Mar Apr Jun Jul Aug Sept Oct Nov Dec"
)
# Words that no name begins with, but that may stand later in one.
_NEVER_FIRST_TEXT = (
    "April May June August Will Under Over Between During About Against Among Through Despite "
    "Unlike Like Once Only Even Still Just Now Today Yesterday Tomorrow Last Next Many Most Some "
    "Several Few Both Each Every Another Other Others Such All Any One Two Three Four Five Six "
    "Seven Eight Nine Ten First Second Third Finally Indeed Instead Perhaps Maybe Never Often Well "
    "Oh Ah Mr Mrs Ms Dr"
)
_NEVER = frozenset(_NEVER_TEXT.split())
_NEVER_FIRST = _NEVER | frozenset(_NEVER_FIRST_TEXT.split())
_CUTTING = _NEVER_FIRST | {"of"}

_UPPER = "".join(letter for letter in map(chr, range(0x250)) if letter.isupper())
# What follows the capital of a word: U.S., O'Brien, AT&T, Coca-Cola, Stratford-upon-Avon.
_REST = (
    rf"(?:(?:\.[{_UPPER}]\b)+\.?|(?<=[DLO])['’][{_UPPER}]\w*|\w*)"
    rf"(?:&[{_UPPER}]\w*)*(?:-(?:[a-z]{{1,4}}-)*[{_UPPER}]\w*)*"
)
# A full stop within a name stands after an initial ("I." rather ends a sentence) or a short form.
_AFTER_SHORT_FORM = (
    r"(?:(?<=\b[A-HJ-Z])|(?<=\b(?:Co|Dr|Ft|Jr|Lt|Mr|Ms|Mt|Sr|St))|"
    r"(?<=\b(?:Adm|Col|Gen|Gov|Hon|Inc|Ltd|Maj|Mme|Mrs|Rep|Rev|Sen|Sgt))|(?<=\b(?:Bros|Capt|Corp|Prof)))"
)
_AFTER_ENDING = r"(?:(?<=\b(?:Co|Jr|Sr))|(?<=\b(?:Inc|Ltd))|(?<=\b(?:Bros|Corp)))"
_CONNECTOR = (
    r"(?:of(?: the)?|de(?: las?| los)?|del|della|di|da|dos|du|"
    r"van(?: de[nr]?)?|von(?: de[nr])?|bin|ibn|al|&) "
)
_JOINT = rf"(?:(?:{_AFTER_SHORT_FORM}\.)? (?:{_CONNECTOR})?|, (?=(?:Bros|Co|Corp|Inc|Jr|Ltd|Sr)\b))"
# The pattern begins with a capital and looks back afterwards, so that the search can skip from
# capital to capital. In addresses, tags of social media and compounds of small letters there are no
# names.
_RUN = re.compile(
    rf"[{_UPPER}](?<![\w@#/._-].){_REST}(?:{_JOINT}[{_UPPER}]{_REST})*(?:{_AFTER_ENDING}\.)?"
)
# What begins a sentence, or what is said, may owe its capital to its place.
_SENTENCE_START = re.compile(
    rf"[.!?:…—\n\"“‘'`](?:(?<=[.!?:…—\n])|(?<=, .))[ \"'`“‘(\[«*_]*(?=[{_UPPER}])"
)
_LONGEST_ACRONYM = 6


class CapitalizedNamesOptions(LayerOptions):
    """Which names count."""

    minimum_words: int = Field(1, ge=1)
    """Fewest words of a name."""


class CapitalizedNames(SpanProvider):
    """Runs of capitalised words; at the start of a sentence only with evidence from elsewhere in
    the document.
    """

    languages = ("en",)
    citation = "ERNIE 1.0, section 3.2; found by letter case"
    Options = CapitalizedNamesOptions
    options: CapitalizedNamesOptions

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the place of each name, without a possessive 's."""
        found: list[tuple[int, str]] = []
        doubtful: list[tuple[int, str]] = []
        sentences = {0, *(match.end() for match in _SENTENCE_START.finditer(text))}
        for match in _RUN.finditer(text):
            run = match[0]
            if run in _NEVER_FIRST:
                continue
            begin = match.start()
            for start, name in _names(run, begin):
                (doubtful if start == begin and start in sentences else found).append((start, name))
        ordinary, known = set(text.split()), set(" ".join(name for _, name in found).split(" "))
        for start, name in doubtful:
            first, _, others = name.partition(" ")
            is_ordinary = first.lower() in ordinary
            if (first in known and (others or not is_ordinary)) or (others and not is_ordinary):
                found.append((start, name))
            elif others:
                # Only the first word owes its capital to the sentence.
                found.append((start + len(first) + 1, others))
        minimum = self.options.minimum_words - 1
        return sorted(
            (start, start + len(name)) for start, name in found if name.count(" ") >= minimum
        )


def _names(run: str, place: int) -> list[tuple[int, str]]:
    """Cut a run that begins at a place of the text at the words that are in no name; return the
    names with their places.
    """
    if " " not in run:
        is_name = len(run) > 1 and (len(run) <= _LONGEST_ACRONYM or not run.isupper())
        return [(place, run)] if is_name else []
    if run.isupper():
        # Several words in capitals are a heading.
        return []
    words = run.split(" ")
    if _CUTTING.isdisjoint(words):
        return [(place, run)]
    names = []
    start = stop = begin = 0
    for word in words:
        end = begin + len(word)
        connects = not word[0].isupper()
        # What stands before "of" is one word (Bank of, Duke of); after more it is rather a person
        # of a place.
        breaks = word in _NEVER or (word == "of" and " " in run[start:stop])
        if breaks or (start == stop and (connects or word in _NEVER_FIRST)):
            names.append((start, stop))
            start = stop = end + 1
        elif not connects:
            stop = end
        begin = end + 1
    names.append((start, stop))
    return [(place + start, run[start:stop]) for start, stop in names if stop - start > 1]
