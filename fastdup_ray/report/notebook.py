"""Pages inside a Jupyter notebook."""

import sys

from markupsafe import escape


def show_inline(html: str) -> None:
    """Show a page below the notebook cell that is running; outside of a notebook, do nothing.

    The page gets a frame of its own, so that its style and the file names in it cannot affect the notebook.
    """
    if "IPython" not in sys.modules:
        return
    from IPython import display, get_ipython

    shell = get_ipython()
    if shell is None or "text/html" not in shell.display_formatter.active_types:  # on a terminal it shows text only
        return
    frame = f'<iframe srcdoc="{escape(html)}" sandbox="" width="100%" height="720" style="border: 0"></iframe>'
    # IPython has no types here. It warns about a bare iframe, so there is a div around it.
    display.display(display.HTML(f"<div>{frame}</div>"))  # type: ignore[no-untyped-call]
