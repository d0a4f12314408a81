"""Secrets in URLs: whatever is printed, logged or stored as text goes without them."""

import re

HIDDEN = "***"

_PASSWORD_WITH_SLASH = re.compile(
    r"(https?:/+)[^/\s'\"`<>:@\[]*:(?!\d{1,5}(?:[/?#\s'\"`]|$))[^\s'\"`<>]*@", re.IGNORECASE
)
"""A password that should have been escaped: what follows the colon is no port."""

_USER = re.compile(r"([a-z][a-z0-9+.-]*:/+)[^/\s'\"`<>?#]*@", re.IGNORECASE)
"""All that stands before the host. Keys and paths may have an @, too, but only behind a slash."""

_PARAMETER = re.compile(
    r"([?&][\w.-]*(?:signature|credential|accesskeyid|token|passw(?:or)?d|secret|api[_-]?key|\bsig|\bkey|\bauth)=)"
    r"[^&\s'\"`<>#]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b((?:Signature|Credential)=)[^&\s'\"`<>#,]+")


def redact(text: str) -> str:
    """Return a text with `***` for user names, passwords, tokens and signatures in the URLs that it quotes."""
    text = _PASSWORD_WITH_SLASH.sub(rf"\1{HIDDEN}@", text)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
