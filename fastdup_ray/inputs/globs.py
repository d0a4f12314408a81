"""Which names to take: `include` and `exclude`."""

import re
from collections.abc import Sequence

from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.suffixes import is_archive_name

_TOKENS = re.compile(
    r"(?P<folders>\*\*/)|(?P<all>\*\*)|(?P<some>\*)|(?P<one>\?)|\[(?P<no>!?)(?P<set>\]?[^]]*)\]", re.DOTALL
)
_REGEX = {"folders": "(?:.*/)?", "all": ".*", "some": "[^/]*", "one": "[^/]"}


class Patterns:
    """Globs over names.

    A pattern names files, or folders and archives with all that is below them. One without a `/` may match at any
    depth; one with a `/` is of the whole name. `*` and `?` stay within a folder, `**` does not; case counts. An
    archive itself is only ever an entry where it is damaged: `include` cannot hide that, `exclude` can.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]):
        self._include, self._exclude = _compile(include), _compile(exclude)

    def keep(self, name: str) -> bool:
        """name: of a file, from the input folder on, or whole; bytes that are not UTF-8 as surrogates."""
        wanted = self._include is None or is_archive_name(name) or _matches(self._include, name)
        return wanted and not self.exclude(name)

    def exclude(self, name: str) -> bool:
        """Whether nothing of this name, nor below it, is to be taken."""
        return self._exclude is not None and _matches(self._exclude, name)


def _compile(patterns: Sequence[str]) -> re.Pattern[str] | None:
    for pattern in patterns:
        try:
            re.compile(_translate(pattern))
        except re.error as error:
            raise ConfigError(f"{pattern!r} is no glob: {error}.") from None
    return re.compile("|".join(map(_translate, patterns)), re.DOTALL) if patterns else None


def _matches(regex: re.Pattern[str], name: str) -> bool:
    return regex.fullmatch(name.removeprefix("/")) is not None


def _translate(pattern: str) -> str:
    pattern = pattern.removeprefix("./").rstrip("/")
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    regex, end = "", 0
    pattern = pattern.removeprefix("/")
    for token in _TOKENS.finditer(pattern):
        regex += re.escape(pattern[end : token.start()])
        if token["set"] is not None:
            members = re.sub(r"([\\^\[\]&~|])", r"\\\1", token["set"])
            regex += f"(?!/)[{'^' if token['no'] else ''}{members}]"
        else:
            regex += _REGEX[token.lastgroup]
        end = token.end()
    return f"{anywhere}{regex}{re.escape(pattern[end:])}(?:!?/.*)?"
