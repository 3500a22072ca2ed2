"""English names: runs of capitalised words, judged by where they stand and by the rest of the document."""

import re

from pydantic import Field

from ernie_cmtl.corpus.spans import SpanOptions, SpanProvider

_UPPER = "".join(letter for letter in map(chr, range(0x250)) if letter.isupper())
_LOWER = "".join(letter for letter in map(chr, range(0x250)) if letter.islower())

# Words that no name begins with, and that end a run: what follows begins anew.
_NEVER = (
    "A An The This That These Those There Here Then Thus And But Or Nor So Yet If As At By For From In Into Of On To With "
    "Without I He She It We You They Me Him Her His Its My Our Your Their Us Them Who Whom Whose Which What When Where Why "
    "How While After Before Since Until Though Although Because However Moreover Meanwhile Also Not No Yes Is Are Was Were "
    "Be Been Has Have Had Do Does Did Can Could Would Should Shall Might Must Let Monday Tuesday Wednesday Thursday Friday "
    "Saturday Sunday January February March July September October November December Jan Feb Mar Apr Jun Jul Aug Sept Oct "
    "Nov Dec"
)
# Words that no name begins with, but that may stand later in one.
_NEVER_FIRST = (
    "April May June August Will Under Over Between During About Against Among Through Despite Unlike Like Once Only Even "
    "Still Just Now Today Yesterday Tomorrow Last Next Many Most Some Several Few Both Each Every Another Other Others Such "
    "All Any One Two Three Four Five Six Seven Eight Nine Ten First Second Third Finally Indeed Instead Perhaps Maybe Never "
    "Often Well Oh Ah Mr Mrs Ms Dr"
)
_TITLES = "Mr|Mrs|Ms|Dr|Prof|St|Ste|Mt|Ft|Gen|Col|Capt|Lt|Sgt|Rep|Sen|Gov|Rev|Hon|Maj|Adm|Messrs|Mme|Mlle"
_ENDINGS = "Inc|Corp|Co|Ltd|Jr|Sr|Bros"
_CONNECTORS = "of the|of|de las?|de los|de|del|della|di|da|dos|du|van de[nr]?|van|von de[nr]|von|bin|ibn|al|&"

_never = "|".join(_NEVER.split())
_PART = rf"[{_UPPER}]\w*(?:&[{_UPPER}]\w*)*"
_WORD = (
    rf"(?:(?:[{_UPPER}]\.){{2,}}|(?:{_ENDINGS})\.(?!\w)|(?:[DO]['’]|L['’](?=[{_UPPER}]))?{_PART}(?:-(?:[a-z]{{1,4}}-)*{_PART})*)"
)
_SHORT = rf"(?:(?:{_TITLES})\. |[A-HJ-Z]\. ?)"
_RUN = re.compile(
    rf"\b(?!(?:{_never}|{'|'.join(_NEVER_FIRST.split())})\b(?!\.)){_SHORT}*(?!(?:{_never})\b){_WORD}"
    rf"(?: (?:(?:{_CONNECTORS}) )?{_SHORT}*(?!(?:{_never})\b){_WORD}|, (?:{_ENDINGS})\b\.?)*"
)
_LOWER_WORD = re.compile(rf"\b[{_LOWER}]+")
_LONGEST_ACRONYM = 6


class CapitalizedNamesOptions(SpanOptions):
    """Which names count."""

    minimum_words: int = Field(1, ge=1)
    """Fewest words of a name."""


class CapitalizedNames(SpanProvider):
    """Runs of capitalised words; at the start of a sentence only with evidence from elsewhere in the document."""

    languages = ("en",)
    source = "ERNIE 1.0, section 3.2; found by letter case"
    Options = CapitalizedNamesOptions
    options: CapitalizedNamesOptions

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the place of each name, without a possessive 's."""
        runs = [match.span() for match in _RUN.finditer(text)]
        lower = set(_LOWER_WORD.findall(text))
        doubtful = [_starts_sentence(text, start) for start, _ in runs]
        sure = {text[start:stop].partition(" ")[0] for (start, stop), first in zip(runs, doubtful, strict=True) if not first}
        found = []
        for (start, stop), first in zip(runs, doubtful, strict=True):
            name = text[start:stop]
            if first:
                word = name.partition(" ")[0]
                if word.lower() in lower and (len(word) == len(name) or word not in sure):
                    # Only the first word owes its capital to the sentence.
                    start += len(word) + 1
                    name = text[start:stop]
                elif len(word) == len(name) and word not in sure:
                    continue
            if _is_name(name) and name.count(" ") + 1 >= self.options.minimum_words:
                found.append((start, stop))
        return found


def _starts_sentence(text: str, place: int) -> bool:
    """Tell whether a place owes its capital to a full stop, a line end or an opening quote before it."""
    before = text[max(0, place - 2) : place]
    if before[-1:] == " " and (before[0].isalnum() or before[0] == ","):
        return False
    before = text[max(0, place - 8) : place]
    words = before.rstrip(" \"'`“‘([«*_")
    return not words or words[-1] in ".!?:…—\n" or (words[-1] == "," and len(words) < len(before) - 1)


def _is_name(name: str) -> bool:
    if len(name) < 2 or name[0] not in _UPPER:
        return False
    # Capitals alone are an acronym or a heading.
    return not name.isupper() or (" " not in name and len(name) <= _LONGEST_ACRONYM)
