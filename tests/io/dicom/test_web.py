"""Fetching a series by WADO-RS: from a server in this process, and from Orthanc."""

import socket

import dicom_files
import numpy as np
import pytest
from fixtures.archives import basic

from spleen_tf.core.files import InputError
from spleen_tf.io.dicom import network, series, web

pytest.importorskip("dicomweb_client", reason="no dicomweb-client (the extra [node])")

UIDS = (dicom_files.STUDY_UID, dicom_files.SERIES_UID)


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path):
    """None of the machine that runs the tests."""
    for name in (web.TOKEN, web.USER, web.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


@pytest.fixture
def archive(tmp_path, web_archive):
    paths = dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
    return web_archive(paths, *UIDS)


def test_the_series_is_that_of_the_files(archive):
    with web.fetched(archive.address) as folder:
        image = series.read(folder)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())
    np.testing.assert_allclose(image.affine, dicom_files.affine_of(), atol=1e-4)
    assert not folder.exists()


def test_compressed_files_come_as_they_are(tmp_path, web_archive):
    """Any transfer syntax is asked for, so that the server need not decode."""
    encode = dicom_files.ENCODINGS["RLE"]
    paths = dicom_files.write_series(
        tmp_path / "scan", dicom_files.ramp(), change=lambda k, dataset: encode(dataset)
    )
    archive = web_archive(paths, *UIDS)
    with web.fetched(archive.address) as folder:
        np.testing.assert_array_equal(series.read(folder).array_ijk, dicom_files.ramp())
    assert "transfer-syntax=*" in archive.requests[0]["HTTP_ACCEPT"]


def test_a_full_disk_is_said_without_a_traceback(archive, no_room):
    with (
        no_room(),
        pytest.raises(InputError, match="expected room for the images, found: File too large"),
        web.fetched(archive.address),
    ):
        pass


def test_messages_about_files_name_the_address_and_not_the_folder(archive):
    archive.files = archive.files[:1]
    with pytest.raises(InputError) as raised, web.fetched(archive.address) as folder:
        series.read(folder)
    assert str(raised.value).startswith(f"{archive.address}: expected ")
    assert "spleen_tf-dicomweb-" not in str(raised.value)


NETRC = "machine 127.0.0.1 login ann password of-netrc\n"


@pytest.mark.parametrize(
    ("variables", "netrc", "expected"),
    [
        ({}, "", None),
        ({web.TOKEN: "a-token"}, "", "Bearer a-token"),
        ({web.USER: "bob", web.PASSWORD: "of-bob"}, "", basic("bob", "of-bob")),
        ({}, NETRC, basic("ann", "of-netrc")),
        ({web.TOKEN: "a-token"}, NETRC, "Bearer a-token"),
        ({web.USER: "bob", web.PASSWORD: "of-bob"}, NETRC, basic("bob", "of-bob")),
    ],
)
def test_credentials_come_from_the_environment_or_netrc(
    archive, monkeypatch, tmp_path, variables, netrc, expected
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(netrc)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    archive.authorization = expected
    with web.fetched(archive.address):
        pass
    assert [request.get("HTTP_AUTHORIZATION") for request in archive.requests] == [expected]


def test_no_access_is_said_without_the_credentials(archive, monkeypatch):
    archive.authorization = "other"
    monkeypatch.setenv(web.TOKEN, "a-token")
    with pytest.raises(InputError) as raised, web.fetched(archive.address):
        pass
    assert str(raised.value) == (
        f"{archive.address}: expected the series, found HTTP 401: no access; set {web.TOKEN}, or "
        f"{web.USER} and {web.PASSWORD}, or netrc."
    )


def test_credentials_do_not_follow_to_another_host(archive, web_archive, monkeypatch):
    """127.0.0.1 and localhost are two names."""
    other = web_archive(archive.files, *UIDS)
    archive.elsewhere = other.root.replace("127.0.0.1", "localhost") + other.path
    monkeypatch.setenv(web.TOKEN, "a-token")
    with web.fetched(archive.address):
        pass
    (first,), (second,) = archive.requests, other.requests
    assert first["HTTP_AUTHORIZATION"] == "Bearer a-token"
    assert "HTTP_AUTHORIZATION" not in second


def test_a_user_without_password_is_refused(archive, monkeypatch):
    monkeypatch.setenv(web.USER, "bob")
    expected = f"{web.USER} and {web.PASSWORD}: expected both in"
    with pytest.raises(InputError, match=expected), web.fetched(archive.address):
        pass
    assert archive.requests == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("404 Not Found", "HTTP 404: no such series; check both UIDs"),
        ("500 Internal Server Error", "HTTP 500; look into the server's log"),
        ("200 but empty", "another answer; check the address"),
    ],
)
def test_other_answers_are_named_and_not_quoted(archive, status, expected):
    if status == "200 but empty":
        archive.files[0].write_bytes(b"<html>")
        archive.files = archive.files[:1]
    else:
        archive.status = status
    with pytest.raises(InputError, match=expected) as raised, web.fetched(archive.address):
        pass
    assert "SECRET" not in str(raised.value)


def test_a_transfer_that_breaks_off_is_no_series(archive):
    archive.missing_bytes = 100
    with pytest.raises(InputError, match="found a broken transfer"), web.fetched(archive.address):
        pass


def test_a_busy_server_is_asked_three_times(archive, monkeypatch):
    monkeypatch.setattr(web, "_WAIT_MS", 1)
    archive.status = "503 Service Unavailable"
    expected = "found a server that is busy after 3 requests"
    with pytest.raises(InputError, match=expected), web.fetched(archive.address):
        pass
    assert len(archive.requests) == 3


def test_where_nobody_listens_there_is_no_connection(monkeypatch):
    monkeypatch.setattr(web, "_WAIT_MS", 1)
    expected = "expected the series, found no connection; check"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"dicomweb+http://127.0.0.1:{unused.getsockname()[1]}/studies/1.2/series/1.3"
        with pytest.raises(InputError, match=expected), web.fetched(url):
            pass


def test_an_address_has_the_services_root_and_two_uids():
    place = web.address("dicomweb+https://pacs.example.org:8042/dicom-web/studies/1.2/series/1.3")
    assert place.root == "https://pacs.example.org:8042/dicom-web"
    assert (place.study_uid, place.series_uid) == ("1.2", "1.3")
    assert web.address("dicomweb+http://h/studies/1.2/series/1.3/").root == "http://h"


@pytest.mark.parametrize(
    "url",
    [
        *("dicomweb+https://h/studies/1.2", "dicomweb+https://h/series/1.3", "dicomweb+https:///x"),
        *("dicomweb+ftp://h/studies/1.2/series/1.3", "dicomweb+h/studies/1.2/series/1.3"),
        *("dicomweb+https://h/studies/a/series/b", "dicomweb+https://h:x/studies/1.2/series/1.3"),
        "dicomweb+https://h/studies/1.2/series/1.3?token=SECRET",
    ],
)
def test_an_address_of_another_form_is_refused(url):
    with pytest.raises(InputError, match=r"--input: expected dicomweb\+https://HOST/…") as raised:
        web.address(url)
    assert "SECRET" not in str(raised.value)


def test_credentials_in_an_address_are_refused_and_not_quoted():
    with pytest.raises(InputError, match="without user and password") as raised:
        web.address("dicomweb+https://bob:SECRET@h/studies/1.2/series/1.3")
    assert "SECRET" not in str(raised.value)


def test_plain_http_to_another_machine_is_warned_of():
    place = web.address("dicomweb+http://pacs.invalid/studies/1.2/series/1.3")
    with pytest.warns(UserWarning, match=r"http://pacs\.invalid: images of patients, and creden"):
        web._client(place)


@pytest.mark.slow
def test_orthanc_gives_what_was_sent_to_it(orthanc, monkeypatch, tmp_path):
    paths = dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
    network.send(network.archive(f"ORTHANC@127.0.0.1:{orthanc.port}", "ME"), paths)
    url = f"dicomweb+{orthanc.root}/studies/{UIDS[0]}/series/{UIDS[1]}"
    with pytest.raises(InputError, match="HTTP 401: no access"), web.fetched(url):
        pass
    monkeypatch.setenv(web.USER, orthanc.user)
    monkeypatch.setenv(web.PASSWORD, orthanc.password)
    with web.fetched(url) as folder:
        image = series.read(folder)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())
