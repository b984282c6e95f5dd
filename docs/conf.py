"""Builds the documentation (`make docs`): hand-written pages, and a reference made from the code it describes."""

import ast
import dataclasses
import importlib.util
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"
MERMAID = HERE / "node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js"

project = "Forerun"
extensions = ["myst_parser"]
exclude_patterns = ["node_modules", "_build"]
html_theme = "furo"
html_title = "Forerun"
html_static_path = ["_static"]
html_copy_source = False
html_show_copyright = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
toc_object_entries = False  # modules are enough beside a page; with each function each page takes twice as long
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
    """Read, not imported: that takes half the time of autodoc, and a signature says what the source says."""
    lines = ["# Code", "", "Public definitions and their units, from the docstrings.", ""]
    for room in ("forerun", "forerun_verify", "forerun_wire", "forerun_board"):
        package = Path(importlib.util.find_spec(room).origin).parent
        lines += [f"## {room}", ""]
        for file in sorted(package.rglob("*.py")):
            name = ".".join([room, *file.relative_to(package).with_suffix("").parts])
            if file.stem in ("__init__", "__main__") or ".hal." in name:
                continue  # run, not imported; or for one chip's interpreter
            tree = ast.parse(file.read_text())
            lines += [f"### {name}", "", "```{eval-rst}", f".. py:module:: {name}", "", *_prose(tree), *_members(tree),
                      "```", ""]  # fmt: skip
    return "\n".join(lines)


_classes: Counter = Counter()  # how many have this name


def _members(holder: ast.Module | ast.ClassDef) -> list[str]:
    """What a module or class shows to others and has words about, in the source's order."""
    lines = []
    for node in holder.body:
        if (not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_")
                or not ast.get_docstring(node)):  # fmt: skip
            continue
        words = [ast.unparse(word) for word in node.decorator_list]
        options = [f":{word}:" for word in words if word in ("staticmethod", "classmethod")]
        if isinstance(node, ast.ClassDef):
            raised = any(ast.unparse(base).endswith(("Error", "Exception", "Trouble", "Usage")) for base in node.bases)
            kind, shown = "exception" if raised else "class", "" if raised else f"({_made_with(node)})"
            _classes[node.name] += 1
        elif any(word.endswith("property") for word in words):
            kind, shown = "property", ""
            options += [f":type: {ast.unparse(node.returns)}"] if node.returns else []
        else:
            kind = "method" if isinstance(holder, ast.ClassDef) else "function"
            bound = kind == "method" and "staticmethod" not in words
            shown = f"({_arguments(node, bound)})"
            shown += f" -> {ast.unparse(node.returns)}" if node.returns else ""
        inside = [*options, "", *_prose(node)]
        inside += _members(node) if isinstance(node, ast.ClassDef) else []
        lines += [f".. py:{kind}:: {node.name}{shown}", *(f"   {line}".rstrip() for line in inside)]
    return lines


def _made_with(node: ast.ClassDef) -> str:
    """Arguments of its __init__, or the fields of a dataclass."""
    begins = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if begins:
        return _arguments(begins[0], bound=True)
    if not any(ast.unparse(word).startswith(("dataclass", "dataclasses.dataclass")) for word in node.decorator_list):
        return ""
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.dump(item)]
    return ", ".join(f"{item.target.id}: {ast.unparse(item.annotation)}" + (" = ..." if item.value else "")
                     for item in fields)  # fmt: skip


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef, bound: bool) -> str:
    """As written, without the first one of what is bound to an object."""
    given = node.args
    if bound:
        (given.posonlyargs or given.args).pop(0)
    return ast.unparse(given)


def _prose(node) -> list[str]:
    """Docstrings here are prose: a star in them is a star, and an underscore ends a name."""
    words = ast.get_docstring(node) or ""
    return [re.sub(r"\*|(?<=\w)_(?!\w)", r"\\\g<0>", line) for line in words.splitlines()] + [""]


def _link_types(app, doctree) -> None:
    """A type in a signature leads to its class where that is the only one of the name."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node["refdomain"] == "py" and _classes[node["reftarget"]] != 1:
            node.replace_self(node.children)


def setup(app) -> None:
    """Called by Sphinx."""
    write_reference()
    app.connect("doctree-read", _link_types)
    app.add_directive("mermaid", Mermaid)
    if MERMAID.exists():
        shutil.copy(MERMAID, HERE / "_static/mermaid.tiny.js")
        app.add_js_file("mermaid.tiny.js")
        app.add_js_file("diagrams.js")
