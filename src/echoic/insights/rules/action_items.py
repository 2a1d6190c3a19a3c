"""What English speakers say when they undertake something or ask for it.

The rules would rather miss than invent: only verbs of work count, something must be named that is worked on,
and what is doubtful, conditional, told of others or asked is left out.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final, NamedTuple

from echoic.insights.base import ActionItem
from echoic.insights.rules.english import capitalize_first, may_be_name, names_something, plain
from echoic.insights.rules.sentences import Sentence
from echoic.insights.rules.word_lists import read_phrases, read_word_set

#: Words of an item at most.
_LONGEST: Final = 24

_WORK: Final = "|".join(read_phrases("work"))
_WORK_FIRST: Final = re.compile(_WORK)
_VERB: Final = (
    r"(?:(?:also|just|then|definitely|certainly|quickly|personally|please|maybe|go ahead and|try to"
    r"|try and) )"
    r"{0,3}"
    rf"(?P<verb>{_WORK})\b"
)
_NEWS: Final = read_word_set("news")
#: Work that is done while it is announced, or never.
_IDLE: Final = re.compile(
    r"(?:(?:call|tell|ask) (?:it|this|that|you|everyone|everybody|myself|anyone|one|a)\b|tell (?:me|us)\b"
    r"|change (?:my mind|the (?:subject|topic))\b|build (?:on|upon)\b"
    r"|move (?:on|over|to the next)|(?:share|show) (?:my|your|the) screen|open (?:with|up|the floor|by|it)\b"
    r"|close (?:with|by|out|the (?:door|window))|run (?:you|through|out|over|into)|raise (?:your|my|a) "
    r"|add (?:that|this|to that|one|just|a (?:quick )?(?:note|point|comment)\b)|bring (?:up|you|it|us)\b"
    r"|check (?:in\b|your (?:mic|audio|sound|microphone))|test (?:your|my|the) (?:mic|audio|sound)"
    r"|record (?:this|the) (?:call|meeting)|pick up (?:the phone|where)|write (?:it|this|that) (?:down"
    r"|here|on)"
    r"|(?:make sure|check|confirm|verify) (?:if |that )?(?:i|you|we|everyone|everybody) "
    r"(?:can|could|understand|hear|see|are|is)\b)"
)
_DEADLINE: Final = re.compile(
    r"\b(?:(?:by|before|until|on|this|next|for) (?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|noon|tomorrow"
    r"|tonight|eod|(?:the )?end of|next|january|february|march|april|may|june|july|august|september"
    r"|october|november|december|\d"
    r"|the (?:weekend|release|launch|deadline|demo|meeting|call|review|workshop|\d))|tomorrow|tonight|today"
    r"|(?:this|next) (?:week|month|sprint|quarter|afternoon|morning|evening)"
    r"|(?:in|within) (?:an?|one|two|three|the next|a few|\d+) (?:hour|day|week|minute)s?|asap"
    r"|as soon as possible"
    r"|(?:right )?after (?:this|the|our) (?:call|meeting|stand-?up))\b"
)
#: What, right before it, makes work doubtful, and what does anywhere before it.
_DOUBT: Final = re.compile(
    r"\b(?:maybe|perhaps|probably|pretend|said|says|saying|goes|thought|wish|like|would|wouldn't|never|not"
    r"|or|where|"
    r"what|how|why|who|that|which|because)(?: \w+)? ?$"
    r"|\b(?:if|unless|whether|suppose|imagine|someday|one day|some day|said to|told (?:me|him|her|us|them)"
    r"|whenever)\b"
)
_I: Final = re.compile(rf"\b(?:i'll|i will|i'm going to|i am going to|i'm gonna) {_VERB}")
_I_MUST: Final = re.compile(rf"\b(?:i (?:need|have) to|i've got to|i must|i can|i could) {_VERB}")
_WE_MUST: Final = re.compile(
    rf"\b(?:(?:we|somebody|someone) (?:still )?(?:needs? to|has to|have to|must)|let's) {_VERB}"
)
_REQUEST: Final = re.compile(rf"\b(?P<at>can you|could you|will you|would you(?= please)) {_VERB}")
#: After the words of a request: what may be asked of anyone, and be answered at once.
_ONLY_ASKED: Final = re.compile(
    r"\w+(?: up| out| through)? (?:it|that|this|them|more|less|by|on|to|from|with|for)\b"
)
_PLEASE: Final = re.compile(rf"(?:^|^[\w-]+ |[,:] |\b(?:so|and|then|also) )(?P<at>please) {_VERB}")
_DUTY: Final = (
    r"(?:will|'ll|is going to|is gonna|needs to|has to|should|is to"
    r"|(?:has )?(?:agreed|offered|volunteered|promised) to)"
)
_THIRD: Final = re.compile(
    rf"\b(?P<who>(?-i:[A-Z])[\w-]+(?: (?-i:[A-Z])[\w-]+)?|[\w-]+)(?: |(?=')){_DUTY} {_VERB}",
    re.IGNORECASE,
)
_TEAM: Final = re.compile(
    rf"\b(?P<who>(?:the|our) (?:\w+ ){{0,2}}(?:team|department|agency|vendor|office)) {_DUTY} {_VERB}"
)
_MARKER: Final = re.compile(
    r"\b(?:action items?|action points?|to-?dos?|next steps?)\b(?: for (?P<whose>[\w-]+))?[\w ,'-]{0,30}?"
    r"(?:\b(?:is|are|would be)\b|:|(?= [\w-]+ to ))(?: that)?(?: (?:for )?(?P<who>[\w-]+) (?:is )?to| to)?"
    rf" {_VERB}"
)
_CALLED: Final = re.compile(
    r"^(?:(?:okay|ok|so|and|then|alright|great|thanks|thank you|hey|hi|yeah|yes)[,.]? ){0,4}"
    r"(?P<name>[\w-]+),? $",
    re.IGNORECASE,
)
_CALLED_AFTER: Final = re.compile(r", (?P<name>[A-Z][\w-]+)[?.!]?$")
#: Where what is to be done ends and something else begins.
_OVER: Final = re.compile(
    r"[.!?;:](?=\s|$)"
    r"|,? (?:and|so|but|because|then|since|while)(?: then)? (?=(?:i|i'll|i'm|we|we'll|we're|you|you'll|he"
    r"|she|"
    r"they|it|it's|that|that's|this|there|let's|let|can|could|please|[\w-]+ (?:will|should|needs to|can))\b)"
    r"|,? (?:but|because|okay|ok|alright|yeah|yep|right\?|cool|great|which|does that|is that|if|unless|so)\b"
    r"| (?:i'll|i'm|i've|we'll|we're|we've|you'll|you're|let's|thanks|thank you)\b"
)
_TRAILING: Final = re.compile(
    r"(?:[, ]+(?:please|thanks|sorry|then|okay|ok|right|too|as well|again|now|and|or|the|a|to|um|uh))+$",
    re.IGNORECASE,
)
_ARTICLES: Final = read_word_set("articles")
#: What may stand before a name that begins a clause.
_LEADS_TO_NAME: Final = re.compile(
    r"(?:^|[,:] |\b(?:okay|ok|so|alright|well|yeah|yes|right|great|and|but|then|think|guess) )$",
    re.IGNORECASE,
)


class _Found(NamedTuple):
    start: int
    verb: int
    owner: str | None


def find_action_items(sentence: Sentence, common: Container[str]) -> Iterator[ActionItem]:
    """Yield what a sentence says is to be done.

    Args:
        sentence: Who says it owns what "I" undertake, if that is known.
        common: Words in small letters that name nobody.
    """
    text = plain(sentence.text)
    told = list(_told(text, sentence, common)) if not sentence.is_question else []
    over = 0
    for found in sorted((*told, *_asked(text, common)), key=lambda one: one[:2]):
        if found.start < over or _DOUBT.search(text[: found.start].lower()):
            continue
        if (description := _description(text[found.verb :], found.owner)) is not None:
            over = found.verb + len(description)
            yield ActionItem(description, found.owner)


def _asked(text: str, common: Container[str]) -> Iterator[_Found]:
    lower = text.lower()
    for rule in (_REQUEST, _PLEASE):
        for found in rule.finditer(lower):
            start, verb = found.start("at"), found.start("verb")
            called = _CALLED.search(text[:start]) or _CALLED_AFTER.search(text)
            owner = (
                capitalize_first(called["name"]) if called and may_be_name(called["name"], common) else None
            )
            sure = owner or rule is _PLEASE or "please" in found[0] or _DEADLINE.search(lower, verb)
            if sure or not _ONLY_ASKED.match(lower, verb):
                yield _Found(start, verb, owner)


def _told(text: str, sentence: Sentence, common: Container[str]) -> Iterator[_Found]:
    lower = text.lower()
    for found in _MARKER.finditer(lower):
        who = found["who"] if may_be_name(found["who"] or "", common) else found["whose"]
        named = who is not None and may_be_name(who, common)
        yield _Found(found.start(), found.start("verb"), capitalize_first(who) if who and named else None)
    for found in _I.finditer(lower):
        yield _Found(found.start(), found.start("verb"), sentence.speaker)
    for rule, owner in ((_I_MUST, sentence.speaker), (_WE_MUST, None)):
        for found in rule.finditer(lower):
            if _DEADLINE.search(lower, found.end()):
                yield _Found(found.start(), found.start("verb"), owner)
    for found in _TEAM.finditer(lower):
        yield _Found(
            found.start(), found.start("verb"), capitalize_first(text[found.start("who") : found.end("who")])
        )
    for found in _THIRD.finditer(text):
        who = _person(found["who"], text[: found.start()], common)
        if who is not None and found["verb"].lower() not in _NEWS:
            yield _Found(found.start(), found.start("verb"), who)


def _person(who: str, before: str, common: Container[str]) -> str | None:
    """Return the name of who will do something, or None: it is nobody's name."""
    first = who.partition(" ")[0]
    if not may_be_name(first, common):
        return None
    if first[:1].isupper():
        return None if before.rpartition(" ")[0].rpartition(" ")[2].lower() in _ARTICLES else who
    # Without capitals a name is told by its place alone.
    return capitalize_first(first) if _LEADS_TO_NAME.search(before) else None


def _description(rest: str, owner: str | None) -> str | None:
    """Return what is to be done, from its verb on, or None: nothing is named."""
    lower = rest.lower()
    if _IDLE.match(lower):
        return None
    end = next((found.start() for found in _OVER.finditer(lower) if found.start() > 0), len(rest))
    text = " ".join(rest[:end].split()[:_LONGEST])
    if owner:
        text = text.removesuffix(f", {owner}")
    text = _TRAILING.sub("", text).rstrip(" ,-")
    verb = _WORK_FIRST.match(text.lower())
    what = text[verb.end() :] if verb else ""
    return capitalize_first(text) if names_something(what) and not what.startswith(",") else None
