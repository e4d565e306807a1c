"""The command line as an operator and a script use it: what is printed where, and the exit code."""

import asyncio
import json
import re
import socket
import subprocess

import asyncpg
import pytest

from fleetwire import __version__
from fleetwire.cli.main import app
from fleetwire.postgres.embedded import pgdata
from fleetwire.postgres.embedded.server import running_dsn
from harness.client import Client
from harness.database import stored_times, temporary_database
from harness.fixes import fix
from harness.process import Server, free_port, run, run_all


def _commands(app, above=()):
    """Every command and group, so that a new one is tested from its first day on."""
    for name in app:
        if not name.startswith("-"):
            yield " ".join((*above, name))
            yield from _commands(app[name], (*above, name))


COMMANDS = list(_commands(app))
TOKEN = re.compile(r"fw[idu]_[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def dsn(postgres_dsn, migrated_template):
    with temporary_database(postgres_dsn, migrated_template) as each:
        yield each


@pytest.fixture(scope="module")
def helps():
    """What `--help` of each command gives."""
    return dict(zip(COMMANDS, run_all(*([*command.split(), "--help"] for command in COMMANDS)), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(helps, command):
    done = helps[command]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: fleetwire {command}")
    about = done.stdout.split("\n\n")[1]
    assert len(about) > 10
    if not any(other.startswith(f"{command} ") for other in COMMANDS):
        assert about.rstrip().endswith("."), about
        # Each option is a line that says more than its name.
        options = [line for line in done.stdout.splitlines() if re.match(r"\s+--(?!help|version)", line)]
        assert all(re.search(r"\s{2,}\S.*\w", line.strip()) for line in options), options


def test_help_names_every_command_and_the_version_is_the_package_s():
    helped, version = run_all(["--help"], ["--version"])
    assert helped.returncode == 0
    for command in COMMANDS:
        if " " not in command:
            assert re.search(rf"^\W*{command}\b.*\w", helped.stdout, re.MULTILINE), command
    assert version.stdout == f"{__version__}\n"


WRONG = [
    (["dance"], {}, "dance"),
    (["serve", "--nonsense"], {}, "nonsense"),
    (["serve", "--port", "many"], {}, "port"),
    (["token", "ingest"], {}, "tenant"),
    (["token", "user", "u", "--tenant", "t", "--role", "king"], {}, "role"),
    (["replay", "x.csv"], {}, "token"),
    (["replay", "x.csv", "--token", "t", "--url", "nowhere"], {}, "url"),
    (["replay", "x.csv", "--token", "t", "--batch-size", "10001"], {}, "batch_size"),
    (["config", "check"], {"FLEETWIRE_PORT": "many"}, "FLEETWIRE_PORT='many'"),
    (["config", "check"], {"FLEETWIRE_PORT": "0"}, "FLEETWIRE_PORT=0"),
    (["config", "check"], {"FLEETWIRE_LOG_LEVEL": "loud"}, "FLEETWIRE_LOG_LEVEL"),
    (["serve"], {"FLEETWIRE_COMMIT_GIVE_UP_SECS": "0"}, "FLEETWIRE_COMMIT_GIVE_UP_SECS"),
    (["serve", "--workers", "2"], {}, "Redis"),
    (["serve", "--map-overlay", "/no/such/file"], {}, "there is no such file"),
]


@pytest.fixture(scope="module")
def wrong_uses():
    """What each of `WRONG` gives."""
    return run_all(*(case[0] for case in WRONG), settings=[case[1] for case in WRONG])


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[" ".join(case[0]) for case in WRONG])
def test_wrong_use_is_said_on_stderr_with_code_2(wrong_uses, number):
    done = wrong_uses[number]
    assert (done.returncode, done.stdout) == (2, "")
    assert WRONG[number][2] in done.stderr
    assert "Traceback" not in done.stderr


def test_all_wrong_settings_are_named_at_once():
    done = run(
        "config", "check", settings={"FLEETWIRE_PORT": "0", "FLEETWIRE_MAX_FIXES": "x", "FLEETWIRE_WORKERS": "3"}
    )
    assert done.returncode == 2
    for name in ("FLEETWIRE_PORT", "FLEETWIRE_MAX_FIXES", "FLEETWIRE_WORKERS"):
        assert name in done.stderr


def test_failure_is_said_on_stderr_with_code_1(dsn):
    cases = [
        (["token", "revoke", "999999"], "token_unknown"),
        (["token", "revoke", "secret"], "token_unknown"),
        (["token", "list", "--tenant", "nobody"], "tenant_unknown"),
        (["token", "ingest", "--tenant", " "], "name_invalid"),
        (["token", "device", "van", "--tenant", "t", "--days", "-1"], "life_invalid"),
    ]
    outcomes = run_all(*([*arguments, "--database-url", dsn] for arguments, _ in cases))
    for done, (_, said) in zip(outcomes, cases, strict=True):
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("fleetwire: ")
        assert done.stderr.count("\n") == 1
        assert said in done.stderr


def test_database_that_is_not_there_is_a_failure_and_no_traceback():
    nowhere = ["--database-url", "postgresql://nobody@127.0.0.1:1/nothing"]
    for done in run_all(["serve", *nowhere], ["migrate", *nowhere], ["token", "ingest", "--tenant", "t", *nowhere]):
        assert done.returncode in {1, 2}, done
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("fleetwire: ")


@pytest.mark.parametrize("arguments", [["serve"], ["migrate"], ["token", "list", "--tenant", "t"], ["upkeep"]])
def test_database_that_does_not_answer_is_a_failure_and_not_waited_for(arguments):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # Connections are taken, and nothing is said.
        nobody = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        done = run(*arguments, "--database-url", nobody, settings={"FLEETWIRE_CONNECT_TIMEOUT_SECS": "0.5"})
    assert done.returncode == 1
    assert done.stderr == "fleetwire: The database did not answer within 0.5 s.\n"


def test_missing_file_is_a_failure(dsn, tmp_path):
    done = run("replay", tmp_path / "missing.csv", "--token", "fwi_x", "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing.csv" in done.stderr
    done = run("db", "url", "--data-dir", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No database runs" in done.stderr


def test_bare_token_is_all_that_is_printed(dsn):
    of_acme = ["--tenant", "acme", "--database-url", dsn]
    *minted, as_json, as_table = run_all(
        *(["token", *what, *of_acme] for what in (["ingest"], ["device", "van"], ["user", "dora"])),
        ["token", "list", "--json", *of_acme],
        ["token", "list", *of_acme],
    )
    for done, prefix in zip(minted, ("fwi_", "fwd_", "fwu_"), strict=True):
        assert (done.returncode, bool(TOKEN.fullmatch(done.stdout))) == (0, True), done
        assert done.stdout.startswith(prefix)
    listed = json.loads(as_json.stdout)
    assert [(row["kind"], row["device"], row["user"], row["role"]) for row in listed] == [
        ("user", None, "dora", "dispatcher"), ("device", "van", None, "device"), ("ingest", None, None, "ingest")
    ]  # fmt: skip
    assert not any(TOKEN.search(str(value) + "\n") for row in listed for value in row.values())
    assert all(word in as_table.stdout for word in ("dora", "van", "ingest", "dispatcher"))

    number = str(listed[0]["credential_id"])
    revoked, as_json = run_all(
        ["token", "revoke", number, "--database-url", dsn], ["token", "list", "--json", *of_acme]
    )
    assert (revoked.returncode, revoked.stdout) == (0, f"revoked {number}\n")
    listed = json.loads(as_json.stdout)
    assert [row["revoked_at"] is not None for row in listed] == [True, False, False]


def test_user_with_a_password_from_standard_input(dsn):
    arguments = ("user", "create", "dora", "--tenant", "acme", "--database-url", dsn)
    assert run(*arguments, typed="short\n").returncode == 1
    assert run(*arguments, typed="correct horse battery\n").stdout == "created dora\n"
    again = run(*arguments, typed="correct horse battery\n")
    assert (again.returncode, "user_exists" in again.stderr) == (1, True)


def test_shown_settings_hide_passwords_and_name_their_source():
    settings = {
        "FLEETWIRE_DATABASE_URL": "postgresql://fleet:s3cret@db.example/fleet",
        "FLEETWIRE_REDIS_URL": "redis://:s3cret@cache.example",
        "FLEETWIRE_PORT": "9000",
    }
    done, table, check = run_all(
        ["config", "show", "--json"], ["config", "show"], ["config", "check"], settings=[settings] * 3
    )
    assert done.returncode == 0
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["port"]["value"], rows["port"]["default"], rows["port"]["source"]) == (9000, 8000, "environment")
    assert (rows["host"]["value"], rows["host"]["source"]) == ("127.0.0.1", "default")
    assert "db.example" in rows["database_url"]["value"]
    assert all(
        row["doc"].endswith(".") and row["variable"] == f"FLEETWIRE_{name.upper()}" for name, row in rows.items()
    )
    assert "s3cret" not in done.stdout + table.stdout
    assert check.stdout == "The settings can work.\n"


def test_password_is_hidden_wherever_it_stands_in_the_address():
    urls = [
        "postgresql://fleet:s3cret@db.example/fleet",
        "postgresql://fleet:s3cr@s3cret@db.example/fleet",
        "postgresql://db.example/fleet?user=fleet&password=s3cret&sslmode=require",
        "host=db.example user=fleet password=s3cret",
        "host=db.example password = 's3cret two' user=fleet",
        "rediss://cache.example?password=s3cret",
    ]
    settings = [{f"FLEETWIRE_{'REDIS' if url.startswith('redis') else 'DATABASE'}_URL": url} for url in urls]
    for url, done in zip(urls, run_all(*([["config", "show", "--json"]] * len(urls)), settings=settings), strict=True):
        assert "s3cr" not in done.stdout, url
        assert ".example" in done.stdout
        assert "***" in done.stdout


def test_port_in_use_is_said_in_a_sentence(dsn):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--database-url", dsn, "--port", str(port), limit_secs=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert re.search(rf"\b{port}\b", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


async def test_life_with_a_data_folder(scratch_dir, session):
    """Tokens before, during and after the server's run; the database's address while it runs."""
    folder = ("--data-dir", scratch_dir / "data")
    before = await asyncio.to_thread(run, "token", "ingest", "--tenant", "acme", *folder)
    assert TOKEN.fullmatch(before.stdout), before
    assert running_dsn(scratch_dir / "data") is None, "what was started for a command is stopped after it"

    server = await asyncio.to_thread(Server(*folder).start)
    # It waits a while for the other to give the folder up.
    locked_out = asyncio.ensure_future(asyncio.to_thread(run, "serve", *folder, "--port", str(free_port())))
    try:
        client = Client(server.url, session)
        device = await asyncio.to_thread(run, "token", "device", "van", "--tenant", "acme", *folder)
        assert TOKEN.fullmatch(device.stdout), device
        first, second = fix(), fix()
        sent = await client.send({"device": "van", "fixes": [first]}, token=before.stdout.strip())
        assert sent.receipt == (1, 0, {})
        assert (await client.send([second], token=device.stdout.strip())).receipt == (1, 0, {})

        url = (await asyncio.to_thread(run, "db", "url", *folder)).stdout.strip()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM fix") == 2
        await connection.close()
        psql = [str(pgdata.programs() / "psql"), url, "--tuples-only", "--no-align", "--command"]
        printed = subprocess.run([*psql, "SELECT device FROM fix LIMIT 1"], capture_output=True, text=True, check=True)
        assert printed.stdout == "van\n"

        second_server = await locked_out
        assert second_server.returncode == 2
        assert re.search(r"Process \d+ manages the database in .* already\.", second_server.stderr)
        assert "Traceback" not in second_server.stderr
        assert await stored_times(url, "acme") == [first["timestamp"], second["timestamp"]]
    finally:
        assert server.stop() == 0
        server.close()
    after = await asyncio.to_thread(run, "token", "list", "--tenant", "acme", "--json", *folder)
    assert [row["kind"] for row in json.loads(after.stdout)] == ["device", "ingest"]
