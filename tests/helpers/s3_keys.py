"""A server that lists keys as Amazon S3 does: any key, in the order of its bytes. SeaweedFS refuses some of them.

Format: Amazon S3 API Reference, ListObjectsV2.
"""

import json
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

ETAG = "9dd4e461268c8034f5c8564e155c67a6"


def lister_of(keys: Sequence[str], order: Callable[[str], bytes] = str.encode) -> type[BaseHTTPRequestHandler]:
    """Answers every listing of any bucket; keys that end in a slash are empty objects, all others have a byte."""

    class Lister(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            asked = {name: values[0] for name, values in query.items()}
            data = _page(sorted(keys, key=order), asked, order).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Lister


def _page(keys: list[str], asked: dict[str, str], order: Callable[[str], bytes]) -> str:
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    after = json.loads(asked["continuation-token"]) if "continuation-token" in asked else asked.get("start-after", "")
    most, url = int(asked.get("max-keys", 1000)), asked.get("encoding-type") == "url"
    entries: dict[str, bool] = {}
    """A key, or what keys have in common up to the delimiter -> whether it is a key."""
    for key in keys:
        if key.startswith(prefix):
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            entries.setdefault(key if end < 0 else key[: end + 1], end < 0)
    left = [entry for entry in entries if order(entry) > order(after)]
    shown = left[:most]
    text = "".join(_entry(entry, entries[entry], url) for entry in shown)
    more = f"<NextContinuationToken>{escape(json.dumps(shown[-1]))}</NextContinuationToken>" if left[most:] else ""
    kind = "<EncodingType>url</EncodingType>" if url else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>{kind}{more}
<KeyCount>{len(shown)}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{str(bool(more)).lower()}</IsTruncated>
{text}</ListBucketResult>"""


def _entry(name: str, is_key: bool, url: bool) -> str:
    shown = quote(name, safe="/") if url else "".join(c if c.isprintable() else f"&#{ord(c)};" for c in escape(name))
    if not is_key:
        return f"<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>"
    size, time = int(not name.endswith("/")), "2026-11-25T00:00:00.000Z"
    etag = f"<ETag>&quot;{ETAG}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass>"
    return f"<Contents><Key>{shown}</Key><LastModified>{time}</LastModified>{etag}</Contents>"
