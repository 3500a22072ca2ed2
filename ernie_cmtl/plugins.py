"""Name -> class, for what people may add: a file of one of our packages, an installed package, a
module from the command line.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from ernie_cmtl.errors import UserError, choices

Plugin = TypeVar("Plugin")


@dataclass
class Plugins(Generic[Plugin]):
    """The classes of one kind, found by name; nothing is imported before its name is asked for."""

    base: type[Plugin]
    """What every one of them is derived from."""
    kind: str
    """What messages call one of them: "task"."""
    package: str
    """Our package of them, one file each; a file whose name begins with an underscore is none."""
    group: str
    """Entry point group in which installed packages name theirs, as `module` or `module:Class`."""
    option: str = "--plugin"
    """Option of the command line that names a module of one, for messages."""
    _modules: dict[str, ModuleType] = field(default_factory=dict, init=False)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(
            {
                *self._files(),
                *self._modules,
                *(entry.name for entry in entry_points(group=self.group)),
            }
        )

    def find(self, name: str) -> type[Plugin]:
        """Return the class of a name.

        Raises:
            UserError: The name is unknown (the message lists those that exist), has two sources, or
                its source is broken.
        """
        sources = self._sources(name)
        if not sources:
            where = f"one of your own is named by {self.option} MODULE, at every call that needs it"
            raise UserError(
                f"no {self.kind} named {name!r}; "
                f"{choices(name, self.names(), 'registered are')}; {where}"
            )
        if len(sources) > 1:
            raise UserError(
                f"two sources claim the {self.kind} {name!r}: "
                f"{' and '.join(map(_describe, sources))}"
            )
        if isinstance(sources[0], EntryPoint) and sources[0].attr:
            return self._named_class(sources[0])
        return self._only_class(self._import(sources[0]))

    def add_module(self, module: str) -> str:
        """Import a module by its full name, add its class under the last part of that name, and
        return that.

        Raises:
            UserError: It cannot be imported, does not hold exactly one such class, or something
                else has the name.
        """
        name = module.rpartition(".")[2]
        if name in self._modules and self._modules[name].__name__ == module:
            return name
        if taken := self._sources(name):
            raise UserError(
                f"two sources claim the {self.kind} {name!r}: {_describe(taken[0])} and module "
                f"{module}"
            )
        loaded = self._import(module)
        self._only_class(loaded)
        self._modules[name] = loaded
        return name

    def holds(self, module: ModuleType) -> bool:
        """Tell whether a module defines a class of this kind."""
        return bool(self._classes(module))

    def _files(self) -> list[str]:
        found = pkgutil.iter_modules(importlib.import_module(self.package).__path__)
        return [module.name for module in found if not module.name.startswith("_")]

    def _sources(self, name: str) -> list["str | ModuleType | EntryPoint"]:
        files = [f"{self.package}.{name}" for file in self._files() if file == name]
        modules = [module for added, module in self._modules.items() if added == name]
        return [*files, *modules, *entry_points(group=self.group, name=name)]

    def _import(self, source: "str | ModuleType | EntryPoint") -> ModuleType:
        return _imported(source, self.kind)

    def _classes(self, module: ModuleType) -> list[type[Plugin]]:
        return [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if issubclass(member, self.base) and member.__module__ == module.__name__
        ]

    def _only_class(self, module: ModuleType) -> type[Plugin]:
        found = self._classes(module)
        if len(found) != 1:
            raise UserError(
                f"{module.__file__} must hold exactly one {self.base.__name__}, found {len(found)}"
            )
        return found[0]

    def _named_class(self, entry: EntryPoint) -> type[Plugin]:
        named = getattr(self._import(entry), entry.attr, None)
        if not (isinstance(named, type) and issubclass(named, self.base)):
            raise UserError(
                f"{self.kind} {entry.name!r}: {_describe(entry)} is no class derived from "
                f"{self.base.__name__}"
            )
        return named


def add_to_its_kind(module: str, kinds: Sequence[Plugins[Any]]) -> str:
    """Import a module by its full name, add its class to the kind that it belongs to, and return
    the name that it goes by.

    Raises:
        UserError: It cannot be imported, does not hold exactly one class of one of the kinds, or
            something else has the name.
    """
    loaded = _imported(module, "plug-in")
    found = [kind for kind in kinds if kind.holds(loaded)]
    if len(found) != 1:
        expected = ", ".join(kind.base.__name__ for kind in kinds)
        raise UserError(
            f"{loaded.__file__} must hold exactly one class derived from one of {expected}; found "
            f"{len(found)}"
        )
    return found[0].add_module(module)


def _imported(source: str | ModuleType | EntryPoint, kind: str) -> ModuleType:
    if isinstance(source, ModuleType):
        return source
    module = source.module if isinstance(source, EntryPoint) else source
    try:
        return importlib.import_module(module)
    # Other people's code may fail in any way; none of them is our fault.
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{kind}: {_describe(source)} does not import: {type(error).__name__}: {error}"
        ) from error


def _describe(source: str | ModuleType | EntryPoint) -> str:
    if isinstance(source, EntryPoint):
        return f"{source.value} of package {source.dist.name if source.dist else '?'}"
    return f"module {source.__name__ if isinstance(source, ModuleType) else source}"
