"""What a Python program works with: `deduplicate`, `RunResult` and its tables."""

import pandas as pd
import pytest

import fastdup_ray as fastdup
from fastdup_ray.errors import ConfigError
from tests.helpers.runs import PHOTOS

PHONE = PHOTOS / "phone"
QUICK = {"executor": "inline", "report": False, "verify": "off"}


# --- deduplicate ------------------------------------------------------------------------------------------------------


def test_deduplicate_takes_parameters_or_a_configuration(tmp_path):
    by_keywords = fastdup.deduplicate(PHONE, work_dir=tmp_path / "one", threshold=0.9, **QUICK)
    config = fastdup.RunConfig.of(input_dir=PHONE, work_dir=tmp_path / "two", threshold=0.9, **QUICK)
    by_config = fastdup.deduplicate(config)
    assert by_keywords.counts == by_config.counts
    assert by_keywords.similarity.equals(by_config.similarity)


def test_a_data_frame_names_the_pictures_and_one_that_is_gone_is_bad(tmp_path):
    paths = [*sorted(PHONE.iterdir()), tmp_path / "gone.jpg"]
    frame = pd.DataFrame({"id": range(len(paths)), "filename": map(str, paths)})
    result = fastdup.deduplicate(frame, tmp_path / "out", **QUICK)
    assert result.images["filename"].to_pylist() == frame["filename"].tolist()[:-1]
    assert result.bad["error_code"].to_pylist() == ["MISSING"]


@pytest.mark.parametrize(
    ("arguments", "keywords", "named"),
    [
        (("photos",), {"treshold": 0.9}, "threshold"),
        (("photos",), {"estimate": True}, "estimate"),
        ((), {"version": True}, "version"),
        (("photos",), {"input_dir": "photos"}, "input_dir"),
        ((fastdup.RunConfig.of(input_dir="photos"),), {"threshold": 0.9}, "RunConfig"),
        (("photos",) * 100, {}, "100"),
        ((), {}, "input_dir"),
    ],
)
def test_a_wrong_call_raises_one_line_and_writes_nothing(arguments, keywords, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=named) as caught:
        fastdup.deduplicate(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_run_takes_positional_arguments_as_its_signature_says(tmp_path, capsys):
    assert fastdup.run(PHONE, tmp_path / "out", "cpu", False, 1, 2, **QUICK) == 0
    assert fastdup.RunResult.open(tmp_path / "out").counts["entries"] == 2
    assert fastdup.run(PHONE, tmp_path / "new", input_dir=PHONE) == 1
    assert "input_dir" in capsys.readouterr().err
