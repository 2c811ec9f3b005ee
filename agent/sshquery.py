"""
`python -m agent.sshquery USER --at HOST:PORT KEY...`: would this machine's sshd let these keys in?

A public key is offered without a signature, so that no private key is needed: sshd says whether it would go on with it.
This runs as a process of its own, as nobody, and knows nothing but what stands on its command line.

Source: RFC 4252 section 7, the query; RFC 4253 section 6.6 and RFC 8332, names of keys and of algorithms.
"""

import argparse
import base64
import json
import os
import queue
import socket
import sys

from paramiko import Message, Transport
from paramiko.auth_handler import AuthHandler
from paramiko.common import MSG_SERVICE_ACCEPT, MSG_USERAUTH_BANNER, MSG_USERAUTH_FAILURE, cMSG_SERVICE_REQUEST
from paramiko.common import cMSG_USERAUTH_REQUEST as REQUEST
from paramiko.ssh_exception import SSHException

MSG_USERAUTH_PK_OK = 60
NOBODY = 65_534
DEADLINE_S = 8.0
"""For one connection to begin, and for each answer."""
KEYS_A_CONNECTION = 4
"""A refused query counts as a failed try, and sshd hangs up after six. Source: sshd_config(5), MaxAuthTries."""
ALGORITHMS = {"ssh-rsa": "rsa-sha2-512"}
"""What a key is offered for where that is not its own name."""


class NobodyListensError(Exception):
    """Nobody listens at any of the addresses."""


class _Query(AuthHandler):
    """The client's side of authentication, as far as asking goes."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.answers: queue.Queue[int] = queue.Queue()

    @property
    def _handler_table(self) -> dict[int, object]:
        heard = (MSG_SERVICE_ACCEPT, MSG_USERAUTH_FAILURE, MSG_USERAUTH_PK_OK)
        table: dict[int, object] = {kind: lambda _message, kind=kind: self.answers.put(kind) for kind in heard}
        return {**table, MSG_USERAUTH_BANNER: lambda _message: None}

    def abort(self) -> None:
        """Hear that the connection ended."""
        self.answers.put(-1)


def offer(user: str, blobs: list[bytes], addresses: list[tuple[str, int]]) -> list[bool]:
    """
    Return for each key whether sshd would go on with it.

    Args:
        user: The account's name.
        blobs: Public keys as on the wire.
        addresses: Where sshd may listen; the first one that answers is asked.

    Raises:
        NobodyListensError: nobody listens there.
        OSError, SSHException: it does not answer as sshd does.
    """
    answers: list[bool] = []
    for first in range(0, len(blobs), KEYS_A_CONNECTION):
        answers += _offer(user, blobs[first : first + KEYS_A_CONNECTION], _connect(addresses))
    return answers


def _connect(addresses: list[tuple[str, int]]) -> socket.socket:
    for address in addresses:
        # Numbers only: nothing is ever looked up, and no code for that is loaded after the privileges are gone.
        line = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        line.settimeout(DEADLINE_S)
        try:
            line.connect(address)
        except ConnectionRefusedError:
            line.close()
        except OSError:
            line.close()
            raise
        else:
            return line
    raise NobodyListensError


def _offer(user: str, blobs: list[bytes], line: socket.socket) -> list[bool]:
    transport = Transport(line)
    try:
        transport.start_client(timeout=DEADLINE_S)
        asking = _Query(transport)
        transport.auth_handler = asking
        begin = Message()
        begin.add_byte(cMSG_SERVICE_REQUEST)
        begin.add_string("ssh-userauth")
        _said(transport, asking, begin)
        return [_said(transport, asking, _question(user, blob)) == MSG_USERAUTH_PK_OK for blob in blobs]
    finally:
        transport.close()


def _question(user: str, blob: bytes) -> Message:
    kind = Message(blob).get_text()
    question = Message()
    question.add_byte(REQUEST)
    for text in (user, "ssh-connection", "publickey"):
        question.add_string(text)
    question.add_boolean(b=False)
    question.add_string(ALGORITHMS.get(kind, kind))
    question.add_string(blob)
    return question


def _said(transport: Transport, asking: _Query, message: Message) -> int:
    """Send a message and return the kind of its answer."""
    # The library signs whatever it offers; below this there is no way to ask only.
    transport._send_message(message)  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        answer = asking.answers.get(timeout=DEADLINE_S)
    except queue.Empty:
        raise TimeoutError("no answer in time") from None
    if answer < 0:
        raise SSHException("the connection ended")
    return answer


def main() -> None:
    """Print a JSON object: `accepted`, one boolean a key; null where nobody listens. Exit 1 with words on trouble."""
    parser = argparse.ArgumentParser(prog="agent.sshquery", description="Ask sshd whether it would let keys in.")
    parser.add_argument("user")
    parser.add_argument("--at", action="append", required=True, metavar="HOST:PORT")
    parser.add_argument("keys", nargs="+", metavar="KEY", help="the body of a public key, base64")
    given = parser.parse_args()
    if os.geteuid() == 0:
        _become_nobody()
    places = [one.rpartition(":") for one in given.at]
    addresses = [(host.strip("[]"), int(port)) for host, _, port in places]
    try:
        accepted = offer(given.user, [base64.b64decode(key, validate=True) for key in given.keys], addresses)
    except NobodyListensError:
        accepted = None
    except (OSError, SSHException, EOFError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}"[:200])
    sys.stdout.write(json.dumps({"accepted": accepted}) + "\n")


def _become_nobody() -> None:
    """Whoever starts this, nothing that sshd answers is read by root."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


if __name__ == "__main__":
    main()
