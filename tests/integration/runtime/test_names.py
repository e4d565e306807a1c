"""What a name may hold, and what comes of one that a terminal, a spreadsheet or XML would take for more than a name."""

import asyncio
import csv
import io
from urllib.parse import quote
from xml.etree import ElementTree as ET

from harness.fixes import fix
from harness.process import run

FORMULA = '=HYPERLINK("http://evil.example","x")'


async def track(client, tenant, name, form):
    path = f"/api/devices/{quote(name, safe='')}/track"
    answer = await client.get(path, token=tenant.dispatcher, format=form)
    assert answer.status == 200, answer.body
    return answer


async def test_a_formula_is_a_name_for_programs_and_text_for_a_spreadsheet(client, tenant):
    assert (await client.send({"device": FORMULA, "fixes": [fix()]}, token=tenant.ingest)).status == 200
    for form, shown in (("csv", FORMULA), ("csv-spreadsheet", "'" + FORMULA)):
        answer = await track(client, tenant, FORMULA, form)
        assert answer.headers["Content-Type"].startswith("text/csv")
        _, row = csv.reader(io.StringIO(answer.body.decode()))
        assert row[0] == shown


async def test_a_name_is_text_in_xml(client, tenant):
    name = "<b>&\"]]>'"
    assert (await client.send({"device": name, "fixes": [fix()]}, token=tenant.ingest)).status == 200
    root = ET.fromstring((await track(client, tenant, name, "gpx")).body)
    assert root.find(".//{http://www.topografix.com/GPX/1/1}name").text == name


async def test_a_label_with_brackets_is_listed_as_it_is(tenant):
    target = ("--tenant", tenant.name, "--database-url", tenant.dsn)
    await tenant.issue_async("ingest", "[/] [red]x[/red]")
    listed = await asyncio.to_thread(run, "token", "list", *target)
    assert listed.returncode == 0, listed.stderr
    assert "[/] [red]x[/red]" in listed.stdout


async def test_what_a_command_quotes_of_its_input_cannot_move_the_cursor(tenant):
    target = ("--tenant", "no\x1b[2J\u202ebody", "--database-url", tenant.dsn)
    refused = await asyncio.to_thread(run, "token", "list", *target)
    assert refused.returncode == 1
    assert "\x1b" not in refused.stderr
    assert "\u202e" not in refused.stderr
    assert "\\x1b[2J" in refused.stderr


async def test_an_export_for_a_spreadsheet_has_no_formula(client, tenant, scratch_dir):
    assert (await client.send({"device": FORMULA, "fixes": [fix(longitude=-11.5)]}, token=tenant.ingest)).status == 200
    for options, shown in (((), FORMULA), (("--for-spreadsheet",), "'" + FORMULA)):
        folder = scratch_dir / f"export{len(options)}"
        done = await asyncio.to_thread(
            run, "tenant", "export", tenant.name, folder, *options, "--database-url", tenant.dsn
        )
        assert done.returncode == 0, done.stderr
        [row] = csv.DictReader((folder / "fix.csv").read_text().splitlines())
        assert (row["device"], float(row["lon"])) == (shown, -11.5)
        assert shown in [row["name"] for row in csv.DictReader((folder / "device.csv").read_text().splitlines())]
