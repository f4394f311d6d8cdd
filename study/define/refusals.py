"""What is wrong with settings, in plain words: pydantic's findings as what was got, what is allowed, what to do."""

import dataclasses
import difflib
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from study.define.yaml_reader import Trail
from trainers.errors import UserError

Shape = TypeVar("Shape")

_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number such as 0.1",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "`name: value` lines",
    "mapping_type": "`name: value` lines",
    "model_type": "`name: value` lines",
    "dataclass_type": "`name: value` lines",
    "too_short": "at least one",
    "string_too_short": "at least one character",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


class OneOf:
    """A text that is one of the names that are known when it is read; plug-ins may have added some by then.

    Args:
        names: gives them.
        more: what else could be done, at the end of a message.
    """

    def __init__(self, names: Callable[[], Iterable[str]], more: str = "") -> None:
        self._names, self._more = names, more

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self._names())}

    def _checked(self, value: str) -> str:
        if value not in (names := list(self._names())):
            raise PydanticCustomError("unknown_name", "unknown", {"names": names, "more": self._more})
        return value


def checked(shape: type[Shape], values: Mapping[str, Any], where: str) -> Shape:
    """Settings of this shape.

    Args:
        shape: a class of settings.
        values: its fields by name.
        where: names them in a message; empty at the top of a study file.

    Raises:
        UserError: everything that is wrong with them, a line each.
    """
    try:
        return TypeAdapter(shape).validate_python(dict(values))
    except ValidationError as error:
        lead = (where,) if where else ()
        lines = [sentence for _, sentence in problems(error, shape, lead)]
    raise UserError("\n  ".join(lines))


def problems(error: ValidationError, shape: Any, lead: Trail = ()) -> list[tuple[Trail, str]]:
    """Each finding of pydantic's with the trail to it, as a sentence.

    Args:
        error: what pydantic raised.
        shape: the class of settings that it was validating.
        lead: names the place of that class's settings.
    """
    found = []
    for finding in error.errors(include_url=False):
        # A default that hangs on another setting was not made, since that setting is wrong; and what is wrong with a
        # name in `name: value` lines is said of the name itself.
        if finding["type"] != "default_factory_not_called":
            trail = tuple(step for step in finding["loc"] if step != "[key]")
            found.append((trail, _sentence(finding, trail, shape, lead)))
    return found


def _sentence(finding: Mapping[str, Any], trail: Trail, shape: Any, lead: Trail) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    here = place((*lead, *trail))
    above = place((*lead, *trail[:-1]))
    if kind in _UNKNOWN:
        return _unknown(above, str(trail[-1]), _names(shape, trail[:-1]))
    if kind in _MISSING:
        needed = [name for name, required in _fields(_shape_at(shape, trail[:-1])).items() if required]
        return f"{above or 'the study file'} says no {trail[-1]}; it needs at least {_listed(needed, 'and')}"
    if kind == "unknown_name":
        # A name in `name: value` lines stands in the trail itself; of a list, the entry's number does not matter.
        name = str(finding["input"])
        whose = above if "[key]" in finding["loc"] or isinstance(trail[-1], int) else here
        return _unknown(whose, name, context["names"], "or") + context["more"]
    if kind == "value_error":
        text = str(context["error"])
        if trail and text.startswith(f"{trail[-1]} "):  # a setting's own words, which name it
            here = above
        return f"{here}: {text}" if here else text
    what = f"{here or 'the study file'} is {reprlib.repr(finding['input'])}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = context[key]
        return f"{what}; give {words} {f'{bound:g}' if isinstance(bound, float) else bound}"
    return f"{what}; give {_KINDS[kind]}" if kind in _KINDS else f"{what}; {finding['msg']}"


def _unknown(where: str, name: str, names: Iterable[str], last: str = "") -> str:
    known = list(names)
    near = difflib.get_close_matches(name.lower(), [one.lower() for one in known], n=1)
    hint = next((f" (did you mean {one}?)" for one in known if near and one.lower() == near[0]), "")
    return f"{where or 'study'}: {name!r} is unknown; use {_listed(known, last)}{hint}"


def _listed(names: list[str], last: str) -> str:
    """`a, b, c`, or `a, b LAST c`."""
    if not last or len(names) < 2:
        return ", ".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def place(trail: Trail) -> str:
    """`("cells", 0, "methods")` as a reader of the file would say it.

    >>> place(("cells", 0, "methods"))
    'cells, entry 1: methods'
    """
    text = ""
    for step in trail:
        text += f", entry {step + 1}" if isinstance(step, int) else f": {step}" if text else step
    return text


def _names(shape: Any, trail: Trail) -> list[str]:
    return list(_fields(_shape_at(shape, trail)))


def _fields(shape: Any) -> dict[str, bool]:
    """The names of a shape's settings, and whether each must be given."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return {name: entry.is_required() for name, entry in shape.model_fields.items()}
    missing = dataclasses.MISSING
    return {
        entry.name: entry.default is missing and entry.default_factory is missing for entry in dataclasses.fields(shape)
    }


def _shape_at(shape: Any, trail: Trail) -> Any:
    """The class of settings that stands at a trail below another."""
    for step in trail:
        if isinstance(shape, type) and (issubclass(shape, BaseModel) or dataclasses.is_dataclass(shape)):
            hint = typing.get_type_hints(shape, include_extras=True)[str(step)]
        else:  # of a list or of `name: value` lines
            hint = typing.get_args(shape)[-1]
        shape = _bare(hint)
    return shape


def _bare(hint: Any) -> Any:
    """The class of settings within an annotation: of `Annotated[Asha | None, ...]` it is `Asha`."""
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, ShapedBy):
            return extra.shape()
    if typing.get_origin(hint) is typing.Annotated:
        return _bare(typing.get_args(hint)[0])
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    return _bare(inner[0]) if len(inner) == 1 and type(None) in typing.get_args(hint) else hint


class ShapedBy:
    """`name: value` lines of a class that is made when they are read, kept as a dict of those that were given.

    Args:
        shape: gives the class.
    """

    def __init__(self, shape: Callable[[], type[BaseModel]]) -> None:
        self.shape = shape

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self.shape().__pydantic_core_schema__)

    def _checked(self, values: Any) -> dict[str, Any]:
        return self.shape().model_validate(values).model_dump(exclude_unset=True)
