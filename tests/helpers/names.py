"""Names of files that are hard to write down."""

import os
from pathlib import Path

from hypothesis import strategies as st

HARD = [
    b"with space.jpg",
    b" leading.jpg",
    b"trailing .jpg",
    b"a,b.jpg",
    b'say "hi".jpg',
    b'"quoted".jpg',
    b"two\nlines.jpg",
    b"carriage\r.jpg",
    b"crlf\r\n.jpg",
    b"-dash.jpg",
    b"--work-dir.jpg",
    b"caf\xe9.jpg",
    b"\xff\xfe\x80.jpg",
    "emoji \U0001f600.jpg".encode(),
    "combining e\u0301.jpg".encode(),
    "\u202egnp.exe.jpg".encode(),
    b"x" * 251 + b".jpg",
    b"\x01\x1b[31m\x7f.jpg",
    b"#hash.jpg",
    b"a#t=1.000.jpg",
    b"bang!.jpg",
    b"100%41.jpg",
    b"file:x.jpg",
    b"<script>alert(1)</script>.jpg".replace(b"/", b"_"),
    b"&amp;.jpg",
    b"back\\slash \\xe9.jpg",
    b"tab\t;'`$(x)*?[.jpg",
    b"=cmd().jpg",
    "\ufefffilename.jpg".encode(),
]


name_bytes = st.binary(min_size=1, max_size=60).map(
    lambda data: data.replace(b"/", b"_").replace(b"\0", b"0").lstrip(b".") + b".jpg"
)


def paths_in(folder: Path, names: list[bytes]) -> list[str]:
    return sorted((os.path.join(str(folder), os.fsdecode(name)) for name in set(names)), key=os.fsencode)
