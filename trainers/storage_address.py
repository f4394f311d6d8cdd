"""The address of shared storage: what it may be, how it is recorded, and the file system that pyarrow has for it.

It stands in records and messages, so that one that holds a secret is refused, and not repeated in saying so.
"""

import os
import re
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from trainers.errors import UserError

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login` or the machine's service account",
}
_OPTIONS = {"s3": ("endpoint_override", "scheme", "region"), "gs": ("endpoint_override", "scheme")}
_KINDS = "a path that all machines share, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
_ADDRESSES = {"endpoint_override": "AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL", "region": "AWS_REGION AWS_DEFAULT_REGION"}

_GOOGLES_PATIENCE = timedelta(seconds=5)  # within a call; the call itself is tried again by `trainers.storage`


class Address(NamedTuple):
    """Where storage is.

    Attributes:
        uri: as it may be recorded: a folder's is its absolute path.
        scheme: `file`, `s3` or `gs`.
        base: as pyarrow takes it: a bucket's name and the path in it, or a folder's path.
        options: beside it, of a bucket.
    """

    uri: str
    scheme: str
    base: str
    options: dict[str, str]


def parsed(uri: str) -> Address:
    """An address as a user gives it.

    Raises:
        UserError: it is of no kind that is known, lacks its bucket, or holds a secret.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri.strip():
            raise UserError(f"the storage is empty; give {_KINDS}")
        path = os.path.abspath(os.path.expanduser(uri))
        return Address(path, "file", path, {})
    if scheme == "file":
        path = os.path.normpath(unquote(rest))
        if not rest.startswith("/") or "?" in rest:
            raise UserError(f"the storage {uri!r} names no absolute path; give file:///PATH, or the path alone")
        return Address(path, "file", path, {})
    if scheme not in _OPTIONS:
        raise UserError(f"storage of the kind {scheme + '://'!r} is unknown; use {_KINDS}")
    allowed, parts = _OPTIONS[scheme], urlsplit(uri)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "@" in uri or ":" in parts.netloc or not options.keys() <= set(allowed) or parts.fragment:
        raise UserError(
            f"the storage {scheme}://... holds more than a bucket, a path and the options {', '.join(allowed)} (it is "
            f"not repeated here: it may hold a secret); credentials come from {CREDENTIALS[scheme]}"
        )
    if not re.fullmatch(r"[a-zA-Z0-9._-]+", parts.netloc):
        raise UserError(f"the storage {uri!r} names no bucket; give {scheme}://BUCKET/PREFIX")
    path = "/".join([parts.netloc, *filter(None, parts.path.split("/"))])
    query = "&".join(f"{name}={value}" for name, value in sorted(options.items()))
    return Address(f"{scheme}://{path}" + (f"?{query}" if query else ""), scheme, path, options)


def filesystem(address: Address) -> fs.FileSystem:
    """The file system of an address; it is not asked anything yet, but for the region of a bucket of Amazon's."""
    _, scheme, base, options = address
    if scheme == "file":
        return fs.LocalFileSystem()
    if scheme == "gs":
        google: dict[str, Any] = {**options, "retry_time_limit": _GOOGLES_PATIENCE}
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator and not options:  # as Google's own libraries read it: a server that asks for no credentials
            kind, place = _server(emulator)
            google |= {"anonymous": True, "scheme": kind or "http", "endpoint_override": place}
        return fs.GcsFileSystem(**google)
    for option, variables in _ADDRESSES.items():  # which pyarrow does not read in every release
        found = [os.environ[name] for name in variables.split() if os.environ.get(name)]
        if found and option not in options:
            options = {**options, option: found[0]}
    if (endpoint := options.get("endpoint_override", "")) and "://" in endpoint:
        kind, place = _server(endpoint)
        options = {"scheme": kind, **options, "endpoint_override": place}
    elif not endpoint and "region" not in options:
        options = {**options, "region": fs.resolve_s3_region(base.partition("/")[0])}
    settings: dict[str, Any] = {**options, "background_writes": False, "connect_timeout": 10, "request_timeout": 60}
    try:
        return fs.S3FileSystem(allow_delayed_open=True, **settings)  # small files: one request, not three
    except TypeError:  # an earlier pyarrow
        return fs.S3FileSystem(**settings)


def _server(address: str) -> tuple[str, str]:
    """Scheme (empty where there is none) and HOST:PORT of a server's address."""
    scheme, _, place = address.rpartition("://")
    return scheme, place.rstrip("/")
