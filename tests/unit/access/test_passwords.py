import asyncio
import threading

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from fleetwire.access.accounts.passwords import Passwords, check_password
from fleetwire.errors import Problem
from fleetwire.telemetry import metrics

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Counting:
    """A hasher whose verifications are counted and, on demand, held up."""

    def __init__(self):
        self.verified = []
        self.go = threading.Event()
        self.go.set()
        self.now = self.most = 0
        self.lock = threading.Lock()

    def hash(self, password):
        return f"hash of {password}"

    def verify(self, password_hash, password):
        with self.lock:
            self.verified.append((password_hash, password))
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(10)
        with self.lock:
            self.now -= 1
        if password_hash != f"hash of {password}":
            raise VerifyMismatchError
        return True


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "password_short"),
        ("a" * 11, "password_short"),
        ("a" * 257, "password_long"),
        ("a" * 12 + "\ud800", "password_unreadable"),
    ],
)
def test_a_password_outside_the_rule_is_refused(password, code):
    with pytest.raises(Problem) as refused:
        check_password(password)
    assert (refused.value.status, refused.value.code) == (400, code)


@pytest.mark.parametrize("password", ["hedge-otter8", "h4dg" + "oTt-r wetStone" * 18, "äöüßéèàñçøåæ"])
def test_a_password_of_12_to_256_characters_is_fine(password):
    check_password(password)


async def test_only_the_right_password_verifies():
    passwords = Passwords(hasher=CHEAP)
    encoded = await passwords.hash("correct horse battery")
    assert encoded.startswith("$argon2id$")
    assert await passwords.verify(encoded, "correct horse battery")
    assert not await passwords.verify(encoded, "correct horse batterie")
    assert not await passwords.verify(encoded, "a" * 257)
    assert not await passwords.verify(encoded, "\ud800" * 12)
    assert not await passwords.verify("not a hash", "correct horse battery")
    assert not await passwords.verify(None, "nobody has this password")


async def test_the_hash_that_is_stored_is_argon2id_with_64_mib():
    assert (await Passwords().hash("correct horse battery")).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_an_unknown_user_costs_one_verification_like_a_wrong_password():
    hasher = Counting()
    passwords = Passwords(hasher=hasher)
    await passwords.verify("hash of other", "secret")
    assert not await passwords.verify(None, "secret")
    assert [password for _, password in hasher.verified] == ["secret", "secret"]


async def test_who_comes_when_all_places_are_taken_is_refused_and_the_rest_wait():
    hasher = Counting()
    hasher.go.clear()
    passwords = Passwords(at_once=2, waiting=3, hasher=hasher)
    waiting = [asyncio.ensure_future(passwords.verify("hash of x", "x")) for _ in range(5)]
    await asyncio.sleep(0.1)
    before = metrics.REGISTRY.get_sample_value("fleetwire_access_passwords_refused_total")
    with pytest.raises(Problem) as refused:
        await passwords.verify("hash of x", "x")
    assert metrics.REGISTRY.get_sample_value("fleetwire_access_passwords_refused_total") == before + 1
    assert (refused.value.status, refused.value.code) == (503, "login_busy")
    assert refused.value.headers()["Retry-After"] == "2"
    hasher.go.set()
    assert await asyncio.gather(*waiting) == [True] * 5
    assert hasher.most == 2
    assert await passwords.verify("hash of x", "x")


async def test_a_caller_who_goes_away_keeps_its_place_until_its_thread_is_done():
    hasher = Counting()
    hasher.go.clear()
    passwords = Passwords(at_once=1, waiting=0, hasher=hasher)
    gone = asyncio.ensure_future(passwords.verify("hash of x", "x"))
    await asyncio.sleep(0.1)
    gone.cancel()
    await asyncio.wait([gone])
    with pytest.raises(Problem, match="login_busy"):
        await passwords.verify("hash of x", "x")
    hasher.go.set()
    for _ in range(100):
        if passwords._taken == 0:
            break
        await asyncio.sleep(0.01)
    assert await passwords.verify("hash of x", "x")


@pytest.mark.parametrize(
    "password",
    [
        "123456789012",
        "password1234",
        "qwertyuiop12",
        "P@ssw0rd1234",
        "iloveyou1234",
        "passwordpassword",
        "a" * 256,
        "aszx" * 3,
    ],
)
def test_a_common_password_is_refused(password):
    with pytest.raises(Problem) as refused:
        check_password(password)
    assert refused.value.code == "password_common"


def test_a_password_made_of_the_users_names_is_refused():
    check_password("hedgerow8142")
    with pytest.raises(Problem) as refused:
        check_password("hedgerow8142", ("hedgerow8142", "acme"))
    assert refused.value.code == "password_common"
