"""Generates names for made-up streets."""

import random
from collections.abc import Iterator
from itertools import product

# fmt: off
_STEMS = (
    "Ahorn", "Amsel", "Anger", "Bach", "Berg", "Birken", "Brunnen", "Buchen", "Dom", "Eichen", "Erlen",
    "Eschen", "Feld", "Fichten", "Finken", "Garten", "Glocken", "Hafer", "Hang", "Hasel", "Heide", "Hirten",
    "Hof", "Holunder", "Kiefern", "Kirsch", "Klee", "Korn", "Lerchen", "Linden", "Markt", "Meisen", "Mohn",
    "Mühl", "Nuss", "Pappel", "Quell", "Rosen", "Schmied", "Schul", "See", "Sonnen", "Stern", "Tal", "Tannen",
    "Ufer", "Ulmen", "Wald", "Weiden", "Weiher", "Wiesen", "Ziegel",
)
# fmt: on
_KINDS = ("straße", "weg", "gasse", "allee", "ring", "steig")


def street_names(rng: random.Random) -> Iterator[str]:
    """Yields distinct names in the order of `rng`; numbers them when the words are used up."""
    names = [stem + kind for stem, kind in product(_STEMS, _KINDS)]
    rng.shuffle(names)
    yield from names
    number = 2
    while True:
        yield from (f"{name} {number}" for name in names)
        number += 1
