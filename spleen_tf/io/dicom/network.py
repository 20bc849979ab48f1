"""Sending DICOM objects to an archive or a viewer by C-STORE (PS3.4 B), over plain TCP."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed

if TYPE_CHECKING:
    from pynetdicom.association import Association

# The classes of what predict writes, by the flag that asks for it.
CLASS_OF_KIND = {
    "dicom_seg": uid.SegmentationStorage,
    "dicom_sr": uid.Comprehensive3DSRStorage,
    "dicom_sc": uid.SecondaryCaptureImageStorage,
}
_SYNTAXES = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
_VERIFICATION = "1.2.840.10008.1.1"

# Seconds: to connect, for an answer to the request of an association, for an answer to a message.
_CONNECT_S, _ASSOCIATE_S, _MESSAGE_S = 10, 30, 60
# Value representation AE (PS3.5 6.2): up to 16 printable ASCII characters without a backslash.
_TITLE = r"[ -\[\]-~]{1,16}"
_HOST = r"\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s@:\[\]]+)"
_ADDRESS = re.compile(rf"(?P<title>{_TITLE})@(?:{_HOST}):(?P<port>\d{{1,5}})")
_REMEDY = "check address, AE titles and firewall, or leave out --send"


@dataclasses.dataclass(frozen=True)
class Archive:
    """Whom to send to, and as whom.

    Attributes:
        title: its AE title.
        host, port: its address.
        own_title: the AE title of the sender, which many archives check.
    """

    title: str
    host: str
    port: int
    own_title: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"


def archive(address: str, own_title: str) -> Archive:
    """An archive from AET@HOST:PORT.

    Raises:
        InputError: if it is of another form.
    """
    parts = _ADDRESS.fullmatch(address)
    if not parts or not parts["title"].strip() or not 0 < int(parts["port"]) < 2**16:
        raise InputError(
            "--send: expected AET@HOST:PORT with an AE title of at most 16 characters, such as "
            f"ORTHANC@localhost:4242, found {address!r}."
        )
    if not re.fullmatch(_TITLE, own_title) or not own_title.strip():
        raise InputError(
            f"--send_from: expected an AE title of at most 16 characters, found {own_title!r}."
        )
    host = parts["ipv6"] or parts["host"]
    return Archive(parts["title"].strip(), host, int(parts["port"]), own_title.strip())


def verify(place: Archive, kinds: Sequence[str]) -> None:
    """Asks an archive whether it is there (C-ECHO, PS3.4 A), and takes what is to be sent.

    Args:
        place: the archive.
        kinds: keys of CLASS_OF_KIND.

    Raises:
        InputError: if it does not answer, rejects the sender, or does not take such objects.
    """
    try:
        with _association(place, [CLASS_OF_KIND[kind] for kind in kinds]) as association:
            status = association.send_c_echo()
            if status.get("Status") != 0:
                found = _status(status)
                raise CommandFailed(
                    f"--send: expected {place} to answer C-ECHO, found {found}; {_REMEDY}."
                )
    except CommandFailed as error:
        raise InputError(str(error)) from error


def send(place: Archive, paths: Sequence[str | os.PathLike[str]]) -> None:
    """Sends DICOM files over one association.

    Args:
        place: the archive.
        paths: the files, of classes in CLASS_OF_KIND.

    Raises:
        CommandFailed: if one cannot be sent, or is not taken.
    """
    datasets = [pydicom.dcmread(path) for path in paths]
    with _association(place, [dataset.SOPClassUID for dataset in datasets]) as association:
        for path, dataset in zip(paths, datasets, strict=True):
            try:
                status = association.send_c_store(dataset)
            except (RuntimeError, ValueError) as error:  # The association is gone.
                raise _not_taken(path, place, "a lost connection") from error
            # Warnings (0xBxxx) say that it was stored, with elements changed or left out.
            if "Status" not in status or not (status.Status == 0 or status.Status >> 12 == 0xB):
                raise _not_taken(path, place, _status(status))


def _not_taken(path: str | os.PathLike[str], place: Archive, found: str) -> CommandFailed:
    return CommandFailed(
        f"{path}: expected {place} to store it, found {found}; the file is written: send it again "
        "with --skip_existing."
    )


@contextlib.contextmanager
def _association(place: Archive, classes: Sequence[str]) -> Iterator[Association]:
    """An association for C-ECHO and the storage of some classes.

    Raises:
        CommandFailed: if there is none, or it does not take them all.
    """
    try:
        from pynetdicom import AE
    except ModuleNotFoundError as error:
        raise InputError(
            "--send: expected pynetdicom, found it not installed; pip install 'spleen_tf[node]'."
        ) from error
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # Errors are raised here.
    entity = AE(ae_title=place.own_title)
    entity.connection_timeout, entity.acse_timeout = _CONNECT_S, _ASSOCIATE_S
    entity.dimse_timeout = entity.network_timeout = _MESSAGE_S
    entity.add_requested_context(_VERIFICATION)
    for sop_class, syntax in itertools.product(dict.fromkeys(classes), _SYNTAXES):
        # Each by itself: of several syntaxes, the archive would choose.
        entity.add_requested_context(sop_class, syntax)
    try:
        association = entity.associate(place.host, place.port, ae_title=place.title)
    except OSError as error:  # No such host.
        raise _no_association(place, error.strerror or str(error)) from error
    if not association.is_established:
        raise _no_association(place, _reason(association, place))
    try:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        refused = [sop_class for sop_class in classes if sop_class not in accepted]
        if refused:
            raise CommandFailed(
                f"--send: expected {place} to take {uid.UID(refused[0]).name}, found that it does "
                "not; leave out that output, or have the archive accept it."
            )
        yield association
    finally:
        if association.is_established:
            association.release()


def _no_association(place: Archive, found: str) -> CommandFailed:
    return CommandFailed(
        f"--send: expected {place} to accept {place.own_title}, found: {found}; {_REMEDY}."
    )


def _reason(association: Association, place: Archive) -> str:
    """Why there is no association."""
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"a rejection: {answer.reason_str}"
    try:
        socket.create_connection((place.host, place.port), _CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return "no answer in DICOM"


def _status(status: Dataset) -> str:
    if "Status" not in status:
        return f"no answer within {_MESSAGE_S} s"
    from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

    _, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status.Status, ("", ""))
    comment = str(status.get("ErrorComment", "")).strip()
    described = ", ".join(filter(None, (meaning, comment))) or code_to_category(status.Status)
    return f"status 0x{status.Status:04X} ({described})"
