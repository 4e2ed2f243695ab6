"""Completion and signatures over the names of a running program.

There is nothing of channels here. The program runs on meanwhile, in another thread, so as
little of its code as possible is called: attributes are looked up without the properties and
`__getattr__` methods that the way leads over. What only those know is not found.
"""

from __future__ import annotations

import builtins
import functools
import importlib.machinery
import inspect
import io
import keyword
import pkgutil
import re
import sys
import token
import tokenize
import types
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypedDict

#: At most so many matches are offered: nobody reads more, and they have to travel.
MAX_MATCHES = 500
#: At most so many characters of a docstring: what a tooltip can hold.
MAX_DOCSTRING = 2000

_IDENTIFIER = r"[^\W\d]\w*"
_DOTTED_NAME = re.compile(rf"((?:{_IDENTIFIER}\.)*)(\w*)$")
_IMPORT = re.compile(rf"^\s*(?:from|import(?:\s+[\w.]+(?:\s+as\s+{_IDENTIFIER})?\s*,)*)\s+[\w.]*$")
_FROM_IMPORT = re.compile(r"^\s*from\s+([\w.]+)\s+import\s+\(?(?:[\w\s]+,)*\s*\w*$")

#: Descriptors that C code gets its values by; no Python code runs for them.
_C_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
#: Functions that become a method when they are taken from an instance.
_FUNCTIONS = (
    types.FunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    classmethod,
    staticmethod,
)


class Completion(TypedDict):
    """Names that fit, and the position in the source from which on they replace it."""

    start: int
    matches: list[str]


class Description(TypedDict):
    """What a tooltip shows for something that is called; "" for what is not known."""

    name: str
    signature: str
    docstring: str


class _Unknown(Exception):
    """What a name stands for cannot be told without running code."""


def complete(source: str, position: int, namespace: dict[str, object]) -> Completion:
    """Find how the name before a position can go on.

    Parameters
    ----------
    source : str
        Code, finished or not.
    position : int
        Where the cursor is, in characters.
    namespace : dict
        The names that the program has defined.
    """
    line = source[:position].rpartition("\n")[2]
    found = _DOTTED_NAME.search(line)
    assert found is not None  # the pattern matches at the end of any line
    path, prefix = found[1], found[2]
    if line[: found.start()].endswith("."):
        names: Iterable[str] = ()  # an attribute of something that is no name
    elif from_import := _FROM_IMPORT.match(line):
        names = _importable_names(from_import[1])
    elif _IMPORT.match(line):
        names = _submodules(path[:-1]) if path else _top_level_modules(tuple(sys.path))
    elif path:
        names = _attributes(path[:-1], namespace)
    else:
        names = {*list(namespace), *dir(builtins), *keyword.kwlist}
    fitting = {name for name in names if name.startswith(prefix) and name.isidentifier()}
    if not prefix:
        fitting = {name for name in fitting if not name.startswith("_")}
    matches = sorted(fitting, key=lambda name: (name.startswith("_"), name))
    return Completion(start=position - len(prefix), matches=matches[:MAX_MATCHES])


def describe_call(source: str, position: int, namespace: dict[str, object]) -> Description | None:
    """Describe what is called in the parentheses around a position.

    Parameters are those of `complete`.

    Returns
    -------
    Description or None
        None outside of a call, and where it cannot be told what is called.
    """
    name = _name_of_call(source[:position])
    if name is None:
        return None
    try:
        target = _look_up(name, namespace)
    except _Unknown:
        return None
    if _has_code_for_attributes(target):
        return None  # inspect asks for many
    return Description(
        name=name,
        signature=_signature(target),
        docstring=(inspect.getdoc(target) or "")[:MAX_DOCSTRING],
    )


# Names


def _attributes(path: str, namespace: dict[str, object]) -> Iterable[str]:
    try:
        # It calls __dir__ where a class has one, which is there for this purpose.
        return dir(_look_up(path, namespace))
    except Exception:
        return ()


def _look_up(path: str, namespace: dict[str, object]) -> object:
    """Get what a dotted name stands for.

    Raises
    ------
    _Unknown
        There is no such thing, or code would have to run to get it.
    """
    first, *rest = path.split(".")
    if first in namespace:
        target = namespace[first]
    elif hasattr(builtins, first):
        target = getattr(builtins, first)
    else:
        raise _Unknown(first)
    for name in rest:
        target = _attribute(target, name)
    return target


def _attribute(owner: object, name: str) -> object:
    try:
        found = inspect.getattr_static(owner, name)
    except AttributeError as error:
        raise _Unknown(name) from error
    if isinstance(found, _C_DESCRIPTORS) and not isinstance(owner, type):
        return found.__get__(owner)
    if isinstance(found, _FUNCTIONS):
        if isinstance(owner, types.ModuleType):
            return found
        if isinstance(owner, type):
            return found.__get__(None, owner)
        return found.__get__(owner)
    if hasattr(type(found), "__get__") and not inspect.isroutine(found):
        raise _Unknown(name)  # a property, or what works like one
    return found


def _has_code_for_attributes(target: object) -> bool:
    methods = ("__getattr__", "__getattribute__")
    found = (inspect.getattr_static(type(target), name, None) for name in methods)
    return any(isinstance(method, types.FunctionType) for method in found)


# Modules


@functools.lru_cache(maxsize=1)
def _top_level_modules(path: tuple[str, ...]) -> frozenset[str]:
    """Get the names of all modules on the path; it takes some 50 ms, so the answer is kept."""
    found = (module.name for module in pkgutil.iter_modules(path))
    return frozenset({*found, *sys.stdlib_module_names})


def _submodules(package: str) -> Iterator[str]:
    """Get the names of the modules in a package, without importing it."""
    path = None
    full_name = ""
    for name in package.split("."):
        full_name = f"{full_name}.{name}" if full_name else name
        spec = importlib.machinery.PathFinder.find_spec(full_name, path)
        path = spec.submodule_search_locations if spec else None
        if path is None:
            return
    for module in pkgutil.iter_modules(path):
        yield module.name


def _importable_names(module: str) -> Iterator[str]:
    yield from _submodules(module)
    if module in sys.modules:
        yield from list(vars(sys.modules[module]))


# Calls


class _Bracket(NamedTuple):
    kind: str
    #: The dotted name in front of a parenthesis, "" if there is none.
    name: str


def _name_of_call(source: str) -> str | None:
    """Get the name in front of the innermost parenthesis that is open at the end."""
    open_brackets: list[_Bracket] = []
    before: list[tokenize.TokenInfo] = []
    for item in _tokens(source):
        if item.string in ("(", "[", "{"):
            open_brackets.append(_Bracket(item.string, _dotted_name_at_end(before)))
        elif item.string in (")", "]", "}") and open_brackets:
            open_brackets.pop()
        before.append(item)
    calls = [bracket.name for bracket in open_brackets if bracket.kind == "(" and bracket.name]
    return calls[-1] if calls else None


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """Get the tokens up to the first that is not complete."""
    try:
        yield from tokenize.generate_tokens(io.StringIO(source).readline)
    except (tokenize.TokenError, SyntaxError):
        return


def _dotted_name_at_end(tokens: list[tokenize.TokenInfo]) -> str:
    """Get the name that the tokens end with, as ``a.b``; "" for ``f().b`` or a definition."""
    parts: list[str] = []
    remaining = list(tokens)
    while remaining and remaining[-1].type == token.NAME:
        name = remaining.pop().string
        if keyword.iskeyword(name):
            return ""
        parts.insert(0, name)
        if not remaining or remaining[-1].string != ".":
            is_definition = bool(remaining) and remaining[-1].string in ("def", "class")
            return "" if is_definition else ".".join(parts)
        remaining.pop()
    return ""


def _signature(target: object) -> str:
    if not callable(target):
        return ""
    try:
        return str(inspect.signature(target))
    except ValueError:  # one in C that does not tell
        return ""
