"""The form of the notebooks: what every one of them has, and what none may have."""

import ast
import functools
import importlib.util
import inspect
import json
import re
import statistics

import pytest

from tutorial_tools import canonical, runner

PATHS = runner.find_notebooks()
README = runner.NOTEBOOKS.parent / "README.md"
IGNORED_LIMIT = {"04_unet_coco_cats": 2}  # elsewhere the banner alone; here measured rates, too


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def text(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_five():
    assert [path.stem[:2] for path in PATHS] == ["01", "02", "03", "04", "05"]


def test_stored_as_canonical_json_under_3_mb(path, notebook):
    assert path.read_text(encoding="utf-8") == canonical.canonical(notebook), "run `make refresh`"
    assert path.stat().st_size < 3_000_000
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_all_executed_without_error_or_stderr(notebook):
    for cell in code(notebook):
        assert cell["execution_count"]
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr"


def test_every_image_has_alt_text(notebook):
    for cell in code(notebook):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                assert len(output["metadata"]["image/png"]["alt"].split()) > 3
            page = "".join(output.get("data", {}).get("text/html", ""))
            for image in re.findall(r"<(?:img|canvas)[^>]*>", page):
                alt = re.search(r'(?:alt|aria-label)="([^"]+)"', image)
                assert alt and len(alt[1].split()) > 3
    prose = "".join(text(c) for c in notebook["cells"] if c["cell_type"] == "markdown")
    assert "![](" not in prose


def test_every_figure_says_what_is_in_it(notebook):
    outputs = [output for cell in code(notebook) for output in cell["outputs"]]
    shown = [
        o for o in outputs if "display.Image" in "".join(o.get("data", {}).get("text/plain", ""))
    ]
    assert shown and all("drawn" in output["metadata"]["image/png"] for output in shown)


def test_cells_are_short_and_prose_is_not_scarce(path, notebook):
    lengths = [
        sum(1 for line in text(cell).splitlines() if line.strip() and not line.startswith("#"))
        for cell in code(notebook)
        if "find_spec" not in text(cell)  # the folded cell that looks for the library
    ]
    assert statistics.median(lengths) <= 5 and max(lengths) <= 20


def test_opening_and_closing(notebook):
    cells = [text(cell) for cell in notebook["cells"]]
    closing = next(n for n, cell in enumerate(cells) if "## Summary" in cell)
    assert all(cell.startswith("## Appendix") for cell in cells[closing + 1 : closing + 2])
    first, last = cells[0], cells[closing]
    assert first.startswith("# ")
    for phrase in ("What you will do", "What you will learn", "What you need", "How long it takes"):
        assert phrase in first
    for heading in ("## Summary", "## On your own", "## Further reading"):
        assert heading in last
    assert len(re.findall(r"^- ", last.split("## On your own")[0], re.M)) == 5


def test_parameters_are_typed_and_explained(path):
    parameters = runner.notebook_parameters(path)
    types = {"profile": "str", "dataset": "str", "data_dir": "str", "seed": "int"}
    optional = {"backbone": "str", "recipe": "str", "weights": "str"}
    for name, entry in parameters.items():
        expected = "bool" if name in ("control", "retrain") else (types | optional).get(name, "int")
        assert entry["type"] == expected and len(entry["help"].split()) > 3
    assert set(types) <= set(parameters)
    assert parameters["profile"]["default"] == '"quick"'
    assert parameters["dataset"]["default"] == '"bundled"'


def test_outputs_are_ignored_only_where_allowed(path, notebook):
    ignored = [cell for cell in code(notebook) if "nbval-ignore-output" in tags(cell)]
    assert len(ignored) <= IGNORED_LIMIT.get(path.stem, 1)
    assert "NBVAL" not in json.dumps(notebook)


def test_a_chapter_says_what_to_do_where_the_library_is_missing(notebook, monkeypatch):
    guard = next(cell for cell in code(notebook) if "find_spec" in text(cell))
    exec(text(guard), {})  # says nothing where the library is installed
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="On Colab, run"):
        exec(text(guard), {})


def test_at_least_four_exercises_each_with_a_folded_solution_that_passes(notebook):
    solutions = [cell for cell in code(notebook) if "solution" in tags(cell)]
    assert len(solutions) >= 4
    for cell in solutions:
        folded = {"source_hidden": True, "outputs_hidden": True}
        assert "hide-input" in tags(cell) and cell["metadata"]["jupyter"] == folded
        assert text(cell).startswith(canonical.SOLUTION_LINE)
        assert text({"source": cell["outputs"][-1]["text"]}).startswith("✓")
    open_ones = [c for c in code(notebook) if "".join(map(str, c["outputs"])).count("○ Exercise")]
    assert len(open_ones) == len(solutions)


def test_without_the_cells_tagged_solution_no_solution_is_left(notebook):
    # That is how docs/teaching.md hands the notebooks out.
    for cell in notebook["cells"]:
        if "solution" not in tags(cell):
            assert not re.match(r"\W*solution\b", text(cell), re.IGNORECASE), text(cell)


def test_the_house_style(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            words = re.sub(r"\$.*?\$|`.*?`|!\[", "", text(cell), flags=re.S)
            assert not re.search(r"\b(simply|colour|neighbour|grey)\b|!(?!=)", words), words


def test_links_between_notebooks_lead_somewhere(path, notebook):
    prose = "".join(text(c) for c in notebook["cells"] if c["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+\.ipynb)\)", prose):
        assert (path.parent / target).is_file()


def test_opening_images_are_outputs_of_the_notebook(path, notebook):
    # They stand in docs/ for the README too; a stale one would be a lie in two places.
    shown = re.findall(r"\]\((\.\./docs/[^)]+\.png)\)", text(notebook["cells"][0]))
    stored = canonical.png_outputs(notebook).values()
    for target in shown:
        assert (path.parent / target).read_bytes() in stored, f"copy the new image to {target}"


def test_shown_sources_are_the_library_as_it_is(path, notebook):
    # Executing the notebooks finds it too, minutes later; `make test-fast` does not execute them.
    names, shown = {}, []
    for node in (node for cell in code(notebook) for node in ast.walk(ast.parse(text(cell)))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                child = f"{node.module}.{alias.name}"
                thing = getattr(module, alias.name, None) or importlib.import_module(child)
                names[alias.asname or alias.name] = thing
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "show_source":
            shown += [ast.unparse(argument).split(".") for argument in node.args]
    stored = "".join(map(str, (o.get("data") for cell in code(notebook) for o in cell["outputs"])))
    assert shown
    for first, *rest in shown:
        lines = inspect.getsource(functools.reduce(getattr, rest, names[first])).splitlines()
        stale = [line for line in lines if repr(line)[1:-1] not in stored]
        assert not stale, f"run `tutorial refresh {path.stem[:2]}`: the library now says {stale}"


def test_the_readme_describes_the_opening_images_as_the_notebooks_do(notebook):
    opening = re.findall(r"!\[[^\]]+\]\(\.\./docs/[^)]+\)", text(notebook["cells"][0]))
    readme = README.read_text(encoding="utf-8")
    assert opening and all(image.replace("../", "") in readme for image in opening)


def test_no_path_of_a_machine(notebook):
    content = json.dumps(notebook["cells"])
    assert not re.search(r"/(home|Users|root|tmp)/|[A-Z]:\\\\", content)
