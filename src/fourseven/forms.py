"""What the registry adds to the file: the forms of matches, filters and algorithms.

RouteMatch, RouteFilter and Balance are built from the registry, one field for each class, so that
neither this file nor the model knows a feature by name. A field's short form (`path: /x/`) is spelt
out before it is read; the schema shows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import core_schema

from fourseven.features import Algorithm, Check, Feature, Filter, Match, Persistence, Source
from fourseven.registry import ALGORITHMS, CHECKS, FILTERS, MATCHES, PERSISTENCE, SOURCES


class Form(BaseModel):
    """A mapping in the file: every key is known, and nothing changes after it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _not_empty(value: Any) -> Any:
    # Before the items are judged: pydantic's min_length counts only those without a fault.
    if isinstance(value, list | tuple) and not value:
        raise ValueError("the list is empty; give it at least one")
    return value


class NotEmpty:
    """Annotation of a tuple: at least one thing stands in it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_before_validator_function(_not_empty, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "minItems": 1}


class Short:
    """Annotation of a field that holds a feature: its short form is spelt out before it is read."""

    def __init__(self, feature: type[Feature]) -> None:
        self.feature = feature

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_before_validator_function(
            self.feature.from_file, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        long = handler(schema)
        short = self.feature.shorthand
        own = any("from_file" in vars(one) for one in self.feature.__mro__ if one is not Feature)
        if short is None and own:  # a short form that only the feature knows: some word
            return {"anyOf": [{"type": "string"}, long]}
        resolved = handler.resolve_ref_schema(long)
        plain = resolved.get("properties", {}).get(short) if short else None
        return {"anyOf": [plain, long]} if plain else long


class FeatureForm(Form):
    """A mapping whose keys are those of registered features."""

    def features(self) -> Iterator[Any]:
        """The features that the file names, in the order of the registry."""
        for name in type(self).feature_names:
            found = self.__dict__[name]
            if found is not None:
                yield found

    feature_names: ClassVar[tuple[str, ...]] = ()
    bare_keys: ClassVar[tuple[str, ...]] = ()  # of those that need no options


def _form(name: str, parent: type[FeatureForm], features: tuple[type[Feature], ...]) -> Any:
    """The parent with one optional field for each feature; its alias is the feature's key."""
    fields: dict[str, Any] = {
        f"feature_{feature.key}": (
            Annotated[feature, Short(feature)],
            Field(default=None, alias=feature.key, description=_first_paragraph(feature)),
        )
        for feature in features
    }
    form = create_model(
        name, __base__=parent, __module__=__name__, __doc__=parent.__doc__, **fields
    )
    form.feature_names = tuple(fields)
    form.bare_keys = tuple(one.key for one in features if _stands_alone(one))
    return form


def _stands_alone(feature: type[Feature]) -> bool:
    """Whether its name without any option is enough."""
    try:
        feature.model_validate({})
    except ValidationError:
        return False
    return True


def _first_paragraph(feature: type[Feature]) -> str:
    return " ".join((feature.__doc__ or "").split("\n\n")[0].split())


class MatchForm(FeatureForm):
    """When a route takes a request: every key of it must hold."""

    all_: Annotated[tuple[RouteMatch, ...], NotEmpty()] = Field(
        (), alias="all", description="All of these hold."
    )
    any_: Annotated[tuple[RouteMatch, ...], NotEmpty()] = Field(
        (), alias="any", description="One of these holds."
    )
    not_: RouteMatch | None = Field(None, alias="not", description="This does not hold.")

    def everything(self) -> Iterator[Match]:
        """Every feature in it, at any depth."""
        yield from self.features()
        for part in (*self.all_, *self.any_, *((self.not_,) if self.not_ else ())):
            yield from part.everything()


class OneFeature(FeatureForm):
    """Exactly one key; where it needs no options, its name alone will do."""

    noun: ClassVar[str]
    example: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def exactly_one(self) -> OneFeature:
        found = [feature.key for feature in self.features()]
        if not found:
            raise ValueError(f"{self.noun} is missing; write e.g. {self.example}")
        if len(found) > 1:
            keys = " and ".join(found)
            raise ValueError(f"{keys} stand in one place; keep one, e.g. {self.example}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        long = handler(schema)
        only = len(cls.model_fields) == len(cls.feature_names)
        handler.resolve_ref_schema(long).update(
            {"minProperties": 1} | ({"maxProperties": 1} if only else {})
        )
        return {"anyOf": [{"enum": list(cls.bare_keys)}, long]} if cls.bare_keys else long


class FilterForm(OneFeature):
    """One step that a route takes: exactly one key."""

    noun = "a filter"
    example = "filters: [{…}, {…}]"

    @property
    def feature(self) -> Filter:
        return next(self.features())  # type: ignore[no-any-return]


class BalanceForm(OneFeature):
    """How a backend picks a server: the name of an algorithm, or one key with its options."""

    noun = "an algorithm"
    example = "balance: round_robin"

    @property
    def feature(self) -> Algorithm:
        return next(self.features())  # type: ignore[no-any-return]


class CheckForm(OneFeature):
    """How a server is asked whether it is well: exactly one key."""

    noun = "a check"
    example = "health: tcp"

    @property
    def feature(self) -> Check:
        return next(self.features())  # type: ignore[no-any-return]


class SourceForm(FeatureForm):
    """A server's address, or a place that knows servers."""

    @property
    def source(self) -> Source | None:
        return next(self.features(), None)

    @classmethod
    def source_keys(cls) -> list[str]:
        return [str(cls.model_fields[name].alias) for name in cls.feature_names]

    def verified(self, has_address: bool) -> Self:
        """Exactly one of them."""
        found = ["address"] * has_address + [feature.key for feature in self.features()]
        if len(found) == 1:
            return self
        if not found:
            raise ValueError("the address is missing; write e.g. 10.0.0.1:8080")
        raise ValueError(f"{' and '.join(found)} stand in one server; keep one of them")


class PersistenceForm(OneFeature):
    """How a client finds its server again: exactly one key."""

    noun = "a way to persist"
    example = "persistence: cookie"

    @property
    def feature(self) -> Persistence:
        return next(self.features())  # type: ignore[no-any-return]


if TYPE_CHECKING:
    ServerSource = SourceForm
    RouteMatch = MatchForm
    RouteFilter = FilterForm
    Balance = BalanceForm
    HealthCheck = CheckForm
    Persisting = PersistenceForm
else:
    RouteMatch = _form("RouteMatch", MatchForm, MATCHES)
    RouteFilter = _form("RouteFilter", FilterForm, FILTERS)
    Balance = _form("Balance", BalanceForm, ALGORITHMS)
    HealthCheck = _form("HealthCheck", CheckForm, CHECKS)
    ServerSource = _form("ServerSource", SourceForm, SOURCES)
    Persisting = _form("Persisting", PersistenceForm, PERSISTENCE)
    RouteMatch.model_rebuild()
