"""Offering public keys to a real sshd, without having the private ones."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.agent.wiper.harness import SOURCE


class Server(NamedTuple):
    """An sshd on loopback, and the keys that its one user's file holds."""

    place: str
    user: str
    listed: list[str]
    other: str


def key(folder: Path, kind: str, name: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / name], check=True)
    return (folder / f"{name}.pub").read_text().split()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, missing) -> Iterator[Server]:
    program = shutil.which("sshd")
    if program is None:
        missing("sshd (Debian: openssh-server)")
    if os.geteuid() != 0:
        missing("root, to start an sshd")
    folder = tmp_path_factory.mktemp("sshd")
    key(folder, "ed25519", "host")
    listed = [key(folder, kind, kind) for kind in ("ed25519", "rsa", "ecdsa")] + [
        key(folder, "ed25519", f"more{number}") for number in range(4)
    ]
    other = key(folder, "ed25519", "other")
    (folder / "keys").write_text("".join(f"{kind_of(one)} {one}\n" for one in listed))
    Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"-o{one}" for one in (f"ListenAddress=127.0.0.1:{port}", f"HostKey={folder}/host", "StrictModes=no")]
    options += [
        f"-oAuthorizedKeysFile={folder}/keys",
        f"-oPidFile={folder}/pid",
        "-oUsePAM=yes",
        "-oPermitRootLogin=yes",
    ]
    process = subprocess.Popen([program, "-D", "-e", "-f", "/dev/null", *options], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield Server(f"127.0.0.1:{port}", "root", listed, other)
    process.terminate()
    process.wait()


def kind_of(blob: str) -> str:
    raw = base64.b64decode(blob)
    return raw[4 : 4 + int.from_bytes(raw[:4], "big")].decode()


def ask(*argv: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "agent.sshquery", *argv]
    return subprocess.run(words, cwd=SOURCE, capture_output=True, text=True, check=False, timeout=60)


def accepted(*argv: str) -> list[bool] | None:
    done = ask(*argv)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["accepted"]


def test_a_listed_key_is_accepted_and_another_is_not(server: Server) -> None:
    """Of every kind; and more of them than sshd answers on one connection."""
    given = [server.other, *server.listed, server.other]
    assert accepted(server.user, f"--at={server.place}", "--", *given) == [False, *[True] * 7, False]


def test_nobody_is_let_in_who_does_not_exist(server: Server) -> None:
    """As after the account was deleted."""
    assert accepted("nosuchuser", f"--at={server.place}", "--", *server.listed) == [False] * 7


def test_the_first_place_that_answers_is_asked(server: Server) -> None:
    """Nobody listens at port 9 of loopback."""
    assert accepted(server.user, "--at=[::1]:9", f"--at={server.place}", "--", server.listed[0]) == [True]


def test_where_nobody_listens_there_is_no_answer() -> None:
    """Which is not the same as a refusal."""
    assert accepted("root", "--at=127.0.0.1:9", "--", "AAAA") is None


def test_what_is_no_sshd_is_told(tmp_path: Path) -> None:
    """In one line."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(30)
        place = f"--at=127.0.0.1:{listening.getsockname()[1]}"
        words = [sys.executable, "-m", "agent.sshquery", "root", place, "--", "AAAA"]
        process = subprocess.Popen(words, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line, _ = listening.accept()
        line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        line.close()
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert errors.splitlines()[-1].startswith("SSHException")
