"""What this worker heard of the others: who is there, and whether a message of theirs is missing.

Each message has its worker's number, the count of that worker's connections (its epoch) and, per channel, a sequence
number that begins at 0 with each epoch. A message that was dropped on the way out took a number, too.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

# A worker sends a heartbeat each second; one that is silent for longer died without a goodbye, or lost its connection
# and knows it by now.
LOST_SECS: Final = 6.0
FIRST_EPOCH: Final = 1

Missing = Literal["gap", "away", "unknown"]
"""`gap`: numbers were skipped. `away`: it had lost its connection. `unknown`: it was there before it was heard here."""


@dataclass(slots=True)
class _Peer:
    epoch: int
    heard_at_secs: float
    next_seq: dict[str, int] = field(default_factory=dict)


class Peers:
    """The other workers, as many as there are."""

    def __init__(self) -> None:
        self._peers: dict[bytes, _Peer] = {}

    def hear(self, worker: bytes, epoch: int, channel: str, seq: int, *, now_secs: float) -> Missing | None:
        """Notes a message; why something may be missing before it, or None."""
        peer = self._peers.get(worker)
        missing: Missing | None = None
        if peer is None:
            peer = self._peers[worker] = _Peer(epoch, now_secs)
            missing = None if (epoch, seq) == (FIRST_EPOCH, 0) else "unknown"
        elif epoch > peer.epoch:
            peer.epoch, peer.next_seq = epoch, {}
            missing = "away"
        elif epoch == peer.epoch:
            # What came earlier on a channel that is heard for the first time went missing with the first of the others.
            missing = "gap" if seq > peer.next_seq.get(channel, seq) else None
        else:
            return None
        peer.heard_at_secs = now_secs
        peer.next_seq[channel] = max(seq + 1, peer.next_seq.get(channel, 0))
        return missing

    def is_repeated(self, worker: bytes, epoch: int, channel: str, seq: int) -> bool:
        """Whether this message, or a later one of the same worker and channel, was heard before."""
        peer = self._peers.get(worker)
        return peer is not None and (
            epoch < peer.epoch or (epoch == peer.epoch and seq < peer.next_seq.get(channel, 0))
        )

    def leave(self, worker: bytes) -> None:
        """It said goodbye, after all that it had to say."""
        self._peers.pop(worker, None)

    def lose(self, *, now_secs: float) -> int:
        """Forgets the workers that were silent for too long; how many those are."""
        lost = [worker for worker, peer in self._peers.items() if peer.heard_at_secs < now_secs - LOST_SECS]
        for worker in lost:
            del self._peers[worker]
        return len(lost)

    def clear(self) -> None:
        """Forgets everyone: this worker was away itself."""
        self._peers.clear()

    def __len__(self) -> int:
        return len(self._peers)
