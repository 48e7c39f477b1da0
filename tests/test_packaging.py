"""What the package declares can be installed by the commands that name it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def extras() -> list[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return list(parser["options.extras_require"])


@pytest.mark.parametrize("name", extras())
def test_an_extra_is_found_by_the_name_it_is_written_with(name):
    # builders write names normalised (PEP 685), and pip before 23.3 looks for the very letters it was given
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


def test_only_extras_that_exist_are_asked_for():
    found = [path for folder in ("launch", "sfmarl", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    # the peers' packages lie in benchmarks/.venvs
    sources = [path for path in found if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    asked = {
        name
        for path in [ROOT / "Makefile", ROOT / "README.md", *sources]
        for names in re.findall(r"(?:sfmarl|-e '\.)\[([a-z0-9_,-]+)\]", path.read_text())
        for name in names.split(",")
    }
    assert asked
    assert asked <= set(extras())
