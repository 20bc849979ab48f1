"""Sending objects by C-STORE: to an archive in this process, to dcmtk's and to Orthanc."""

import socket

import dicom_files
import numpy as np
import pydicom
import pytest
from pydicom import uid

from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.io.dicom import capture, measurements, network, segmentation, series

pytest.importorskip("pynetdicom", reason="no pynetdicom (the extra [node])")

KINDS = ("dicom_seg", "dicom_sr", "dicom_sc")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The files of the three kinds of objects, in the order of KINDS."""
    folder = tmp_path_factory.mktemp("objects")
    dicom_files.write_series(folder / "scan", dicom_files.ramp())
    image = series.read(folder / "scan")
    mask_ijk = np.zeros(image.shape, bool)
    mask_ijk[2:5, 1:3, 1:3] = True
    paths = [folder / f"{kind}.dcm" for kind in KINDS]
    seg = segmentation.write(paths[0], mask_ijk, image, "spleen_ct", "1.2.0")
    findings = measurements.Findings(12.0, None, 1.0, 1.0, 1.0, 1.0, ())
    measurements.write(paths[1], findings, image, "spleen_ct", "1.2.0", seg)
    capture.write(paths[2], np.zeros((3, 4, 3), np.uint8), image)
    return paths


def archive(port, title="ARCHIVE"):
    return network.archive(f"{title}@127.0.0.1:{port}", "SPLEEN_TF")


def test_an_archive_stores_what_the_files_hold(storage, objects):
    running = storage()
    network.verify(archive(running.port), KINDS)
    network.send(archive(running.port), objects)
    sent = [pydicom.dcmread(path).to_json() for path in objects]
    assert [dataset.to_json() for dataset in running.stored] == sent
    assert [dataset.SOPClassUID for dataset in running.stored] == [
        network.CLASS_OF_KIND[kind] for kind in KINDS
    ]


def test_a_warning_counts_as_stored(storage, objects):
    """0xB000, coercion of data elements (PS3.4 B.2.3)."""
    running = storage(status=0xB000)
    network.send(archive(running.port), objects)
    assert len(running.stored) == 3


def test_a_refusal_names_file_archive_and_status(storage, objects):
    """0xA700, out of resources (PS3.4 B.2.3); what follows is not sent."""
    running = storage(status=0xA700)
    with pytest.raises(
        CommandFailed,
        match=rf"seg\.dcm: expected ARCHIVE@127\.0\.0\.1:{running.port} to store it, found status "
        r"0xA700 \(.*Out of Resources.*\); the file is written: send it again with --skip_existing",
    ):
        network.send(archive(running.port), objects)
    assert len(running.stored) == 1


def test_an_archive_that_does_not_take_reports_is_known_beforehand(storage):
    running = storage(classes=[uid.SegmentationStorage])
    network.verify(archive(running.port), ["dicom_seg"])
    with pytest.raises(InputError, match="to take Comprehensive 3D SR Storage, found that it does"):
        network.verify(archive(running.port), ["dicom_seg", "dicom_sr"])


def test_another_title_is_rejected_with_the_archives_reason(storage):
    running = storage()
    with pytest.raises(
        InputError, match=r"expected OTHER@.* to accept SPLEEN_TF, found: .*[Cc]alled AE title not"
    ):
        network.verify(archive(running.port, "OTHER"), KINDS)


def test_where_nobody_listens_the_system_says_why():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # Bound, but not listening.
        with pytest.raises(InputError, match="found: Connection refused; check address, AE titles"):
            network.verify(archive(unused.getsockname()[1]), KINDS)


def test_a_listener_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(network, "_ASSOCIATE_S", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(InputError, match="found: no answer in DICOM; check"):
        network.verify(archive(silent.getsockname()[1]), KINDS)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ORTHANC@localhost:4242", ("ORTHANC", "localhost", 4242)),
        ("PACS 1@pacs.example.org:104", ("PACS 1", "pacs.example.org", 104)),
        ("A@[::1]:11112", ("A", "::1", 11112)),
    ],
)
def test_an_address_has_title_host_and_port(address, expected):
    place = network.archive(address, "ME")
    assert (place.title, place.host, place.port) == expected
    assert str(place) == address


@pytest.mark.parametrize(
    "address",
    [
        *("", "localhost:104", "A@localhost", "A@localhost:port", "A@:104", "A@h:0", "A@h:65536"),
        *("SEVENTEENLETTERSX@h:104", "   @h:104", "A\\B@h:104", "A@h:104/x"),
    ],
)
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InputError, match=r"--send: expected AET@HOST:PORT with an AE title of at"):
        network.archive(address, "ME")


@pytest.mark.parametrize("title", ["", " ", "SEVENTEENLETTERSX"])
def test_a_title_of_ones_own_of_another_form_is_refused(title):
    with pytest.raises(InputError, match="--send_from: expected an AE title of at most 16"):
        network.archive("A@h:104", title)


def test_dcmtks_storescp_takes_all(storescp, objects):
    place = archive(storescp.port, "STORE")
    network.verify(place, KINDS)
    network.send(place, objects)
    received = {pydicom.dcmread(path).SOPInstanceUID for path in storescp.folder.iterdir()}
    assert received == {pydicom.dcmread(path).SOPInstanceUID for path in objects}


@pytest.mark.slow
def test_orthanc_takes_all_and_rejects_another_title(orthanc, objects):
    network.verify(archive(orthanc.port, "ORTHANC"), KINDS)
    network.send(archive(orthanc.port, "ORTHANC"), objects)
    with pytest.raises(InputError, match=r"[Cc]alled AE title not"):
        network.verify(archive(orthanc.port, "OTHER"), KINDS)
