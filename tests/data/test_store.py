"""Where data lies, and downloads against a server on the loopback address."""

import hashlib
import multiprocessing
import os
import socket
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mapwise.data.files import write_atomically
from mapwise.data.store import Remote, cache_folder, data_root, fetch, fetch_all

CONTENT = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.startswith("/missing"):
            self.send_error(404)
        elif self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/good/data.bin")
            self.end_headers()
        else:
            self.send_response(200)
            if not self.path.startswith("/unsized"):
                self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if self.path.startswith("/silent"):
                self.server.over.wait(10)
                return
            short = self.path.startswith(("/truncated", "/unsized"))
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if short else CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    result = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    result.daemon_threads = False  # closing it then waits for every answer
    result.asked = []
    result.over = threading.Event()
    result.address = f"http://127.0.0.1:{result.server_port}"
    thread = threading.Thread(target=result.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield result
    result.over.set()
    result.shutdown()
    thread.join()
    result.server_close()


def refused(remote, folder, **settings):
    """The one-sentence error of a fetch that must fail and leave nothing behind."""
    with pytest.raises(ValueError, match=r".") as caught:
        fetch(remote, folder, **settings)
    assert "\n" not in str(caught.value)
    assert [path for path in Path(folder).rglob("*") if path.is_file()] == []
    return str(caught.value)


@pytest.mark.parametrize("checksum", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256.upper(), "md5": MD5}])
def test_a_file_with_the_right_checksum_is_downloaded_once(server, tmp_path, capfd, checksum):
    remote = Remote("lists/data.bin", f"{server.address}/good/data.bin", **checksum)
    path = fetch(remote, tmp_path / "set")
    assert path == tmp_path / "set" / "lists" / "data.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(remote, tmp_path / "set") == path
    assert server.asked == ["/good/data.bin"]
    assert list(path.parent.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")


def test_a_redirect_is_followed(server, tmp_path):
    path = fetch(Remote("data.bin", f"{server.address}/moved", sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_file_already_there_is_never_asked_for(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"rebuilt by its owner")
    path = fetch(Remote("data.bin", f"{server.address}/good/data.bin", sha256=SHA256), tmp_path)
    assert path.read_bytes() == b"rebuilt by its owner"
    assert server.asked == []


@pytest.mark.parametrize("checksum", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"sha256": SHA256, "md5": "0" * 32}])
def test_a_wrong_checksum_leaves_no_file_and_says_so(server, tmp_path, checksum):
    answer = refused(Remote("data.bin", f"{server.address}/good/data.bin", **checksum), tmp_path)
    assert "is another file" in answer and str(tmp_path / "data.bin") in answer


def test_a_download_cut_short_leaves_no_file_and_says_so(server, tmp_path):
    answer = refused(Remote("data.bin", f"{server.address}/truncated", sha256=SHA256), tmp_path)
    assert f"broke off after {len(CONTENT) // 2} of {len(CONTENT)} bytes" in answer


def test_a_download_cut_short_is_noticed_without_an_announced_length(server, tmp_path):
    assert "is another file" in refused(Remote("data.bin", f"{server.address}/unsized", sha256=SHA256), tmp_path)
    sized = Remote("data.bin", f"{server.address}/unsized", sha256=SHA256, size=len(CONTENT))
    assert f"of {len(CONTENT)} bytes" in refused(sized, tmp_path)


def test_an_answer_of_not_found_is_passed_on(server, tmp_path):
    assert "404" in refused(Remote("data.bin", f"{server.address}/missing", sha256=SHA256), tmp_path)


def test_a_server_that_falls_silent_is_given_up(server, tmp_path):
    answer = refused(Remote("data.bin", f"{server.address}/silent", sha256=SHA256), tmp_path, timeout=0.1)
    assert "timed out" in answer


def unused_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_without_a_network_the_error_says_which_file_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    address = f"{unused_address()}/data.bin"
    answer = refused(Remote("data.bin", address, sha256=SHA256), tmp_path)
    assert f"get it from {address} and put it at {tmp_path / 'data.bin'}" in answer


def test_several_missing_files_are_named_together(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    address = unused_address()
    (tmp_path / "b.zip").write_bytes(b"here")
    remotes = [Remote(name, f"{address}/{name}", sha256=SHA256) for name in ("a.zip", "b.zip", "lists/c.txt")]
    with pytest.raises(ValueError, match=r"put a\.zip, lists/c\.txt .* into") as caught:
        fetch_all(remotes, tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_all_files_of_a_set_are_fetched(server, tmp_path):
    remotes = [Remote(name, f"{server.address}/good/{name}", sha256=SHA256) for name in ("a.bin", "b.bin")]
    assert fetch_all(remotes, tmp_path) == [tmp_path / "a.bin", tmp_path / "b.bin"]
    assert all(path.read_bytes() == CONTENT for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_one_line_error(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be written to") as caught:
        fetch(Remote("data.bin", f"{server.address}/good/data.bin", sha256=SHA256), tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert server.asked == []


def download_onto_a_full_disk(address, folder, answer):
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        fetch(Remote("data.bin", address, sha256=SHA256), folder)
    except ValueError as problem:
        answer.put(str(problem))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_no_file_and_says_so(server, tmp_path):
    fork = multiprocessing.get_context("fork")
    answer = fork.Queue()
    child = fork.Process(
        target=download_onto_a_full_disk, args=(f"{server.address}/good/data.bin", tmp_path / "set", answer)
    )
    child.start()
    assert "cannot be written to" in answer.get(timeout=10)
    child.join()
    assert list((tmp_path / "set").iterdir()) == []


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/data.bin", "data.bin"])
def test_only_web_addresses_are_taken(address):
    with pytest.raises(ValueError, match="only http and https"):
        Remote("data.bin", address, sha256=SHA256)


def test_a_remote_without_a_checksum_is_refused():
    with pytest.raises(ValueError, match="no checksum"):
        Remote("data.bin", "https://127.0.0.1/data.bin")


def test_the_data_root_is_the_argument_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MAPWISE_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root(str(tmp_path / "argument")) == tmp_path / "argument"
    assert data_root() == tmp_path / "variable"
    monkeypatch.delenv("MAPWISE_DATA")
    assert data_root() == tmp_path / "cache" / "mapwise" / "data"
    assert data_root("~/sets") == Path.home() / "sets"
    assert list(tmp_path.iterdir()) == []


def test_a_data_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file: give the folder"):
        data_root(tmp_path / "file")


def test_the_cache_folder_is_the_one_of_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, parent in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "local")):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == tmp_path / parent / "mapwise"


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "kept.bin"
    write_atomically(path, lambda file: file.write(b"old"))

    def fails(file):
        file.write(b"half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fails)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")
    seen = []

    def writes(file):
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, writes)
    assert (seen, path.read_bytes()) == ([b"old"], b"new")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(tmp_path / "written", lambda file: file.write(b""))
    usual, written = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "written"))
    assert written == usual
