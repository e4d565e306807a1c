"""Ids of requests: the proxy's if it is sane, else one of this process."""

import asyncio

import pytest

from fleetwire.runtime import request_id


def scope(*values):
    return {"headers": [(request_id.HEADER, value) for value in values]}


@pytest.mark.parametrize("sane", [b"12345678", b"a" * 64, b"0af7651916cd43dd-8448:eb_2.1"])
def test_a_sane_id_is_kept(sane):
    assert request_id.of(scope(sane)) == sane.decode()


@pytest.mark.parametrize(
    "wrong", [b"", b"1234567", b"a" * 65, b"has a space", b"new\nline-4711", b"\xff" * 10, b'quote"""""']
)
def test_another_is_replaced(wrong):
    assert request_id.of(scope(wrong)).encode() != wrong


def test_an_id_stays_with_its_request_and_differs_from_the_next():
    first, second = scope(), scope()
    assert request_id.of(first) == request_id.of(first) != request_id.of(second)


async def test_what_runs_for_a_request_finds_its_id_and_nothing_else_does():
    async def handle(name):
        request_id.begin(scope(name))
        await asyncio.sleep(0)
        return request_id.current()

    assert request_id.current() is None
    names = [b"request-1", b"request-2"]
    assert await asyncio.gather(*map(handle, names)) == ["request-1", "request-2"]
    assert request_id.current() is None
