"""Basic authentication: a name and a password."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from fourseven.features import Filter, Need, Reader
from fourseven.filters.headers import Name
from fourseven.plan import Action, GatePlan
from fourseven.snapshot.layout import ActionKind, GateKind

KNOWN = re.compile(r"\$(2[aby]|5|6|y|7|gy)\$[./A-Za-z0-9$=,]{8,240}", re.ASCII)
PLAIN = re.compile(r"[\x21-\x39\x3b-\x7e\u00a0-\uffff]{1,120}")
REALM = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,200}", re.ASCII)
USERS_MAX = 65_536


def checked_hash(text: str) -> str:
    if not KNOWN.fullmatch(text):
        kind = text[: text.find("$", 1) + 1] if text.startswith("$") else text[:5]
        raise ValueError(
            f"{kind}… is no hash that is served; make one with `htpasswd -nB NAME` (bcrypt) or"
            " `mkpasswd -m yescrypt`"
        )
    return text


def checked_user(text: str) -> str:
    if not PLAIN.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is no user's name: no colon, no space, at most 120 letters"
        )
    return text


User = Annotated[str, AfterValidator(checked_user)]
Hash = Annotated[str, AfterValidator(checked_hash)]


def users_in(raw: bytes, name: str) -> dict[str, str]:
    """The users of an htpasswd file."""
    found: dict[str, str] = {}
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, rest = line.partition(":")
        try:
            checked_user(user)
            found[user] = checked_hash(rest.partition(":")[0].strip())
        except ValueError as error:
            raise ValueError(f"{name}:{number}: {error}") from None
    if not found or len(found) > USERS_MAX:
        raise ValueError(f"{name} has {len(found)} users; 1 to {USERS_MAX} are served")
    return found


class BasicAuth(Filter):
    """Asks for a name and a password, and lets in whose password fits its hash (401 otherwise).

    A plain value is a file as `htpasswd -B` makes it; a change of it is in force two seconds later.
    Hashes may be bcrypt, SHA-crypt ($5$, $6$), yescrypt or scrypt. A hash is meant to be slow, so
    it is computed beside the workers, and who was verified is remembered for ten minutes; while too
    many wait, the answer is 503. The server is told the name in `header`, and no client's own
    header of that name passes; the password itself is not told, unless `forward` says so. Over
    plain HTTP, anybody on the way can read it.

        filters:
          - basic_auth:
              users:
                alice: "$2b$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u"
    """

    key: ClassVar[str] = "basic_auth"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "file"

    file: str | None = Field(None, description="An htpasswd file.")
    users: dict[User, Hash] = Field({}, description="Name and hash.")
    realm: str = Field("restricted", description="What a browser shows.")
    header: Name = Field("X-Auth-User", description="Tells the server the name.")
    forward: bool = Field(False, strict=True, description="Authorization goes on to the server.")
    _read: dict[str, str] = PrivateAttr(default_factory=dict)
    _path: str = PrivateAttr("")

    @model_validator(mode="after")
    def has_users(self) -> BasicAuth:
        if self.file is None and not self.users:
            raise ValueError("nobody could come in; give it a file or users")
        if not REALM.fullmatch(self.realm):
            raise ValueError("a realm is plain text without quotes, at most 200 letters")
        return self

    def read(self, reader: Reader) -> Filter:
        if self.file is None:
            return self
        step = self.model_copy()
        step._path = reader.path(self.file)
        step._read = users_in(reader.file(self.file), self.file)
        return step

    def gates(self) -> tuple[GatePlan, ...]:
        challenge = f'Basic realm="{self.realm}", charset="UTF-8"'
        users = {name.encode(): said.encode() for name, said in (self._read | self.users).items()}
        pairs = [text for pair in sorted(users.items()) for text in pair]
        texts = (challenge.encode(), self.header.encode(), *pairs)
        files = (self._path,) if self._path else ()
        return (GatePlan(GateKind.GATE_BASIC, texts=texts, files=files),)

    def tells(self) -> tuple[str, ...]:
        return (self.header,)

    def request_actions(self) -> tuple[Action, ...]:
        if self.forward:
            return ()
        return (Action(ActionKind.ACTION_REMOVE_HEADER, b"Authorization"),)
