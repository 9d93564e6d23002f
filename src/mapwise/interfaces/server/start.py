"""The start of a server: its checks, its socket, its page in the browser, and its end."""

import importlib.util
import ipaddress
import socket
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from mapwise.data.files import claimed
from mapwise.interfaces.printing import show
from mapwise.workflows.errors import WrongUse

PACKAGES = ("fastapi", "uvicorn", "httptools", "python_multipart")


def start(
    host: str,
    port: int,
    folder: Path,
    token: str,
    names: Sequence[str],
    models: Sequence[str],
    *,
    threads: int | None,
    log_requests: bool,
    browser: bool,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Serve until a signal ends it; what is in flight is answered first.

    names:  by which it may be called beside its address.
    models: NAME=VERSION of encoders that may be opened.
    threads: of the encoder's passes; None: half of the cores.
    log_requests: whether each request is a line of the log.

    Raises WrongUse for options that can't be meant, and ValueError where the extra isn't installed, where another
    server has the folder, and where the address is taken.
    """
    check_extra()
    if not is_loopback(host) and not token:
        raise WrongUse(f"{host} can be reached by others: give a token (--token), or take 127.0.0.1")
    if (certificate is None) != (key is None):
        raise WrongUse("https needs a certificate and its key: give --tls-cert and --tls-key")
    allowed = models_of(models)
    with claimed(folder / ".server") as ours:
        if not ours:
            raise ValueError(f"another server has the folder {folder}: end it, or give another folder")
        _serve(host, port, folder, token, names, allowed, threads, log_requests, browser, certificate, key)


def check_extra() -> None:
    """Raises ValueError where the extra isn't installed."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise ValueError(f'mapwise serve needs {absent[0]}, which isn\'t installed: pip install "mapwise[serve]"')


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def models_of(words: Sequence[str]) -> dict[str, str]:
    """The encoders that NAME=VERSION names; raises WrongUse for other words."""
    models = {}
    for word in words:
        name, equals, version = word.rpartition("=")
        if not (equals and name.startswith("hf:") and version):
            raise WrongUse(f"--model takes hf:NAME=VERSION and {word!r} was given: see docs/serving.md")
        models[name] = version
    return models


def _serve(
    host: str,
    port: int,
    folder: Path,
    token: str,
    names: Sequence[str],
    models: dict[str, str],
    threads: int | None,
    log_requests: bool,
    browser: bool,
    certificate: Path | None,
    key: Path | None,
) -> None:
    import uvicorn

    from mapwise.interfaces.server.http import BoundedHttp
    from mapwise.interfaces.server.logs import configure_logs
    from mapwise.interfaces.server.service import Service, Settings
    from mapwise.interfaces.server.web.app import create_app

    listener = listener_at(host, port)
    address = address_of(host, listener.getsockname()[1], certificate is not None)
    own = ("127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host)
    service = Service(
        Settings(
            folder, token, (*own, *(name.lower() for name in names)), models, threads=threads, log_requests=log_requests
        )
    )
    configure_logs()
    settings = uvicorn.Config(
        *(create_app(service),),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
        http=BoundedHttp,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    show(f"mapwise serves at {address}  (Ctrl-C ends it; everything is in {folder})")
    if browser:
        webbrowser.open(address)
    uvicorn.Server(settings).run(sockets=[listener])


def listener_at(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises ValueError where it can't."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, since asyncio sends at once (TCP_NODELAY) only on sockets that say what they are.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise ValueError(f"{host} port {port} can't be listened at ({error.strerror}): give another --port") from None
    listener.listen(1024)
    return listener


def address_of(host: str, port: int, secure: bool) -> str:
    """The address to open in a browser."""
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{'127.0.0.1' if host == '0.0.0.0' else name}:{port}/"
