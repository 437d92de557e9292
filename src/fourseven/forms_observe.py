"""`access_log:` and `tracing:` of a file."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fourseven.forms import Form
from fourseven.scalars import Share, Text, listed

_URL = re.compile(r"https?://[^\s/?#]+(?:/[^\s?#]*)?", re.ASCII)


class AccessLogForm(Form):
    """A line for each HTTP request. A plain value says where: stdout, stderr, syslog, or a file."""

    to: Text = Field(
        description="stdout, stderr, a file (opened anew at SIGUSR1), syslog (/dev/log),"
        " syslog:/path or syslog:host:port (UDP). Paths are relative to the file's folder.",
    )
    format: Text = Field(
        "json", description="json, combined, or a template: '{client} {method} {target} {status}'."
    )
    fields: Annotated[tuple[Text, ...], BeforeValidator(listed)] = Field(
        (), description="Of json, in this order; left out: all."
    )

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class Tracing(Form):
    """W3C trace context: a trace is carried on to the servers, or begun, in all HTTP listeners."""

    sample_millionths: Share = Field(
        0,
        alias="sample",
        description="Share of the traces begun here that are recorded: 1%, 0.1%. A proxy that is"
        " trusted has decided for its own.",
    )
    export: Text | None = Field(
        None,
        description="Where recorded spans are sent, by OTLP over HTTP:"
        " http://collector:4318/v1/traces. Left out: nowhere.",
    )
    service: Text = Field("fourseven", description="service.name of the spans.")

    @field_validator("export")
    @classmethod
    def is_url(cls, value: str | None) -> str | None:
        if value is not None and not _URL.fullmatch(value):
            raise ValueError(f"{value!r} is no address; write e.g. http://127.0.0.1:4318/v1/traces")
        return value
