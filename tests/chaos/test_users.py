"""What the users of the chaos test meet when the API server is killed."""

import gc
import select
import socket
import struct
from typing import Any

import pytest
import requests
from urllib3.util import connection

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def test_a_server_killed_before_the_handshake_is_a_connection_error_and_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.11.7 forgets that socket (cpython issue 113280); its warning failed whichever test ran next."""
    connect = connection.create_connection
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect_and_lose(*arguments: Any, **options: Any) -> socket.socket:
            client = connect(*arguments, **options)
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            accepted.close()
            select.select([client], [], [], 5)
            return client

        monkeypatch.setattr(connection, "create_connection", connect_and_lose)
        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            requests.get(f"https://127.0.0.1:{server.getsockname()[1]}/", timeout=5)
    gc.collect()
