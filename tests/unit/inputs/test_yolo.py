"""Lines, names and boxes of YOLO."""

from pathlib import Path

import pytest

from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.records import Box, RelativeBox
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.boxes import format_box_suffix, split_box
from fastdup_ray.inputs.yolo import parse_box
from fastdup_ray.inputs.yolo_classes import find_classes, read_data_yaml


@pytest.mark.parametrize(
    ("line", "number", "box"),
    [
        ("0 0.5 0.5 0.25 0.5", 0, (0.375, 0.25, 0.25, 0.5)),
        ("7 0.5 0.5 0.25 0.5 0.87", 7, (0.375, 0.25, 0.25, 0.5)),  # a confidence
        ("7.0\t5e-1 .5 0.25 0.5", 7, (0.375, 0.25, 0.25, 0.5)),
        ("1 0.1 0.2 0.5 0.3 0.3 0.9", 1, (0.1, 0.2, 0.4, 0.7)),  # a triangle
        ("1 0.1 0.2 0.5 0.3 0.3 0.9 0.75", 1, (0.1, 0.2, 0.4, 0.7)),  # with a confidence
        ("2 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5", 2, (0.1, 0.1, 0.8, 0.8)),  # an oriented box
    ],
)
def test_lines_with_a_box(line, number, box):
    parsed = parse_box(line.encode().split())
    assert parsed is not None
    assert parsed[0] == number
    assert parsed[1] == pytest.approx([value * RelativeBox.UNITS for value in box])


@pytest.mark.parametrize(
    "line",
    ["0", "0 1 2 3", "cat 0.5 0.5 0.2 0.2", "0 a b c d", "0.5 0.5 0.5 0.2 0.2", "-1 0.5 0.5 0.2 0.2", "\xff"]
    + [f"0 0.1 0.2 {odd} 0.4 0.5 0.6" for odd in ("nan", "inf")]
    + ["nan 0.5 0.5 0.2 0.2", "inf 0.5 0.5 0.2 0.2"],
)
def test_lines_without_a_box(line):
    assert parse_box(line.encode().split()) is None


def test_of_a_line_with_keypoints_the_box_is_used():
    line = b"0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.9 0.9 2".split()
    parsed = parse_box(line, keypoint_values=6)
    assert parsed is not None
    assert parsed[1] == pytest.approx([value * RelativeBox.UNITS for value in (0.375, 0.25, 0.25, 0.5)])


@pytest.mark.parametrize(
    ("box", "suffix"),
    [
        (RelativeBox(1_250_000, 2_000_000, 5_000_000, 3_750_000), "#xywh=percent:12.5,20,50,37.5"),
        (RelativeBox(1, 0, 10_000_000, 999_999_999), "#xywh=percent:0.00001,0,100,9999.99999"),
    ],
)
def test_one_spelling_of_a_box_in_percent(box, suffix):
    assert format_box_suffix(box) == suffix
    assert split_box(f"a b.jpg{suffix}") == ("a b.jpg", box)
    assert split_box(f"a b.jpg{suffix}&n=2") == ("a b.jpg", box)


@pytest.mark.parametrize(
    "edges", ["1,2,3", "1,2,3,", "-1,2,3,4", "1.,2,3,4", ".5,2,3,4", "1,2,3,4.123456", "1e1,2,3,4"]
)
def test_names_of_no_box_in_percent(edges):
    assert split_box(f"a.jpg#xywh=percent:{edges}") is None


def test_edges_are_rounded_to_whole_pixels():
    box = RelativeBox(1_000_000, 2_500_000, 3_333_333, 5_000_000)
    assert box.resolve((480, 321)) == Box(rows=80, cols=48, width=160, height=161)
    assert box.resolve((10, 10)) == Box(rows=3, cols=1, width=3, height=5)
    assert Box(1, 2, 3, 4).resolve((480, 321)) == Box(1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [cat, no, 1e3, 'ü: b']", {0: "cat", 1: "no", 2: "1e3", 3: "ü: b"}),
        ("path: x\nnames:\n  0: cat\n  7: dog # seven\n", {0: "cat", 7: "dog"}),
        ("train: images\n\nnames:\n- cat\n- dog\n", {0: "cat", 1: "dog"}),
    ],
)
def test_names_of_classes(tmp_path, text, names):
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    assert read_data_yaml(f"{tmp_path}/data.yaml", DEFAULT_ACCESS).names == names


def test_the_nearest_names_are_used(tmp_path: Path):
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    assert find_classes(str(labels), DEFAULT_ACCESS).names == {}
    (tmp_path / "data.yaml").write_text("names: [far]\nkpt_shape: [17, 3]")
    assert find_classes(str(labels), DEFAULT_ACCESS).names == {0: "far"}
    assert find_classes(str(labels), DEFAULT_ACCESS).keypoint_values == 51
    (tmp_path / "labels" / "data.yaml").write_text("version: 2")  # of another program
    assert find_classes(str(labels), DEFAULT_ACCESS).names == {0: "far"}
    (labels / "classes.txt").write_text("near\r\nwith blanks \n\n")
    assert find_classes(str(labels), DEFAULT_ACCESS).names == {0: "near", 1: "with blanks"}


@pytest.mark.parametrize(
    "text",
    [
        *("", "names:", "a: [", "names: cat", "names: {a: b}", "names: [[a]]", "names: [a]\nkpt_shape: x"),
        *('names: ["\\UFFFFFFFF"]', 'names: ["\\ud800"]', "names: {1: a, 99999999999x: b}"),
        *("names: &a [*a]", "[" * 5000, "names: !!python/object/apply:os.getcwd []", "x: " + "a" * (1 << 20)),
    ],
)
def test_files_that_name_no_classes(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError) as raised:
        read_data_yaml(f"{tmp_path}/data.yaml", DEFAULT_ACCESS)
    assert "\n" not in str(raised.value)
