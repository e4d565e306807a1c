"""The spool's files: what is acknowledged is there, what is damaged is noticed, and nobody else reads or takes them."""

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest

from fleetwire.errors import ConfigError, Overloaded
from fleetwire.ingest import spool_file
from fleetwire.ingest.spool import Spool
from fleetwire.ingest.spool_folder import SpoolFolder, files_of, slots

MIB = 1024 * 1024


async def _filled(root: Path, payloads: list[bytes]) -> None:
    spool = Spool(root, max_bytes=MIB)
    spool.open()
    for payload in payloads:
        await spool.append(payload)
    await spool.close()


async def _read(root: Path) -> list[bytes]:
    spool = Spool(root, max_bytes=MIB)
    spool.open()
    found = []
    for path in await spool.closed_files():
        contents = spool_file.read(path)
        found += contents.payloads
        if contents.skipped_bytes:
            spool.own.keep_damaged(path)
        spool.own.replace(path, [])
    await spool.close()
    return found


def _only(root: Path, kind: str) -> Path:
    [path] = [file.path for folder in slots(root) for file in files_of(folder) if file.kind == kind]
    return path


async def test_what_was_appended_is_read_in_order_also_by_the_next_owner(tmp_path: Path) -> None:
    payloads = [b"one", b"", bytes(range(256)) * 300, b"four"]
    await _filled(tmp_path, payloads)
    assert await _read(tmp_path) == payloads


async def test_appends_at_once_share_a_write_and_all_are_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.open()
    await asyncio.gather(*(spool.append(b"%d" % number) for number in range(500)))
    await spool.close()
    assert sorted(await _read(tmp_path), key=int) == [b"%d" % number for number in range(500)]


@pytest.mark.parametrize("cut_bytes", [1, 7, 8, 9, 12])
async def test_a_torn_tail_is_skipped_and_set_aside(tmp_path: Path, cut_bytes: int) -> None:
    await _filled(tmp_path, [b"first", b"the last"])
    path = _only(tmp_path, "spool")
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    assert await _read(tmp_path) == [b"first"]
    assert _only(tmp_path, "damaged") == path.with_suffix(".damaged")
    assert await _read(tmp_path) == []


@pytest.mark.parametrize("at", [0, 9, 13, 16, 20])
async def test_no_flipped_bit_is_read_as_a_record(tmp_path: Path, at: int) -> None:
    await _filled(tmp_path, [b"first", b"second"])
    path = _only(tmp_path, "spool")
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    assert await _read(tmp_path) in [[], [b"first"]]
    assert _only(tmp_path, "damaged")


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
        spool.own.replace(path, [])
    assert not (await spool.measure()).waiting
    await spool.append(b"y" * 900)
    await spool.close()


async def test_no_room_is_lost_when_a_file_is_drained_during_an_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, max_bytes=10_000)
    spool.open()
    fsync = os.fsync
    began, may_end = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread() and not began.is_set():
            began.set()
            may_end.wait(5)
        fsync(descriptor)

    for _ in range(3):
        await spool.append(b"x" * 5_000)
        files = await spool.closed_files()
        with monkeypatch.context() as patched:
            began.clear()
            may_end.clear()
            patched.setattr("os.fsync", slow)
            appending = asyncio.create_task(spool.append(b"y" * 4_000))
            await asyncio.to_thread(began.wait, 5)
            for path in files:
                spool.own.replace(path, [])
            await spool.measure()
            may_end.set()
            await appending
        for path in await spool.closed_files():
            spool.own.replace(path, [])
        await spool.measure()
    await spool.append(b"z" * 9_000)
    await spool.close()


async def test_the_bound_holds_for_the_folders_of_all_workers_and_for_what_is_put_aside(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, max_bytes=10_000), Spool(tmp_path, max_bytes=10_000)
    first.open()
    second.open()
    first.own.put_aside([b"x" * 3_000])
    await first.append(b"y" * 3_000)
    await second.measure()
    await second.append(b"z" * 3_000)
    with pytest.raises(Overloaded):
        await second.append(b"z" * 3_000)
    await first.close()
    await second.close()


async def test_every_worker_has_a_folder_of_its_own_and_finds_those_that_were_left(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, max_bytes=MIB), Spool(tmp_path, max_bytes=MIB)
    first.open()
    second.open()
    assert first.own.path != second.own.path
    await first.append(b"one")
    await second.measure()
    [left] = second.others_waiting()
    assert SpoolFolder.claim(left) is None, "its owner still has it"
    await first.close()
    folder = SpoolFolder.claim(left)
    assert folder is not None
    assert [spool_file.read(path).payloads for path in folder.waiting()] == [[b"one"]]
    folder.release()
    await second.close()


async def test_nobody_else_can_read_the_spool_whatever_the_umask_is(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    root.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        await _filled(root, [b"one"])
        folder = SpoolFolder.claim(root / "slot-1")
        assert folder is not None
        folder.put_aside([b"two"])
        folder.replace(folder.waiting()[0], [b"one"])
        folder.release()
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be used"):
        Spool(tmp_path / "spool", max_bytes=MIB).open()


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


async def test_an_append_after_the_close_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.open()
    await spool.close()
    with pytest.raises(Overloaded) as refusal:
        await spool.append(b"late")
    assert refusal.value.code == "stopping"


async def test_no_file_takes_the_number_of_one_that_was_put_aside(tmp_path: Path) -> None:
    for payload in (b"first", b"second"):
        await _filled(tmp_path, [payload, b"torn"])
        path = _only(tmp_path, "spool")
        path.write_bytes(path.read_bytes()[:-1])
        folder = SpoolFolder.claim(path.parent)
        assert folder is not None
        contents = spool_file.read(path)
        assert contents.payloads == [payload]
        assert folder.keep_damaged(path)
        assert not folder.keep_damaged(path), "it was counted before"
        folder.put_aside(contents.payloads)
        folder.replace(path, [])
        folder.release()
    files = files_of(tmp_path / "slot-1")
    refused = [spool_file.read(file.path).payloads for file in files if file.kind == "refused"]
    assert refused == [[b"first"], [b"second"]]
    assert len([file for file in files if file.kind == "damaged"]) == 2


async def test_a_foreign_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "slot-1").mkdir()
    (tmp_path / "slot-1" / "00000001.spool").write_bytes(b"not ours" * 4)
    assert spool_file.MAGIC != b"not ours"
    assert await _read(tmp_path) == []
    assert _only(tmp_path, "damaged")
