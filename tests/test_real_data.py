"""The notebooks on real photographs and digits, a few of each, from end to end.

`TUTORIAL_REAL_DATA` names a folder with `mnist/mnist.npz`, `voc_cats_as_coco/`, `coco/` and
`VOCdevkit/` in their original layouts; without it these tests are skipped.
"""

import json
import shutil
from pathlib import Path

import pytest
from helpers import REAL, needs_real_data

from tutorial_lib.data.coco import CocoSplit
from tutorial_tools import runner


def run_notebook(name, output, **parameters):
    (path,) = runner.find_notebooks([name])
    return runner.execute(path, output / path.name, parameters, timeout=600)


def printed(result):
    cells = json.loads(Path(result.output).read_text(encoding="utf-8"))["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))


@pytest.mark.slow
@needs_real_data
@pytest.mark.parametrize(
    ("name", "dataset", "folder", "options", "expected"),
    [
        (
            "03",
            "mnist",
            "mnist",
            {"epochs": 1, "limit": 100},
            "300 training, 300 validation, 300 test",
        ),
        ("04", "coco", "coco", {"epochs": 1, "limit": 4}, "train: 4 images"),
        ("05", "voc", "VOCdevkit", {"epochs": 1, "limit": 6}, "{'train': 6, 'val': 6}"),
    ],
    ids=["mnist", "coco", "voc"],
)
def test_a_notebook_on_real_data(tmp_path, monkeypatch, name, dataset, folder, options, expected):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path / "data"))
    data_dir = str(REAL / folder)
    result = run_notebook(name, tmp_path, dataset=dataset, data_dir=data_dir, **options)
    assert result.status == "passed", result.error
    assert expected in printed(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("01", {"dataset": "photos"}, "dataset='photos' is not known; choose one of bundled"),
        ("03", {"dataset": "mnist", "data_dir": "/nowhere"}, "mnist.npz is missing"),
        ("04", {"dataset": "coco", "data_dir": "/nowhere"}, "instances_train2017.json is missing"),
        ("05", {"dataset": "voc", "data_dir": "/nowhere"}, "holds no VOC2012"),
    ],
)
def test_bad_input_is_one_line_in_the_report(tmp_path, name, parameters, message):
    result = run_notebook(name, tmp_path, **parameters)
    assert result.status == "failed"
    assert "InputError: " in result.error and message in result.error
    assert "\n" not in result.error


@needs_real_data
def test_a_corrupt_photograph_is_named_and_leaves_no_records(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path / "data"))
    source = REAL / "voc_cats_as_coco"
    shutil.copytree(source / "annotations", tmp_path / "coco" / "annotations")
    for name in ("train", "val"):
        split = CocoSplit(source, name)
        (tmp_path / "coco" / f"{name}2017").mkdir()
        for image_id in split.image_ids("cat")[:4]:
            path = split.image_path(image_id)
            shutil.copyfile(path, tmp_path / "coco" / f"{name}2017" / path.name)
    split = CocoSplit(tmp_path / "coco", "train")
    bad = split.image_path(split.image_ids("cat")[2])
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    result = run_notebook("04", tmp_path, dataset="coco", data_dir=str(tmp_path / "coco"), limit=4)
    assert result.status == "failed"
    assert f"{bad.name} cannot be decoded" in result.error
    assert not list((tmp_path / "data" / "cache").glob("records-*"))
