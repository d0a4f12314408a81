"""Messages on the command line name parameters as flags, and leave everything else as it is."""

import pytest

from fastdup_ray.cli.flag_names import name_flags
from fastdup_ray.cli.run import run


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "Invalid value for threshold: 2 (must be between 0 and 1).",
            "Invalid value for --threshold: 2 (must be between 0 and 1).",
        ),
        (
            "Invalid value for min_offset: 5 (see max_offset=5).",
            "Invalid value for --min-offset: 5 (see --max-offset=5).",
        ),
        (
            "Invalid value for work_dir: '/min_offset/it\\'s' (no).",
            "Invalid value for --work-dir: '/min_offset/it\\'s' (no).",
        ),
        ("input_dir is missing.", "INPUT is missing."),
        ("compute='gpu' needs a GPU.", "--compute='gpu' needs a GPU."),
        ("The work_dir has no report; its threshold is another.",) * 2,
        ("turi_param says 'run_cc=0'.", "--turi-param says 'run_cc=0'."),
        ("No such thing as cell_size=5.",) * 2,
    ],
)
def test_a_message_names_flags(message, shown):
    assert name_flags(message, run) == shown
