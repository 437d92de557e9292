"""The match of gRPC: the service and the method, and the content type that makes it a call."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fourseven.matching.grpc import Grpc
from fourseven.matching.probe import Probe
from fourseven.plan import RoutePlan

PROTO, KIND = b"application/grpc+proto", b"application/grpc"
GRPC = [
    ("shop.Orders", (b"/shop.Orders/Create", KIND), True),
    ("shop.Orders", (b"/shop.Orders/Create", PROTO), True),
    ("shop.Orders", (b"/shop.Orders/Create", KIND + b"; charset=x"), True),
    ("shop.Orders", (b"/shop.Orders/Create", KIND + b"-web"), False),
    ("shop.Orders", (b"/shop.Orders/Create", b"application/json"), False),
    ("shop.Orders", (b"/shop.OrdersX/Create", KIND), False),
    ("shop.Orders", (b"/shop.Orders", KIND), False),
    (["shop.A", "shop.B"], (b"/shop.B/Create", KIND), True),
    ({"service": "shop.A", "method": "Create"}, (b"/shop.A/Create", KIND), True),
    ({"service": "shop.A", "method": "Create"}, (b"/shop.A/CreateX", KIND), False),
    ({"service": "shop.A", "method": ["Get", "Put"]}, (b"/shop.A/Put", KIND), True),
    ({"service": "shop.A", "method": ["Get", "Put"]}, (b"/shop.B/Put", KIND), False),
]
MISTAKES = [
    ("/shop.Orders", "is no service; write e.g. shop.v1.Orders"),
    ({"service": "a.B", "method": "C/D"}, "is no method"),
    ({"service": ["a.B", "a.C"], "method": "D"}, "belong to one service"),
]


@pytest.mark.parametrize(("value", "sent", "holds"), GRPC)
def test_it_holds(value, sent, holds):
    match = Grpc.model_validate(Grpc.from_file(value))
    path, kind = sent
    asked = Probe([RoutePlan(name="r", match=match.lower())])
    headers = [(b"Content-Type", kind)]
    assert (asked.request(path=path, headers=headers).find() == 0) is holds


@pytest.mark.parametrize(("value", "says"), MISTAKES)
def test_a_mistake_is_told(value, says):
    with pytest.raises(ValidationError, match=says):
        Grpc.model_validate(Grpc.from_file(value))
