"""Builds the documentation (`make docs`): hand-written pages, and a reference made from the code it describes."""

import dataclasses
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"
MERMAID = HERE / "node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js"

project = "Forerun"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["node_modules", "_build"]
html_theme = "furo"
html_title = "Forerun"
html_static_path = ["_static"]
html_copy_source = False
html_show_copyright = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_use_type_comments = False  # there are none
toc_object_entries = False  # modules are enough beside a page; with each function each page takes twice as long
autodoc_mock_imports = ["machine", "micropython", "pins", "rp2", "esp32"]
suppress_warnings = ["myst.xref_missing"]  # pages shown here in part link to files of the repository


class Mermaid(Directive):
    """A diagram that the reader's browser draws; without JavaScript its source is readable."""

    has_content = True

    def run(self):
        source = "\n".join(self.content).replace("&", "&amp;").replace("<", "&lt;")
        return [nodes.raw("", f'<pre class="mermaid">\n{source}\n</pre>', format="html")]


def write_reference() -> None:
    """Make the pages under reference/ anew; they are not kept in the repository."""
    shutil.rmtree(REFERENCE, ignore_errors=True)
    REFERENCE.mkdir()
    for name, text in {
        "commands": _commands(),
        "site-file": _site_file(),
        "board-settings": _board_settings(),
        "events": _events(),
        "code": _code(),
    }.items():
        (REFERENCE / f"{name}.md").write_text(text)


def _commands() -> str:
    made = subprocess.run(
        [sys.executable, "-m", "typer", "forerun.cli", "utils", "docs", "--name", "forerun", "--title", "Commands"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return made.stdout


def _site_file() -> str:
    from forerun import config

    lines = ["# The site file", "", "One TOML file says everything about a site that does not change by itself.", ""]
    for section in dataclasses.fields(config.SiteFile):
        kind = section.type
        words = (kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        if words.startswith(kind.__name__ + "("):  # what dataclasses write themselves
            words = ""
        lines += [f"## [{section.name}]", "", words, "", "| key | range | default |", "|---|---|---|"]
        lines += [f"| `{key.name}` | {_range(key.metadata)} | {_default(key)} |" for key in dataclasses.fields(kind)]
        lines.append("")
    example = config.EXAMPLE.read_text()
    return "\n".join([*lines, "## A complete example", "", "```toml", example.rstrip(), "```", ""])


def _range(metadata) -> str:
    if metadata.get("one_of"):
        return " or ".join(f"`{choice}`" for choice in metadata["one_of"])
    if metadata.get("low") is None:
        return {str: "text", bool: "true or false"}.get(metadata.get("kind"), "")
    return f"{metadata['low']} to {metadata['high']}" + (", or 24 of them" if metadata.get("hourly") else "")


def _default(key) -> str:
    if key.default is dataclasses.MISSING:
        return "required"
    return "none" if key.default in ("", None) else f"`{key.default}`"


def _board_settings() -> str:
    from forerun_wire.messages import SETTINGS

    lines = [
        "# Settings of the board", "",
        "Integers, kept on the board through power loss; a value outside its range is refused.", "",
        "| key | name | unit | lowest | highest | default |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {key} | `{name}` | {unit} | {low} | {high} | {default} |"
              for key, name, unit, low, high, default in SETTINGS]  # fmt: skip
    return "\n".join([*lines, ""])


class _Any(str):
    """A word where an event has a number, whatever way that is written."""

    def __format__(self, spec: str) -> str:
        return str(self)


def _events() -> str:
    from forerun.site import alarms
    from forerun_wire import messages

    lines = ["# Events of the board", "", "What the host says when one arrives: cause and remedy.", "",
             "| code | event | what it means |", "|---|---|---|"]  # fmt: skip
    for code, name in messages.EVENTS:
        lines.append(f"| {code} | `{name}` | {alarms.sentence(code, _Any('*value*'), _Any('*limit*'))} |")
    return "\n".join([*lines, ""])


def _code() -> str:
    lines = ["# Code", "", "Public definitions and their units, from the docstrings.", ""]
    for room in ("forerun", "forerun_verify", "forerun_wire", "forerun_board"):
        package = importlib.import_module(room)
        lines += [f"## {room}", ""]
        for module in sorted(pkgutil.walk_packages(package.__path__, room + "."), key=lambda found: found.name):
            if module.ispkg or module.name.endswith("__main__") or ".hal." in module.name:
                continue  # run, not imported; or for one chip's interpreter
            lines += [f"### {module.name}", "", "```{eval-rst}", f".. automodule:: {module.name}", "```", ""]
    return "\n".join(lines)


def _as_prose(app, what, name, obj, options, lines) -> None:
    """Docstrings here are prose: a star in them is a star, and an underscore ends a name."""
    lines[:] = [re.sub(r"\*|(?<=\w)_(?!\w)", r"\\\g<0>", line) for line in lines]


def setup(app) -> None:
    """Called by Sphinx."""
    write_reference()
    app.connect("autodoc-process-docstring", _as_prose)
    app.add_directive("mermaid", Mermaid)
    if MERMAID.exists():
        shutil.copy(MERMAID, HERE / "_static/mermaid.tiny.js")
        app.add_js_file("mermaid.tiny.js")
        app.add_js_file("diagrams.js")
