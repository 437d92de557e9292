"""The kind of device that sends a request."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import listed
from fourseven.plan import Condition, Expression

Kind = Literal["mobile", "tablet", "desktop", "bot"]


class Device(Match):
    """The kind of device: mobile, tablet, desktop or bot; or a list of which one must be it.

    It is read from the User-Agent and from the client hints Sec-CH-UA-Mobile and -Platform. The
    first rule that holds: a crawler's name is `bot`; a hint of a phone `mobile`; a hint of
    Android without a phone `tablet`; a television or its box `desktop`; iPad, Kindle or Android
    without "Mobi" `tablet`; "Mobi", iPhone and older ones `mobile`; everything else, tools such
    as curl too, `desktop`.

    An iPad in its default setting says that it is a Mac. A client can say what it likes: this is
    for comfort, not for access.

        match: {device: mobile}
        match: {device: [mobile, tablet]}
    """

    key: ClassVar[str] = "device"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "any_of"

    any_of: Annotated[tuple[Kind, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="Kinds of devices; one of them."
    )

    def lower(self) -> Expression:
        kinds = [kind.encode() for kind in self.any_of]
        if len(kinds) == 1:
            return Condition(Looks.FIELD_DEVICE, Test.TEST_EXACT, operand=kinds[0])
        return Condition(Looks.FIELD_DEVICE, Test.TEST_ANY_OF, operand=pack_list(kinds))
