"""Keys and passwords in texts, by their names, by how they begin, and by the environment."""

import re
from collections.abc import Iterator, Mapping

SECRET = "[secret]"
"""Stands in the place of what looks like a key or a password."""
SHORTEST = 8
"""Characters of a secret in the environment that is looked for; shorter ones are common words."""
_ENVIRONMENT = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_PREFIXES = (
    *("sk-", "sk_", "pk_", "hf_", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-"),
    *("xoxb-", "xoxp-", "AKIA", "AIza"),
)
"""How the keys of well-known services begin."""
_RULES = (
    # User and password in an address, in which a slash or an @ may stand; a port is no password.
    ("@", re.compile(r"(?<=://)(?!\[)[^/\s@\"':]*:(?!\d{1,5}[/?#])[^\s\"'<>]+(?=@)")),
    ("@", re.compile(r"(?<=://)[^/\s@\"']+(?=@)")),  # a key alone
    ("earer ", re.compile(r"(?<=[Bb]earer )[\w.~+/-]{8,}=*")),
    ("eyJ", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")),  # JSON web token
    ("PRIVATE KEY-----", re.compile(r"(?<=PRIVATE KEY-----)[^-]+(?=-----END)")),
    *((start, re.compile(rf"\b{start}[-_A-Za-z0-9]{{16,}}")) for start in _PREFIXES),
)
"""A text that every match holds, so that most prompts cost no search, and the pattern."""
_HINTS = ("passw", "key", "token", "secret")
"""One stands, in small letters, in every text that names a secret."""
_PLAIN = r"passw(?:ord|d)|(?:api|access|secret|private)[_-]?key"
"""Names that say enough in a sentence; `Secret: a novel` does not."""
_NAME = rf"(?:{_PLAIN}|token|secret)"
# `"db_password": `, also within a JSON string, where the quotes have backslashes; `password: `;
# `token=`. The last three may go on with a quote.
_BEGINNING = rf"""(?:["'][\w-]*{_NAME}\\*["']\s*:\s*|(?:{_PLAIN})[ \t]*[:=][ \t]*|{_NAME}=)"""
_HAS_NAMED = re.compile(rf"""{_NAME}\\*["']?\s*[:=]""")
"""Found in every text, in small letters, that the patterns below match, and much faster."""
_NAMED = (
    re.compile(rf"""(?i:({_BEGINNING}(\\*["']))[^\n]*?(?=(?<!\\)\2|\n|\Z))"""),
    re.compile(
        rf"""(?i:({_BEGINNING}))(?!\\*["'\[{{\s]|(?:null|true|false)\b)\S+?(?=[,;}}\])]*(?:\\*["'\s&]|\Z))"""
    ),
)
"""Values in quotes, then those without: what to keep is the first group."""


class Masks:
    """Masks what looks like a secret."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Note the secrets of the environment.

        Args:
            environment: Names to values; those named like secrets are masked wherever they stand.
        """
        planted = ((value, re.compile(re.escape(value))) for value in _planted(environment))
        self._rules = (*planted, *_RULES)

    def masked(self, text: str) -> str:
        """The text with `SECRET` in the place of each secret."""
        for hint, pattern in self._rules:
            if hint in text:
                text = pattern.sub(SECRET, text)
        lower = text.lower()
        if any(hint in lower for hint in _HINTS) and _HAS_NAMED.search(lower):
            for pattern in _NAMED:
                text = pattern.sub(rf"\1{SECRET}", text)
        return text


def _planted(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of the environment that are secrets by their name, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if _ENVIRONMENT.search(name) and len(value) >= SHORTEST
    }
    yield from sorted(found, key=lambda value: (-len(value), value))
