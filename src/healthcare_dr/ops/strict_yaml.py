"""Read YAML files of operators: repeated keys are errors, and numbers to the base 60 are text."""

import errno
import os
import re
from pathlib import Path
from typing import Any, Final

import yaml

LARGEST: Final = 1_000_000
"""In bytes. PyYAML needs a minute for ten times as much."""


class RepeatedKeyError(yaml.YAMLError):
    """A mapping contains a key twice. The message names the key and the line of its second occurrence."""


class _Loader(yaml.SafeLoader):
    """Rejects repeated keys, of which PyYAML keeps the last, and reads `1:30` as text rather than as 90."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                text = " ".join(key.value.split())
                raise RepeatedKeyError(f"names {text} twice, again in line {key.start_mark.line + 1}")
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


# These replace the integers and floats of YAML 1.1, which may be to the base 60.
_NUMBERS: Final = {
    "int": re.compile(r"[-+]?(?:0b[01]+|0x[0-9a-fA-F]+|0|[1-9][0-9]*)"),
    "float": re.compile(
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern.pattern})$"), list("-+.0123456789")
    )


def read_text(file: Path) -> str:
    """Return the text of a file, which may be a pipe such as the shell's `<(...)`.

    Raises:
        OSError: it cannot be read, or holds more than `LARGEST` bytes.
        UnicodeDecodeError: it is not UTF-8.
    """
    # Without O_NONBLOCK, opening a pipe that has no writer does not return.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        os.set_blocking(descriptor, True)
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(file))
    return content.decode("utf-8")


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        RepeatedKeyError: it contains a key twice.
        yaml.YAMLError: it is not YAML.
        ValueError, RecursionError: a date does not exist, or it is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (LookupError, AttributeError, TypeError) as error:
        # PyYAML does not check values with an explicit tag, such as `!!bool perhaps`.
        raise yaml.YAMLError(f"a value is not of the type that its tag names: {error}") from error
