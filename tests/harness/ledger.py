"""What was sent, what its senders were told, and what the database holds of it.

An acknowledged fix is there exactly once. One that was not acknowledged may be there or not, but a batch is there as a
whole or not at all, and what one transaction stored was answered alike: `verify` says whether all of that holds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import aiohttp

from .client import Answer, Client
from .database import Stored, rows, stored

Place = tuple[int, int]
Key = tuple[str, int]
"""A fix: its device, and its time in ms since 1970."""

GONE = (aiohttp.ClientError, OSError, TimeoutError)
"""How a sender learns that it will get no answer."""


@dataclass
class Batch:
    """Fixes that are sent together, once or many times, by one sender or many."""

    device: str
    places: Mapping[int, Place]
    claimed: int = 0  # fixes that receipts called stored
    refused: int = 0  # tries answered with 503: the sender is told nothing of what became of it
    denied: int = 0  # tries answered with any other refusal: nothing of it may be stored
    lost: int = 0  # tries without an answer

    @property
    def keys(self) -> set[Key]:
        """Its fixes."""
        return {(self.device, millis) for millis in self.places}


@dataclass
class Findings:
    """What is wrong; nothing if every list is empty."""

    missing: list[Key] = field(default_factory=list)  # acknowledged and not there
    doubled: list[Key] = field(default_factory=list)
    foreign: list[Stored] = field(default_factory=list)  # never sent, refused, or at another place than sent
    torn: list[Batch] = field(default_factory=list)  # not acknowledged and there in part
    split: list[Batch] = field(default_factory=list)  # refused, though others in the same transaction were told stored
    miscounted: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = ((each.name, getattr(self, each.name)) for each in fields(self))
        return "; ".join(f"{name}: {len(items)}, such as {items[:3]}" for name, items in found if items)


class Ledger:
    """Sends batches and remembers what came of them."""

    def __init__(self) -> None:
        self._batches: dict[tuple[str, tuple[int, ...]], Batch] = {}
        self._rejected: set[Key] = set()
        self.acknowledged: set[Key] = set()
        self.refusals: Counter[tuple[int, str]] = Counter()
        self.queued = 0  # batches that were answered so
        self.lost = 0

    async def send(self, client: Client, token: str, device: str, fixes: Sequence[dict[str, Any]]) -> Answer | None:
        """Sends a batch once; None if no answer came."""
        batch = self._batch(device, fixes)
        try:
            answer = await client.send({"device": device, "fixes": list(fixes)}, token=token)
        except GONE:
            self._lose(batch)
            return None
        if answer.status in {200, 202}:
            self._acknowledge(batch, fixes, answer)
        else:
            self._refuse(batch, answer)
        return answer

    def note_lost(self, device: str, fixes: Sequence[dict[str, Any]]) -> None:
        """Notes a batch that was sent by other means and got no answer."""
        self._lose(self._batch(device, fixes))

    def _batch(self, device: str, fixes: Sequence[dict[str, Any]]) -> Batch:
        # The first of a time counts, within a batch as everywhere.
        places = {fix["timestamp"]: _place(fix) for fix in reversed(fixes)}
        return self._batches.setdefault((device, tuple(sorted(places))), Batch(device, places))

    def _lose(self, batch: Batch) -> None:
        batch.lost += 1
        self.lost += 1

    def _refuse(self, batch: Batch, answer: Answer) -> None:
        self.refusals[answer.refusal] += 1
        if answer.status == 503:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60, answer.headers
            batch.refused += 1
        else:
            batch.denied += 1

    def _acknowledge(self, batch: Batch, fixes: Sequence[dict[str, Any]], answer: Answer) -> None:
        rejected: set[int] = set()
        if answer.status == 202:
            self.queued += 1
            assert answer.json["queued"] + len(answer.json["rejected"]) == len(fixes), answer.body
            assert answer.json["rejected"] == [], "queued batches of these tests are right"
        else:
            claimed, duplicate, by_index = answer.receipt
            assert claimed + duplicate + len(by_index) == len(fixes), answer.body
            batch.claimed += claimed
            rejected = {fixes[index]["timestamp"] for index in by_index}
        self._rejected |= {(batch.device, millis) for millis in rejected}
        self.acknowledged |= {key for key in batch.keys if key[1] not in rejected}

    async def compare(self, dsn: str, tenant: str, *, commits_went_unheard: bool = False) -> Findings:
        """Holds the ledger against what is stored of the tenant.

        `commits_went_unheard`: the database may have committed a group without its answer reaching the server, which
        then found its own fixes there and told their senders `duplicate`.
        """
        found = Findings()
        held = await stored(dsn, tenant)
        present = Counter((each.device, each.millis) for each in held)
        found.doubled = [key for key, count in present.items() if count > 1]
        found.missing = sorted(self.acknowledged - present.keys())
        places = self._places()
        found.foreign = [row for row in held if (row.lat_e7, row.lon_e7) not in places[row.device, row.millis]]
        found.torn = [batch for batch in self._batches.values() if self._is_torn(batch, present)]
        found.split = self._split(await rows(dsn, _TRANSACTIONS, tenant))
        claimed = sum(batch.claimed for batch in self._batches.values())
        # Each row was stored by one try: one whose receipt says so, or one whose sender was told nothing of it.
        unsure = {key for batch in self._batches.values() if batch.lost or batch.refused for key in batch.keys}
        most = len(present) if commits_went_unheard else claimed + len(unsure)
        if not claimed <= present.total() <= most:
            found.miscounted = [f"receipts claim {claimed}, {present.total()} are there, {len(unsure)} were unsure"]
        return found

    async def verify(self, dsn: str, tenant: str, *, commits_went_unheard: bool = False) -> None:
        """Every promise was kept."""
        assert self.acknowledged, "nothing was acknowledged: nothing was tried"
        found = await self.compare(dsn, tenant, commits_went_unheard=commits_went_unheard)
        assert found == Findings(), str(found)

    def _places(self) -> Mapping[Key, set[Place]]:
        """Where each fix may be; nowhere, if all who sent it were told that it is not taken."""
        places: dict[Key, set[Place]] = defaultdict(set)
        for batch in self._batches.values():
            if batch.claimed or batch.lost or batch.refused or not batch.denied:
                for key in batch.keys:
                    places[key].add(batch.places[key[1]])
        for key in self._rejected - self.acknowledged:
            places[key].clear()
        return places

    def _is_torn(self, batch: Batch, present: Mapping[Key, int]) -> bool:
        open_keys = batch.keys - self.acknowledged - self._rejected
        return 0 < len(open_keys & present.keys()) < len(open_keys)

    def _split(self, segments: Iterable[Sequence[Any]]) -> list[Batch]:
        owners: dict[Key, list[Batch]] = defaultdict(list)
        for batch in self._batches.values():
            for key in batch.keys:
                owners[key].append(batch)
        groups: dict[str, list[Batch]] = defaultdict(list)
        for transaction, device, first_millis in segments:
            # A fix that stands in several batches does not tell which of them this transaction stored.
            if len(candidates := owners[device, first_millis]) == 1:
                groups[transaction].append(candidates[0])
        return [
            batch
            for group in groups.values()
            if any(each.claimed for each in group)
            for batch in group
            if batch.refused and not batch.claimed and not batch.lost
        ]


def _place(fix: Mapping[str, Any]) -> Place:
    return round(fix["latitude"] * 1e7), round(fix["longitude"] * 1e7)


_TRANSACTIONS = """
SELECT s.xmin::text, d.name, (extract(epoch FROM s.first_at) * 1000)::bigint
FROM track_segment AS s JOIN device AS d USING (tenant_id, device_id) JOIN tenant AS t USING (tenant_id)
WHERE t.name = $1
"""
