"""What a name, a role, a life and a scope may be; the same for the command line and for the API."""

from collections.abc import Collection, Sequence
from typing import Final

from fleetwire.access.identity.principal import PERMISSIONS, SCOPES, USER_ROLES, CredentialKind, Principal
from fleetwire.errors import Problem
from fleetwire.runtime.names import MAX_DEVICE_CHARS, MAX_NAME_CHARS, RULE, is_name

MAX_LIFE_SECS: Final = 10 * 366 * 86_400


def check_name(noun: str, name: str) -> None:
    """A name as people can read and type it.

    Raises:
        Problem: 400 `name_invalid`.
    """
    max_chars = MAX_DEVICE_CHARS if noun == "device" else MAX_NAME_CHARS
    if not is_name(name, max_chars):
        detail = f"A {noun}'s name has 1 to {max_chars} {RULE}."
        raise Problem("name_invalid", detail, status=400)


def check_role(role: str) -> None:
    """A user's role.

    Raises:
        Problem: 400 `role_unknown`.
    """
    if role not in USER_ROLES:
        raise Problem("role_unknown", f"The roles are {', '.join(sorted(USER_ROLES))}.", status=400)


def check_life(life_secs: int | None) -> None:
    """How long a token lives; None is for ever.

    Raises:
        Problem: 400 `life_invalid`.
    """
    if life_secs is not None and not 0 < life_secs <= MAX_LIFE_SECS:
        raise Problem("life_invalid", f"A token lives for 1 to {MAX_LIFE_SECS} seconds, or without an end.", status=400)


def check_scopes(kind: CredentialKind, scopes: Sequence[str] | None) -> None:
    """What a token keeps of its role's permissions: at least one, and none that its kind can never have.

    Raises:
        Problem: 400 `scope_unknown`.
    """
    possible = SCOPES if kind == "user" else PERMISSIONS[kind]
    if scopes is not None and (not scopes or not set(scopes) <= possible):
        raise Problem("scope_unknown", f"The scopes of such a token are {', '.join(sorted(possible))}.", status=400)


def check_grant(maker: Principal, permissions: Collection[str], life_secs: int | None, *, now_millis: int) -> None:
    """Refuses a credential that may do more, or lives longer, than the token that makes it.

    A login and a token without scopes and without an end may give anything. A password has no end: `life_secs` None.

    Raises:
        Problem: 403 `scope_exceeded` or `life_exceeded`.
    """
    if maker.scopes is not None and not set(permissions) <= maker.scopes:
        beyond = ", ".join(sorted(set(permissions) - maker.scopes))
        raise Problem("scope_exceeded", f"This token has not the scopes that it would give: {beyond}.", status=403)
    if maker.credential_id is None or maker.expires_at_millis is None:
        return
    if life_secs is None or now_millis + life_secs * 1000 > maker.expires_at_millis:
        left_secs = max(0, (maker.expires_at_millis - now_millis) // 1000)
        detail = f"This token lives for {left_secs} seconds more, and gives nothing that lives longer."
        raise Problem("life_exceeded", detail, status=403)
