"""The page of the manual and the table of settings say the same."""

from __future__ import annotations

from pathlib import Path

from sampan.config import foreign, options

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_of_the_manual_is_the_table_as_printed() -> None:
    _, marker, printed = PAGE.read_text().partition("<!-- table -->\n")
    assert marker, "the page names the place of the table"
    assert printed.partition("<!-- end -->\n")[0].strip() == options.manual().strip()


def test_the_page_names_dockers_other_options() -> None:
    _, _, printed = PAGE.read_text().partition("<!-- foreign -->\n")
    assert printed.partition("<!-- end -->\n")[0].strip() == foreign.manual().strip()


def test_every_setting_has_a_flag_and_a_line_of_explanation() -> None:
    for row in options.table():
        assert row.metadata["flags"][-1].startswith("--"), row.name
        assert row.metadata["doc"], row.name
