"""Fetching a series from an archive by DICOMweb (WADO-RS, PS3.18 10.4)."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import pathlib
import re
import tempfile
import urllib.parse
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tqdm

from spleen_tf.core.files import InputError, InputWarning

if TYPE_CHECKING:
    import requests
    from dicomweb_client import DICOMwebClient

SCHEMES = ("dicomweb+http://", "dicomweb+https://")

# Where credentials stand. Without any, requests asks netrc.
TOKEN = "SPLEEN_TF_DICOMWEB_TOKEN"
USER, PASSWORD = "SPLEEN_TF_DICOMWEB_USER", "SPLEEN_TF_DICOMWEB_PASSWORD"

_FORM = "dicomweb+https://HOST/…/studies/UID/series/UID"
_UID = r"[0-9.]{1,64}"
_PATH = re.compile(rf"(?P<root>/.*?)?/studies/(?P<study>{_UID})/series/(?P<series>{_UID})/?")
_CONNECT_S, _READ_S = 10, 120
_ATTEMPTS, _WAIT_MS = 3, 500  # Of a server that is busy.
_UNAUTHORIZED = (401, 403)
_NOT_FOUND = (404, 410)


@dataclasses.dataclass(frozen=True)
class Address:
    """A series in an archive.

    Attributes:
        url: as the user wrote it; it has no credentials.
        root: of the DICOMweb service, https://HOST/….
        study_uid, series_uid: of the series.
        host: its name, or its IP address.
    """

    url: str
    root: str
    study_uid: str
    series_uid: str
    host: str


def is_address(source: str) -> bool:
    """Whether an input names a series in an archive, and not a file or folder."""
    return source.lower().startswith("dicomweb+")


def address(url: str) -> Address:
    """The address in dicomweb+http(s)://HOST/…/studies/UID/series/UID.

    Raises:
        InputError: if it is of another form, or has credentials in it. These are not quoted.
    """
    if "@" in url:
        raise InputError(
            "--input: expected an address without user and password, which others see in the list "
            f"of processes, found one with; set {TOKEN}, or {USER} and {PASSWORD}, or use netrc."
        )
    wrong = InputError(f"--input: expected {_FORM}, found {url.partition('?')[0]!r}.")
    try:
        parts = urllib.parse.urlsplit(url.partition("+")[2])
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    path = _PATH.fullmatch(parts.path)
    has_more = bool(parts.query or parts.fragment)
    if not url.lower().startswith(SCHEMES) or not host or port == 0 or not path or has_more:
        raise wrong
    root = f"{parts.scheme}://{parts.netloc}{path['root'] or ''}"
    return Address(url, root, path["study"], path["series"], host)


@contextlib.contextmanager
def fetched(url: str) -> Iterator[pathlib.Path]:
    """A folder with the files of a series, which is removed afterwards.

    Messages about files in it name the address in place of the folder.

    Args:
        url: as in `address`.

    Raises:
        InputError: if the series cannot be fetched.
    """
    place = address(url)
    with tempfile.TemporaryDirectory(prefix="spleen_tf-dicomweb-") as name:
        folder = pathlib.Path(name, "series")
        folder.mkdir()
        _fetch(place, folder)
        try:
            yield folder
        except InputError as error:
            raise InputError(str(error).replace(str(folder), url)) from error


def _fetch(place: Address, folder: pathlib.Path) -> None:
    client = _client(place)
    import requests
    import retrying

    from spleen_tf.io.dicom import elements  # Imports pydicom; `is_address` needs none.

    try:
        instances = client.iter_series(
            place.study_uid, place.series_uid, media_types=(("application/dicom", "*"),)
        )
        bar = tqdm.tqdm(instances, desc="download", unit="image", leave=False, disable=None)
        for number, dataset in enumerate(bar):
            dataset.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)
    except requests.RequestException as error:
        raise _failed(place, error) from error
    except OSError as error:  # Requests' errors are such, too.
        raise InputError(
            f"{folder}: expected room for the images, found: {error.strerror or error}; name "
            "another folder in TMPDIR."
        ) from error
    except retrying.RetryError as error:
        raise InputError(
            f"{place.url}: expected the series, found a server that is busy after {_ATTEMPTS} "
            "requests; try again later."
        ) from error
    except elements.PYDICOM_ERRORS as error:  # Also of an answer that is not multipart.
        raise InputError(
            f"{place.url}: expected DICOM files by WADO-RS, found another answer; check the "
            "address of the service."
        ) from error
    if not any(folder.iterdir()):
        raise InputError(f"{place.url}: expected the images of a series, found none.")


def _client(place: Address) -> DICOMwebClient:
    try:
        from dicomweb_client import DICOMwebClient
    except ModuleNotFoundError as error:
        raise InputError(
            "--input: expected dicomweb-client, found it not installed; "
            "pip install 'spleen_tf[node]'."
        ) from error
    if place.root.startswith("http:") and not _is_this_machine(place.host):
        warnings.warn(
            f"{place.root}: images of patients, and credentials, are not encrypted on the way; use "
            "https where the server has it",
            InputWarning,
            stacklevel=2,
        )
    client = DICOMwebClient(
        place.root, _session(), permissive_uid=True, timeout=(_CONNECT_S, _READ_S)
    )
    client.set_http_retry_params(max_attempts=_ATTEMPTS, wait_exponential_multiplier=_WAIT_MS)
    return client


def _session() -> requests.Session:
    """A session with the credentials of the environment; without, requests takes those of netrc.

    Raises:
        InputError: if there is a user without a password, or the other way round.
    """
    import requests

    def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As a header of the session, a token would give way to netrc."""
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    session = requests.Session()
    token, user, password = (os.environ.get(name) for name in (TOKEN, USER, PASSWORD))
    if bool(user) != bool(password):
        raise InputError(
            f"{USER} and {PASSWORD}: expected both in the environment, found one of them."
        )
    if token:
        session.auth = bearer
    elif user and password:
        session.auth = (user, password)
    return session


def _failed(place: Address, error: requests.RequestException) -> InputError:
    """What to say of a request that failed, without the texts of server and library."""
    import requests

    code = error.response.status_code if error.response is not None else None
    if code in _UNAUTHORIZED:
        found = f"HTTP {code}: no access"
        remedy = f"set {TOKEN}, or {USER} and {PASSWORD}, or netrc"
    elif code in _NOT_FOUND:
        found, remedy = f"HTTP {code}: no such series", "check both UIDs and the path before them"
    elif code is not None:
        found, remedy = f"HTTP {code}", "look into the server's log"
    elif isinstance(error, requests.exceptions.SSLError):
        found = "no trusted TLS connection"
        remedy = "name the file of the server's certificate authority in REQUESTS_CA_BUNDLE"
    elif isinstance(error, requests.exceptions.Timeout):
        found, remedy = "no answer in time", "try again, or check host and port"
    elif isinstance(error, requests.exceptions.ConnectionError):
        found, remedy = "no connection", "check host and port"
    else:
        found, remedy = "a broken transfer", "try again"
    return InputError(f"{place.url}: expected the series, found {found}; {remedy}.")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
