"""The events that the load is made of: 600 bytes as sent, three sealed values, the variety of a mid-sized company.

Deterministic from a seed. The words of the payload are made up here, so that the dictionary which the store
compresses with (`src/atp/engine/record-1.zdict`) has never seen them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

EVENT_BYTES: Final = 600
SPREAD_BYTES: Final = 24
"""Sizes lie this far around EVENT_BYTES at most: within the ±5 % of the issue."""
ACTORS: Final = 5_000
RESOURCES: Final = 5_000
"""Each resource is a stream of its own."""
SEED: Final = 20_261

SECOND: Final = b"2000-01-01T00:00:00"
"""Stands in the prebuilt bytes where the second of sending goes; the same length, so nothing moves."""

_SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "je",
    "ki",
    "lo",
    "mu",
    "na",
    "pe",
    "qui",
    "ro",
    "su",
    "ta",
    "ve",
    "wi",
    "xo",
    "zu",
    "bra",
    "cle",
    "dri",
    "flo",
    "gru",
    "pla",
    "sti",
    "tre",
    "vru",
    "ska",
]
_GIVEN = [
    "Aino",
    "Bilal",
    "Chiara",
    "Dorota",
    "Eamon",
    "Farida",
    "Goran",
    "Hanneke",
    "Ilse",
    "Jarek",
    "Kofi",
    "Liesbeth",
    "Mehmet",
    "Nkechi",
    "Oskar",
    "Priya",
    "Quentin",
    "Rania",
    "Sanne",
    "Tomasz",
    "Ulrike",
    "Vikram",
    "Wanda",
    "Xenia",
    "Yusuf",
    "Zofia",
]
_FAMILY = [
    "Aaltonen",
    "Bakshi",
    "Carvalho",
    "Dvorak",
    "Eriksen",
    "Fofana",
    "Grabowski",
    "Haddad",
    "Ivanova",
    "Jansen",
    "Kowalczyk",
    "Lindqvist",
    "Moreau",
    "Novotny",
    "Okafor",
    "Pavlovic",
    "Quispe",
    "Rasmussen",
    "Szabo",
    "Takahashi",
    "Ullrich",
    "Vermeulen",
    "Wieczorek",
    "Yilmaz",
    "Zeman",
]
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 Safari/605.1.15",
    "ledger-sync/4.2 (linux; amd64)",
    "mobile-client/11.3 iOS/18.1",
)
ACTIONS = tuple(
    (kind, verb)
    for kind, verbs in {
        "invoice": "approved booked cancelled corrected paid sent",
        "contract": "amended archived drafted renewed signed terminated",
        "shipment": "dispatched held labelled received rerouted weighed",
        "ticket": "assigned closed escalated merged opened reopened",
        "dataset": "copied exported filtered joined published withdrawn",
    }.items()
    for verb in verbs.split()
)


class EventMaker:
    """Makes events; two makers with the same seed make the same ones."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = rng = random.Random(seed)
        self._words = sorted({"".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4))) for _ in range(4_000)})
        self._actors = [self._actor(number) for number in range(ACTORS)]
        self._resources = [self._resource(number) for number in range(RESOURCES)]

    def _actor(self, number: int) -> tuple[str, str]:
        """Return an actor as JSON, and the address its requests come from."""
        rng = self._random
        given, family = rng.choice(_GIVEN), rng.choice(_FAMILY)
        email = f"{given}.{family}{number}@{rng.choice(self._words)}.example".lower()
        address = f"{rng.randint(11, 120)}.{rng.randint(1, 250)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        actor = f'{{"type":"user","id":"emp-{number:05d}","name":"{given} {family}","email":"{email}"}}'
        return actor, address

    def _resource(self, number: int) -> tuple[str, str]:
        """Return a resource's kind, and the resource as JSON."""
        kind = ACTIONS[number % len(ACTIONS)][0]
        return kind, f'{{"type":"{kind}","id":"{kind[:3]}-{number:06d}"}}'

    def event(self, key: str | None = None) -> bytes:
        """Return one event as sent, with SECOND where the time goes; `key` is its idempotency key."""
        rng = self._random
        actor, address = self._actors[rng.randrange(ACTORS)]
        kind, resource = self._resources[rng.randrange(RESOURCES)]
        verb = rng.choice([verb for of, verb in ACTIONS if of == kind])
        outcome = "success" if rng.random() < 0.94 else "failure"
        head = (
            f'{{"occurredAt":"{SECOND.decode()}.{rng.randrange(1_000_000):06d}Z","actor":{actor},'
            f'"action":{{"name":"{kind}.{verb}","category":"{kind}"}},"resource":{resource},"outcome":"{outcome}",'
            f'"context":{{"ip":"{address}","userAgent":"{rng.choice(_AGENTS)}"}},'
            f'"payload":{{"step":{rng.randrange(40)},"flow":"{rng.choice(self._words)}","remark":"'
        )
        tail = '"}}' if key is None else f'"}},"idempotencyKey":"{key}"}}'
        size = EVENT_BYTES + rng.randint(-SPREAD_BYTES, SPREAD_BYTES) - len(tail)
        return (head + self._text(size - len(head)) + tail).encode("ascii")

    def _text(self, size: int) -> str:
        """Return words of exactly `size` characters together."""
        text = " ".join(self._random.choices(self._words, k=max(size, 0) // 5 + 1))[:size]
        return text[:-1] + "." if text.endswith(" ") else text

    def bodies(self, count: int, events: int, *, keys: str | None = None) -> Iterator[bytes]:
        """Yield `count` batch bodies of `events` each; `keys` begins their idempotency keys, if they have any."""
        for body in range(count):
            batch = (
                self.event(None if keys is None else f"{keys}-{body:06d}-{item:04d}")
                for item in range(events)
            )
            yield b'{"events":[' + b",".join(batch) + b"]}"
