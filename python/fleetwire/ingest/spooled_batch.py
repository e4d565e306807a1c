"""What the spool keeps of a batch: who sent it, and the fixes that its receipt said are accepted.

A batch is judged once, when it is received. The drain stores what was accepted then, whatever the clock, the limits and
the retention say by that time. Tenant and device are kept by name, besides the tenant's number: a database that was put
back from a backup may give a device's number to another.
"""

from typing import NamedTuple

import msgspec


class DeviceKey(NamedTuple):
    """Whose batch it is."""

    tenant_id: int
    tenant: str
    device: str


class SpooledBatch(msgspec.Struct, array_like=True, frozen=True):
    """One record of the spool."""

    tenant_id: int
    tenant: str
    device: str
    received_at_millis: int
    fix_count: int
    fixes: bytes
    """Packed by the core (`Batch.pack`)."""
    refusal: str | None = None
    """Of a batch that was put aside: the code."""
    detail: str | None = None
    """Of a batch that was put aside: a sentence."""

    @property
    def key(self) -> DeviceKey:
        """Whose batch it is."""
        return DeviceKey(self.tenant_id, self.tenant, self.device)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(SpooledBatch).decode
"""Raises msgspec.MsgspecError if it is none."""
