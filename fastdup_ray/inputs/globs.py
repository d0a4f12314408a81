"""The globs of `--include` and `--exclude`."""

import re
from collections.abc import Sequence

from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.suffixes import has_members, is_readable_name

_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[(?P<no>!?)(?P<set>\]?[^]]*)\]", re.DOTALL)
_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class Patterns:
    """Which names to include and to exclude.

    A glob names files, or folders and archives with everything in them. Without a `/` it matches at any depth; with a
    `/` it matches the whole name. `*` and `?` do not match `/`, `**` does. Upper and lower case are the same, since
    cameras write `IMG.JPG`. An archive is an entry itself only if it is damaged: `include` does not hide that,
    `exclude` does.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        """Compile globs.

        Args:
            include: globs of what to take; none: everything.
            exclude: globs of what to leave out; stronger than `include`.

        Raises:
            ConfigError: where a glob is not valid.
        """
        self._include, self._exclude = _compile(include), _compile(exclude)

    def keep(self, name: str) -> bool:
        """Return whether a file is taken.

        Args:
            name: relative to the input folder, or the whole name; bytes that are not UTF-8 as surrogates.
        """
        wanted = self._include is None or _is_listed_as_members(name) or _matches(self._include, name)
        return wanted and not self.exclude(name)

    def selects_suffix(self, name: str) -> bool:
        """Return whether the suffix of a file that is kept is one that is read: a table, only if it is asked for."""
        return is_readable_name(name) or (self._include is not None and has_members(name))

    def exclude(self, name: str) -> bool:
        """Return whether a file or folder, with everything in it, is excluded."""
        return self._exclude is not None and _matches(self._exclude, name)


def _is_listed_as_members(name: str) -> bool:
    """Return whether patterns apply to the images in a file, not to the file."""
    return has_members(name) and is_readable_name(name)


def _compile(patterns: Sequence[str]) -> re.Pattern[str] | None:
    for pattern in patterns:
        try:
            re.compile(_translate(pattern))
        except re.error as error:
            raise ConfigError(f"{pattern!r} is not a valid glob: {error}.") from None
    return re.compile("|".join(map(_translate, patterns)), re.DOTALL | re.IGNORECASE) if patterns else None


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
            regex += _REGEX[token[0]]
        end = token.end()
    return f"{anywhere}{regex}{re.escape(pattern[end:])}(?:!?/.*)?"
