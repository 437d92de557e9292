"""A call of gRPC: its service and its method."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.text import Plain, listed
from fourseven.plan import All, Any_, Condition, Expression

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def service_name(text: str) -> str:
    """A package and a service, as in the .proto file."""
    if not all(NAME.fullmatch(part) for part in text.split(".")):
        raise ValueError(f"{text!r} is no service; write e.g. shop.v1.Orders")
    return text


def method_name(text: str) -> str:
    """A method's name alone."""
    if not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no method; write e.g. Create")
    return text


Service = Annotated[Plain, AfterValidator(service_name)]
Method = Annotated[Plain, AfterValidator(method_name)]


class Grpc(Match):
    """A call of gRPC, by its service and its method.

    A plain value is a service with its package, or several of which one must be called; `method`
    names methods of it. Letters' case counts. Requests of other content types never match, and
    neither does gRPC-Web.

        match: {grpc: shop.v1.Orders}
        match: {grpc: {service: shop.v1.Orders, method: [Create, Cancel]}}
    """

    key: ClassVar[str] = "grpc"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "service"

    service: Annotated[tuple[Service, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="A service with its package; one of them."
    )
    method: Annotated[tuple[Method, ...], BeforeValidator(listed)] = Field(
        (), description="A method of it; one of them. Left out: all."
    )

    @classmethod
    def from_file(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"service": value}

    @model_validator(mode="after")
    def one_service(self) -> Grpc:
        if self.method and len(self.service) > 1:
            raise ValueError("methods belong to one service; write a route for each service")
        return self

    def lower(self) -> Expression:
        kind = [
            Condition(Looks.FIELD_HEADER, Test.TEST_EXACT, b"content-type", b"application/grpc"),
            *(
                Condition(
                    Looks.FIELD_HEADER, Test.TEST_PREFIX, b"content-type", b"application/grpc" + x
                )
                for x in (b"+", b";")
            ),
        ]
        if self.method:
            paths = [
                Condition(
                    Looks.FIELD_PATH, Test.TEST_EXACT, operand=f"/{self.service[0]}/{one}".encode()
                )
                for one in self.method
            ]
        else:
            paths = [
                Condition(Looks.FIELD_PATH, Test.TEST_PREFIX, operand=f"/{one}/".encode())
                for one in self.service
            ]
        return All((paths[0] if len(paths) == 1 else Any_(tuple(paths)), Any_(tuple(kind))))
