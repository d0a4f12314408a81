"""The pages say what the code does: generated pages, links, commands, and what the package's metadata shows of them."""

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path

import click
import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

import fastdup_ray
from fastdup_ray.cli.group import cli
from fastdup_ray.config import RunConfig
from tests.docs.generate import FILES
from tests.docs.pages import PROGRAM, ROOT, all_pages, anchors, blocks, commands, links

README = ROOT / "README.md"
STUB_FILE = ROOT / "fastdup_ray" / "__init__.pyi"
FIRST_SCREEN = 25
"""Lines."""

each_page = pytest.mark.parametrize("page", all_pages(), ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_generated_files_are_those_of_the_code(path):
    if path.read_text(encoding="utf-8") != FILES[path]():
        pytest.fail(f"{path.name} is not what the code says; run: python -m tests.docs.generate", pytrace=False)


@pytest.mark.parametrize("name", ["run", "deduplicate"])
def test_the_stub_has_the_parameters_of_the_functions(name):
    nodes = ast.parse(STUB_FILE.read_text(encoding="utf-8")).body
    *_, function = (node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == name)
    real = inspect.signature(getattr(fastdup_ray, name)).parameters
    assert [argument.arg for argument in function.args.args] == list(real)
    defaults = [ast.literal_eval(default) for default in function.args.defaults]
    assert defaults == [parameter.default for parameter in real.values()]


SCRIPT = """
from pathlib import Path
import fastdup_ray as fastdup
code: int = fastdup.run("x", work_dir=Path("y"), threshold=0.9)
result: fastdup.RunResult = fastdup.deduplicate(fastdup.RunConfig.of(input_dir="x", work_dir="y"))
result = fastdup.deduplicate(Path("x").rglob("*.jpg"), work_dir="y", invariant="flip", reference=Path("z"))
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", ""),
        ('fastdup.run("x", treshold=0.9)', "treshold"),
        ('fastdup.deduplicate("x", treshold=0.9)', "deduplicate"),
        ('fastdup.deduplicate("x", estimate=True)', "deduplicate"),
        ('fastdup.run(5, compute="tpu")', "compute"),
    ],
)
def test_a_users_script_type_checks(line, told, tmp_path_factory, monkeypatch):
    api = pytest.importorskip("mypy.api")
    folder = tmp_path_factory.getbasetemp() / "mypy"
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(f"{SCRIPT}{line}\n")
    package = Path(fastdup_ray.__file__).parent
    assert (package / "py.typed").exists()
    monkeypatch.setenv("MYPYPATH", str(package.parent))
    alone = ["--no-site-packages", "--ignore-missing-imports"]  # other packages would take half a minute
    options = [*alone, "--follow-imports=silent", "--cache-dir", str(folder / "cache")]
    report, _, code = api.run([*options, str(folder / "script.py")])
    assert code == bool(told), report
    assert told in report


@each_page
def test_links_lead_somewhere(page: Path):
    for target in links(page):
        path, _, anchor = target.partition("#")
        if re.match("[a-z]+:", path):
            continue
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@each_page
def test_commands_are_accepted(page: Path):
    for line in commands(page):
        arguments = shlex.split(re.sub(r"<\(.*?\)", "list.txt", line), comments=True)
        try:
            context = cli.make_context(PROGRAM, arguments)
            name, command, rest = cli.resolve_command(context, arguments)
            given = command.make_context(name, rest, parent=context).params
        except click.exceptions.Exit:  # --help, --version
            continue
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.message}")
        if name == "run":
            first = [given["input_dir"]] if given["input_dir"] else []
            flags = {key: given[key] for key in RunConfig.model_fields if key != "input_dir" and given[key] is not None}
            RunConfig.from_text({"input_dir": [*first, *given["more"]] or None} | flags)


@each_page
def test_python_uses_names_that_exist(page: Path):
    for text in blocks(page, "python"):
        compile(text, str(page), "exec")
        imported = re.search(r"^import (\S+) as fastdup$", text, re.MULTILINE)
        module = importlib.import_module(imported[1] if imported else "fastdup_ray")
        code = re.sub(r"^(import|from) .*$", "", text, flags=re.MULTILINE)
        for name in re.findall(r"\bfastdup(?:_ray)?\.([A-Za-z]\w*)", code):
            assert hasattr(module, name), name


def test_the_readme_is_short_and_begins_with_both_set_up_commands():
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:FIRST_SCREEN])
    assert len(README.read_bytes()) <= 8_000
    assert first_screen.count("python3 -m venv .venv && .venv/bin/pip install -e") == 2
    assert "&& .venv/bin/fastdup-ray run" in first_screen
    assert "&& .venv/bin/pytest" in first_screen


def test_the_metadata_has_no_relative_link():
    readme = ProjectMetadata(str(ROOT), PluginManager()).core.readme
    targets = re.findall(r"\]\(([^)]+)\)", readme)
    assert len(targets) == len(list(links(README)))
    assert not [target for target in targets if not target.startswith("https://")]
