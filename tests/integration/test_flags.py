"""Messages on the command line name parameters as flags, and leave everything else as it is."""

import pytest

from fastdup_ray.cli.apply import apply
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
            "Invalid value for --min-offset: 5 (see --max-offset 5).",
        ),
        (
            "Invalid value for work_dir: '/min_offset/it\\'s' (no).",
            "Invalid value for --work-dir: '/min_offset/it\\'s' (no).",
        ),
        ("input_dir is missing.", "INPUT is missing."),
        ("compute='gpu' needs a GPU.", "--compute gpu needs a GPU."),
        ("Replace it with overwrite=True.", "Replace it with --overwrite."),
        ("Run again with report=True.", "Run again with --report."),
        ("Set reuse=False, or threshold=0.9; then run again.", "Set --no-reuse, or --threshold 0.9; then run again."),
        ("Use faiss_mode='IVF256,Flat'.", "Use --faiss-mode 'IVF256,Flat'."),
        ("Name the run with work_dir=…, or not.", "Name the run with --work-dir …, or not."),
        ("The work_dir has no report; its threshold is another.",) * 2,
        ("turi_param says 'run_cc=0'.", "--turi-param says 'run_cc=0'."),
        ("No such thing as cell_size=5.",) * 2,
    ],
)
def test_a_message_names_flags(message, shown):
    assert name_flags(message, run) == shown


def test_other_commands_name_their_own_flags_and_those_of_a_run():
    message = "Accept it with any_plan=True, or run again with threshold=0.8."
    assert name_flags(message, apply) == "Accept it with --any-plan, or run again with --threshold 0.8."
