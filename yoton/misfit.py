"""What in a message cannot be encoded, and where it sits.

Encoders do not keep track of places, because nearly every message fits. When one failed,
`misfit_error` goes through the message once more to say why.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator

from yoton.exceptions import EncodeError

#: Levels of containers within containers that an OBJECT can be sure to have. Pyzo's yoton
#: gives up at 497 lists when it reads with an otherwise empty stack, msgpack's packer at 511,
#: and == or repr() of a received message at the recursion limit of Python, 1000.
NESTING_LIMIT = 400

#: Characters of a place that are shown, so that the error of a deep message stays readable.
PLACE_LENGTH = 200

Containers = tuple[type, ...]
#: How to write the place of a child, given its parent's place, and what distinguishes it.
_Step = tuple[str, object]


def misfit_error(
    message: object,
    encode_leaf: Callable[[object], object],
    containers: Containers,
    cause: Exception,
) -> EncodeError:
    """Get the error that says what keeps a message from being encoded.

    Parameters
    ----------
    message : object
        What could not be encoded.
    encode_leaf : callable
        Raises an exception for a value that cannot be encoded; its text is the reason. Is
        called with what is no container.
    containers : tuple of type
        The types whose items are looked at one by one.
    cause : Exception
        What the encoder raised; it is told when the message by itself does not show why.
    """
    try:
        found = _find_misfit(message, encode_leaf, containers)
    except Exception:
        # A value whose own methods raise errors made the encoder fail, and fails here again.
        found = None
    return EncodeError(f"OBJECT cannot carry {found or f'this message: {cause!r}'}")


def _find_misfit(
    message: object, encode_leaf: Callable[[object], object], containers: Containers
) -> str | None:
    # One entry per container that is being looked through; a container's own step and id
    # stand at its index, so that the step to the value at hand comes on top of all of them.
    children: list[Iterator[tuple[_Step, object]]] = [iter([(("message", None), message)])]
    steps: list[_Step] = []
    ids: list[int] = []
    while children:
        for step, value in children[-1]:
            if not isinstance(value, containers):
                reason = _reason(value, encode_leaf)
                if reason is not None:
                    return f"{_with_article(value)}{_where([*steps, step])}: {reason}"
            elif id(value) in ids:
                return f"{_with_article(value)} that contains itself{_where([*steps, step])}"
            elif len(steps) == NESTING_LIMIT:
                return f"more than {NESTING_LIMIT} levels of containers in containers"
            else:
                steps.append(step)
                ids.append(id(value))
                children.append(_children(value))
                break
        else:
            children.pop()
            del steps[-1:], ids[-1:]
    return None


def _reason(value: object, encode_leaf: Callable[[object], object]) -> str | None:
    """Get why a value cannot be encoded, None if it can."""
    try:
        encode_leaf(value)
    except Exception as error:
        return str(error) or repr(error)
    return None


def _children(container: object) -> Iterator[tuple[_Step, object]]:
    if isinstance(container, dict):
        for key, item in container.items():
            yield ("<key of {place}>", None), key
            yield ("{place}[{key}]", key), item
    elif isinstance(container, (list, tuple)):
        for index, item in enumerate(container):
            yield ("{place}[{key}]", index), item
    elif isinstance(container, set):
        for item in container:
            yield ("<element of {place}>", None), item


def _where(steps: list[_Step]) -> str:
    if len(steps) == 1:
        return ""
    place = ""
    for template, key in steps:
        place = template.format(place=place, key=_short_repr(key))
    if len(place) > PLACE_LENGTH:
        half = PLACE_LENGTH // 2
        place = f"{place[:half]} ... {place[-half:]}"
    return f" (at {place})"


def _short_repr(key: object) -> str:
    try:
        return reprlib.repr(key)
    except ValueError:
        # An integer of more digits than Python is willing to write.
        return "..."


def _with_article(value: object) -> str:
    name = type(value).__name__
    article = "an" if name.startswith(tuple("aeiouAEIOU")) else "a"
    return f"{article} {name}"
