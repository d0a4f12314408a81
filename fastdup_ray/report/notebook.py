"""Pages inside a Jupyter notebook."""

import sys

from markupsafe import escape


def show_inline(html: str) -> None:
    """Shows a page below the notebook cell that is running; does nothing anywhere else.

    The page stands in a frame of its own, so that neither its style nor the names in it reach the notebook.
    """
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython
    from IPython.display import HTML, display

    shell = get_ipython()
    if shell is None or "text/html" not in shell.display_formatter.active_types:  # on a terminal it shows text only
        return
    frame = f'<iframe srcdoc="{escape(html)}" sandbox="" width="100%" height="720" style="border: 0"></iframe>'
    display(HTML(f"<div>{frame}</div>"))  # IPython takes a bare iframe for a mistake and warns
