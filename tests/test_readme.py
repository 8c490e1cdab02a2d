"""README shows what the commands print."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_and_the_results_in_readme_are_the_real_ones():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "valid · H̃" in readme
    assert readme == load(ROOT / "docs" / "fill_readme.py").filled(readme), "run `make readme`"


def test_the_results_page_is_written_from_its_numbers():
    import json

    from mdmkit_zoo.puzzles.page import page

    results = ROOT / "docs" / "results" / "puzzles.md"
    data = json.loads(results.with_suffix(".json").read_text(encoding="utf-8"))
    assert results.read_text(encoding="utf-8") == page(data), "run `mdmkit zoo results --render`"


def test_the_info_gain_page_is_written_from_its_numbers():
    import json

    results = ROOT / "docs" / "results" / "info_gain.md"
    data = json.loads(results.with_suffix(".json").read_text(encoding="utf-8"))
    page = load(ROOT / "benchmarks" / "info_gain_page.py").page(data)
    assert results.read_text(encoding="utf-8") == page, "run `python benchmarks/info_gain.py page`"
