"""What English speakers say when they settle something."""

from __future__ import annotations

import re
from typing import Final

from echoic.insights.rules.english import capitalize_first, names_something, strip_fillers
from echoic.insights.rules.sentences import Sentence

_SHORTEST: Final = 4
#: Words of a sentence that is quoted whole.
_LONGEST: Final = 32

#: What stands before that which is settled.
_BEFORE: Final = re.compile(
    r"\b(?:(?:we|the (?:team|board|group|committee))(?:'ve| have| has)?(?: all| now| finally)? "
    r"(?:decided|agreed)(?: not)? (?:to|that|on|against|upon)\b"
    r"|(?:everyone|everybody) (?:has )?agree[ds] (?:to|that|on)\b"
    r"|it(?:'s| is| was| has been) (?:decided|agreed|settled) (?:to|that)\b"
    r"|(?:the|our|final|my) decision(?: here| then)?(?: is|:) "
    r"|^decision: "
    r"|(?:we're|we are|we'll|we will|let's)"
    r"(?: just| definitely| now)? (?:going|go|sticking|stick) (?:ahead )?with\b"
    r"|(?:we've|we have|we) (?:settled on|opted for|chosen)\b"
    r"|we(?:'ve| have)? approved\b)"
)
#: What stands after it.
_AFTER: Final = re.compile(
    r"\b(?:is|are|has been|have been)(?: now| officially| hereby)? approved\b"
    r"|\bmotion (?:is )?(?:carried|carries|passed|passes)\b"
)
#: What, before that, takes it back.
_UNSETTLED: Final = re.compile(
    r"\b(?:if|whether|unless|until|before|once|haven't|hasn't|didn't|don't|never|not|might|could|would|how"
    r"|why|"
    r"what|who|wish|maybe|perhaps|probably|thought|said|says|since|because|after|remember|nobody|nothing"
    r"|no one|none)\b"
    r"|\b(?:have|has|had|did|do|are) $"
)
#: A step of a story, or what was settled long ago.
_STORY: Final = re.compile(
    r"\b(?:(?:then|one day|eventually|in the end) (?:we|they) (?:decided|agreed)|agreed to disagree"
    r"|last (?:week|month|year|time|quarter|night|spring|summer|fall|autumn|winter)|yesterday"
    r"|(?:year|month|week)s? ago|back (?:in|then)|originally|at (?:the|that) time|in (?:19|20)\d\d"
    r"|when (?:we|i|they|he|she)|used to|previously)\b"
)


def find_decision(sentence: Sentence) -> str | None:
    """Return a sentence that says that something is settled, or None: it does not, or not surely."""
    text = strip_fillers(sentence.text)
    lower = text.lower()
    before, after = _BEFORE.search(lower), _AFTER.search(lower)
    found = before or after
    if found is None or sentence.is_question or len(text.split()) < _SHORTEST:
        return None
    if _STORY.search(sentence.text.lower()) or _UNSETTLED.search(lower[: found.start()]):
        return None
    if not names_something(lower[found.end() :] if before else lower[: found.end()].replace("approved", "")):
        return None
    if len(text.split()) > _LONGEST:
        text = " ".join(text[found.start() if before else 0 :].split()[:_LONGEST])
    return capitalize_first(text)
