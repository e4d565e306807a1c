"""The spool's files: what is acknowledged is there, and what is damaged is noticed."""

import asyncio
from pathlib import Path

import pytest

from fleetwire.errors import ConfigError, Overloaded
from fleetwire.store.spool import MAGIC, Spool

MIB = 1024 * 1024


async def _filled(folder: Path, payloads: list[bytes]) -> None:
    spool = Spool(folder, max_bytes=MIB)
    spool.open()
    for payload in payloads:
        await spool.append(payload)
    await spool.close()


async def _read(folder: Path) -> list[bytes]:
    spool = Spool(folder, max_bytes=MIB)
    spool.open()
    found = []
    for path in await spool.closed_files():
        found += spool.records(path)
        spool.done(path)
    await spool.close()
    return found


async def test_what_was_appended_is_read_in_order_also_by_the_next_owner(tmp_path: Path) -> None:
    payloads = [b"one", b"", bytes(range(256)) * 300, b"four"]
    await _filled(tmp_path, payloads)
    assert await _read(tmp_path) == payloads


async def test_appends_at_once_share_a_write_and_all_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.open()
    await asyncio.gather(*(spool.append(b"%d" % number) for number in range(500)))
    await spool.close()
    assert sorted(await _read(tmp_path), key=int) == [b"%d" % number for number in range(500)]


@pytest.mark.parametrize("cut_bytes", [1, 7, 8, 9, 12])
async def test_a_torn_tail_is_skipped_and_set_aside(tmp_path: Path, cut_bytes: int) -> None:
    await _filled(tmp_path, [b"first", b"the last"])
    [path] = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    assert await _read(tmp_path) == [b"first"]
    assert path.with_suffix(".damaged").is_file()
    assert await _read(tmp_path) == []


@pytest.mark.parametrize("at", [0, 9, 13, 16, 20])
async def test_no_flipped_bit_is_read_as_a_record(tmp_path: Path, at: int) -> None:
    await _filled(tmp_path, [b"first", b"second"])
    [path] = tmp_path.glob("*.spool")
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    assert await _read(tmp_path) in [[], [b"first"]]
    assert path.with_suffix(".damaged").is_file()


async def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1000)
    spool.open()
    await spool.append(b"x" * 900)
    with pytest.raises(Overloaded) as refusal:
        await spool.append(b"y" * 100)
    assert refusal.value.code == "spool_full"
    assert refusal.value.retry_after_secs
    await spool.close()
    assert await _read(tmp_path) == [b"x" * 900]


async def test_room_comes_back_when_a_file_is_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1000)
    spool.open()
    await spool.append(b"x" * 900)
    for path in await spool.closed_files():
        spool.done(path)
    assert spool.is_empty
    await spool.append(b"y" * 900)
    await spool.close()


async def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    first = Spool(tmp_path, max_bytes=MIB)
    first.open()
    with pytest.raises(ConfigError, match="cannot be used"):
        Spool(tmp_path, max_bytes=MIB).open()
    await first.close()
    second = Spool(tmp_path, max_bytes=MIB)
    second.open()
    await second.close()


async def test_a_disk_that_takes_nothing_is_told_to_the_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.open()
    await spool.append(b"before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(Overloaded) as refusal:
            await spool.append(b"lost")
    assert refusal.value.code == "spool_failed"
    await spool.append(b"after")
    await spool.close()
    assert await _read(tmp_path) == [b"before", b"after"]


async def test_what_is_put_aside_of_one_outage_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    for payload in (b"first", b"second"):
        await _filled(tmp_path, [payload, b"torn"])
        [path] = tmp_path.glob("*.spool")
        path.write_bytes(path.read_bytes()[:-1])
        spool = Spool(tmp_path, max_bytes=MIB)
        spool.open()
        assert await spool.closed_files() == [path]
        refused = list(spool.records(path))
        assert refused == [payload]
        spool.done(path, refused=refused)
        await spool.close()
    kept = [path.read_bytes() for path in sorted(tmp_path.glob("*.refused"))]
    assert [content[8:] for content in kept] == [b"first", b"second"]  # behind length and checksum
    assert len(list(tmp_path.glob("*.damaged"))) == 2


async def test_a_foreign_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "00000001.spool").write_bytes(b"not ours" * 4)
    assert MAGIC != b"not ours"
    assert await _read(tmp_path) == []
