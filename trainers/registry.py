"""Which methods and models there are: the modules of `trainers.methods` and `trainers.models`, and what plug-ins bring.

A module is asked for its `METHOD` or `MODEL`; one that has none helps others. Installed packages are asked through the
entry points `binsfo_study.methods` and `binsfo_study.models`. All of it is looked up when it is first needed, since the
rules and the networks need torch and a command line's help does not.
"""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from trainers.errors import UserError
from trainers.method import Method
from trainers.model import Model
from trainers.run_settings import COMMON, REAL_PARAMETERS
from trainers.settings import REQUIRED, Setting, one_of

Thing = TypeVar("Thing", Method, Model)

Anything = TypeVar("Anything")


@dataclass(frozen=True)
class Origin:
    """Where a thing comes from that is not the project's own.

    Attributes:
        name: of the plug-in: its file's, or the installed package's.
        sha256: of its file.
    """

    name: str
    sha256: str


EVERY_RUN: Final = (*COMMON, *REAL_PARAMETERS)
"""The settings that are no method's and no model's own."""

OWN: Final = "; your own comes with --plugin FILE.py"


class Registry(Generic[Thing]):
    """Things of one kind by name, in the order of their modules, then as they came.

    Args:
        kind: the type; `METHOD` of a module must be one, say.
        package: whose modules declare them.
        group: the entry points of installed packages that bring more.
    """

    def __init__(self, kind: type[Thing], package: str, group: str) -> None:
        self.kind: type[Thing] = kind
        self.package, self.group = package, group
        self._things: dict[str, Thing] = {}
        self._origins: dict[str, Origin] = {}
        self._loaded = False

    @property
    def word(self) -> str:
        """`method` or `model`."""
        return self.kind.__name__.lower()

    def all(self) -> Mapping[str, Thing]:
        """Every one by name."""
        self._load()
        return self._things

    def named(self, name: str, field: str = "") -> Thing:
        """The one of this name.

        Args:
            name: which.
            field: how a message calls it, where not `method` or `model`.

        Raises:
            UserError: there is none; names those that there are, and how to bring one.
        """
        one_of(field or self.word, name, self.all(), OWN)
        return self._things[name]

    def add(self, thing: Thing, origin: Origin) -> None:
        """Make one known.

        Args:
            thing: what.
            origin: the plug-in that brings it.

        Raises:
            UserError: its name, or that of one of its settings, means something else already.
        """
        self._load()
        self._enter(thing, origin)

    def origin(self, name: str) -> Origin | None:
        """The plug-in that brought the one of this name; None for the project's own."""
        self._load()
        return self._origins.get(name)

    def withdraw(self, origin: Origin) -> None:
        """Forget what a plug-in brought."""
        for name in [name for name, whose in self._origins.items() if whose == origin]:
            del self._things[name], self._origins[name]
        _forget()

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
            thing = getattr(importlib.import_module(f"{self.package}.{module}"), self.word.upper(), None)
            if isinstance(thing, self.kind):
                self._enter(thing, None)
        for thing, origin in installed(self.group, self.kind):
            self._enter(thing, origin)

    def _enter(self, thing: Thing, origin: Origin | None) -> None:
        if thing.name in self._things:
            earlier = self._origins.get(thing.name)
            where = f"plug-in {earlier.name}" if earlier else f"the project's own {self.package}"
            raise UserError(f"{self.word} {thing.name!r} is there already, from {where}; give yours another name")
        _check_settings(thing, self._things.values(), own=origin is None)
        self._things[thing.name] = thing
        if origin:
            self._origins[thing.name] = origin
        _forget()


METHODS: Final = Registry(Method, "trainers.methods", "binsfo_study.methods")
MODELS: Final = Registry(Model, "trainers.models", "binsfo_study.models")


def method_named(name: str, field: str = "") -> Method:
    """The method of this name; raises as `Registry.named`."""
    return METHODS.named(name, field)


def model_named(name: str) -> Model:
    """The model of this name; raises as `Registry.named`."""
    return MODELS.named(name)


def method_labels() -> tuple[str, ...]:
    """The methods that a comparison knows, one for each value of a variant: `binary`, ..., `real-SGD`, `real-Adam`."""
    return tuple(label for method in METHODS.all().values() for label in method.variants)


def cell_methods() -> tuple[str, ...]:
    """What a study's `methods` may list: every label, and an algorithm alone where its variant is to be searched."""
    return tuple(dict.fromkeys(name for method in METHODS.all().values() for name in (method.name, *method.variants)))


def settings_of(algorithm: str, model: str) -> tuple[Setting, ...]:
    """What concerns a run of this method and this model: every run's settings, those of real parameters where the
    model has some, and their own."""
    return _settings_of(algorithm, model)


def fields_of(algorithm: str, model: str) -> dict[str, Setting]:
    """Every field of a configuration by name: `settings_of`, and what every configuration of formats 1 and 2 had."""
    return _fields_of(algorithm, model)


def declared() -> dict[str, Setting]:
    """Every setting of anything that is known, by name: every run's first, then the methods', then the models'."""
    return _declared()


def lr_trains_real(model: str, settings: Mapping[str, Any]) -> bool:
    """Whether the learning rate drives the model's real parameters, as published, and not only its binary weights.

    Args:
        model: whose.
        settings: of a configuration, by name; one that is not named has its default.
    """
    optimizer = settings.get("real_optimizer", REAL_PARAMETERS[0].default)
    return bool(model_named(model).real_parameters and optimizer == "published")


def owners(name: str) -> list[str]:
    """The methods or models that declare a setting of this name; empty for one of every run, and for none."""
    if any(setting.name == name for setting in REAL_PARAMETERS):
        return [model.name for model in MODELS.all().values() if model.real_parameters]
    things: Iterable[Method | Model] = (*METHODS.all().values(), *MODELS.all().values())
    return [thing.name for thing in things if any(setting.name == name for setting in thing.settings)]


def foreign(names: Iterable[str], algorithm: str, model: str) -> Iterator[str]:
    """What is wrong with giving these settings to a run of this method and model: a sentence for each that is not its.

    Args:
        names: of settings that are declared somewhere.
    """
    own = {setting.name for setting in settings_of(algorithm, model)}
    for name in names:
        if name not in own and (whose := owners(name)):
            others = " and ".join([", ".join(whose[:-1]), whose[-1]] if len(whose) > 1 else whose)
            yield f"{name} is a setting of {others}, which {algorithm} with {model} does not have; leave it out"


def configuration_settings() -> list[Setting]:
    """What tells one configuration from another, in the order in which tables name it: no workload's name, no seed."""
    every = declared()
    common = {setting.name for setting in EVERY_RUN}
    first = [setting for setting in COMMON if setting.scope == "nuisance"]
    own = [setting for name, setting in every.items() if name not in common]
    last = [setting for setting in EVERY_RUN if setting not in first]
    left_out = ("dataset", "model", "algorithm", "seed")
    return [s for s in (*first, *own, *last) if s.identity and s.column and s.name not in left_out]


@cache
def _settings_of(algorithm: str, model: str) -> tuple[Setting, ...]:
    network = MODELS.named(model)
    common = EVERY_RUN if network.real_parameters else COMMON
    return (*common, *METHODS.named(algorithm, "algorithm").settings, *network.settings)


@cache
def _fields_of(algorithm: str, model: str) -> dict[str, Setting]:
    flat = {name: setting for name, setting in declared().items() if setting.since < 3}
    return {**flat, **{setting.name: setting for setting in settings_of(algorithm, model)}}


@cache
def _declared() -> dict[str, Setting]:
    things: Iterable[Method | Model] = (*METHODS.all().values(), *MODELS.all().values())
    found = {setting.name: setting for setting in EVERY_RUN}
    for thing in things:
        for setting in thing.settings:
            found.setdefault(setting.name, setting)
    return found


def _forget() -> None:
    for table in (_settings_of, _fields_of, _declared):
        table.cache_clear()


def installed(group: str, kind: type[Anything]) -> Iterator[tuple[Anything, Origin]]:
    """What the entry points of installed packages bring, each with the package's name and its file's SHA-256.

    Raises:
        UserError: an entry point does not load, or is something else.
    """
    for entry in metadata.entry_points(group=group):
        whose = f"{entry.dist.name if entry.dist else entry.value} (entry point {entry.name} of {group})"
        try:
            thing = entry.load()
            file = importlib.import_module(entry.module).__file__
        except Exception as error:  # whatever a package raises when it is imported
            raise UserError(
                f"plug-in {whose} does not load: {type(error).__name__}: {error}; mend or uninstall it"
            ) from error
        if not isinstance(thing, kind):
            raise UserError(f"plug-in {whose} is a {type(thing).__name__}, not a {kind.__name__}; mend or uninstall it")
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
        yield thing, Origin(entry.dist.name if entry.dist else entry.value, digest)


def _check_settings(thing: Method | Model, others: Iterable[Method | Model], own: bool) -> None:
    """Refuse a setting that has the name of one of every run, or of another kind the name of another's.

    Args:
        thing: whose settings.
        others: what is known already.
        own: whether it is the project's own, which alone may have settings of the flat formats.
    """
    common = {setting.name for setting in EVERY_RUN}
    known = {setting.name: (setting, other.name) for other in others for setting in other.settings}
    for setting in thing.settings:
        if setting.since < 3 and not own and setting not in {entry for entry, _ in known.values()}:
            raise UserError(f"{thing.name}: its setting {setting.name} is new, so not of format {setting.since}; use 3")
        if setting.default is REQUIRED:
            raise UserError(f"{thing.name}: its setting {setting.name} has no default; give one, None where it is open")
        if setting.name in common:
            raise UserError(f"{thing.name}: its setting {setting.name} is one of every run; name it otherwise")
        earlier, whose = known.get(setting.name, (setting, ""))
        if earlier.kind is not setting.kind:
            raise UserError(
                f"{thing.name}: its setting {setting.name} is {setting.kind.__name__}, and {whose}'s of this name "
                f"{earlier.kind.__name__}, so that no table could hold both; name it otherwise"
            )
