"""The effective configuration of a command as TOML, that --config-file takes back.

What it is: a line a flag. What it is not: what a value means. No secret can be among the values:
flags name only the files that hold one.

Worked example: `name = "shard-0"`; reading it again gives the same values.

Tested in tests/unit/cli/test_role_config.py.
"""

from __future__ import annotations

import json
from typing import Final

from .flag_sources import Values

_LEFT_OUT: Final = ("config-file", "print-config")


def toml_of(values: Values) -> str:
    """A line for each flag, in the table's order; those that ask for nothing are comments."""
    lines = []
    for flag in values.command.flags:
        if flag.name in _LEFT_OUT:
            continue
        # A JSON string is a basic string of TOML.
        line = f"{flag.name} = {json.dumps(values[flag.name], ensure_ascii=False)}"
        lines.append(line if values[flag.name] else f"# {line}")
    return "\n".join(lines) + "\n"
