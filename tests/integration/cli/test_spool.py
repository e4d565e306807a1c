"""`fleetwire spool`: what it prints, its exit codes, and that names of others cannot pass for markup."""

import json
import stat

import pytest

from fleetwire.ingest import spooled_batch
from fleetwire.ingest.decode import BatchDecoder, Body
from fleetwire.ingest.spool_folder import SpoolFolder
from fleetwire.ingest.spooled_batch import SpooledBatch
from fleetwire.settings import Settings
from harness.fixes import fix, now_millis
from harness.process import run

DEVICE = "van [red]7[/]"


class NoRetention:
    """Keeps everything."""

    def earliest_millis(self, _tenant_id, _now_millis):
        return 0


def spooled(refusal=None):
    decoder = BatchDecoder(Settings(), NoRetention())
    body = Body(json.dumps([fix(now_millis())]).encode())
    return spooled_batch.encode(
        SpooledBatch(
            tenant_id=1,
            tenant="acme",
            device=DEVICE,
            received_at_millis=1_763_768_400_000,
            fix_count=1,
            fixes=decoder.decode(body, tenant_id=1).pack(),
            refusal=refusal,
            detail=None if refusal is None else "The tenant's device limit leaves no room for this device.",
        )
    )


@pytest.fixture
def spool(scratch_dir):
    folder = SpoolFolder.claim(scratch_dir / "spool" / "slot-1")
    assert folder is not None
    folder.put_aside([spooled("device_limit"), spooled("device_limit")])
    folder.create("spool").close()
    folder.release()
    return scratch_dir / "spool"


def test_files_and_batches_are_listed_for_people_and_for_programs(spool):
    listed = run("spool", "list", "--spool", spool)
    assert listed.returncode == 0
    assert "slot-1/00000001.refused" in listed.stdout
    rows = json.loads(run("spool", "list", "--spool", spool, "--json").stdout)
    assert [(row["file"], row["kind"], row["batches"], row["fixes"]) for row in rows] == [
        ("slot-1/00000001.refused", "refused", 2, 2),
        ("slot-1/00000002.spool", "waiting", 0, 0),
    ]
    inspected = run("spool", "inspect", "slot-1/00000001.refused", settings={"FLEETWIRE_SPOOL": str(spool)})
    assert inspected.returncode == 0
    assert inspected.stdout.count(DEVICE) == 2
    assert "device_limit" in inspected.stdout


def test_refused_batches_are_given_back_once(spool):
    done = run("spool", "retry", "--spool", spool)
    assert (done.returncode, done.stdout) == (0, "slot-1/00000001.spool waits to be stored\n")
    assert stat.S_IMODE((spool / "slot-1" / "00000001.spool").stat().st_mode) == 0o600
    again = run("spool", "retry", "--spool", spool, "--json")
    assert json.loads(again.stdout) == {"files": []}


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["list"], 2, "--spool"),
        (["list", "--spool", "/nonexistent"], 1, "no spool in /nonexistent"),
        (["inspect", "slot-1/00000009.refused"], 1, "no file slot-1/00000009.refused"),
        (["inspect", "../../etc/passwd"], 1, "no file ../../etc/passwd"),
        (["retry", "slot-1/00000001.refused", "slot-1/00000002.spool"], 1, "holds no refused batches"),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr(spool, words, code, sentence):
    settings = {} if words == ["list"] else {"FLEETWIRE_SPOOL": str(spool)}
    done = run("spool", *words, settings=settings)
    assert done.returncode == code
    assert done.stdout == ""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    # Nothing was given back beside what was wrong.
    assert (spool / "slot-1" / "00000001.refused").is_file()
