"""The support bundle: replays as the machine it was made on, and names nothing of it."""

import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import agent.indicators
from agent.checks import Scene
from agent.config import Settings
from agent.health import read_one
from agent.host import Host
from agent.host.recorded import Answers, RecordedHost
from agent.host.recording import RecordingHost
from agent.indicators import Indicator
from agent.inventory import facts, hardware_id
from agent.plugins import load
from agent.support.bundle import Bundle, bundle, redactor_for, unpack, write
from agent.support.files import without_names
from agent.support.redaction import Kind, Redactor
from shared.codes import Code, Trouble

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
NAMES = sorted(folder.name for folder in RECORDINGS.iterdir() if folder.is_dir())
SUBJECTS = load(agent.indicators, "INDICATOR", Indicator)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = bytes(range(32))


def scene(host: Host, tmp_path: Path) -> Scene:
    settings = Settings(state_dir=str(tmp_path / "state"), policy_file=str(tmp_path / "policy.toml"))
    return Scene(host=host, settings=settings, file=tmp_path / "agent.toml")


def outcomes(host: Host) -> dict[str, object]:
    read = {one.name: read_one(one, host, None)[0] for one in SUBJECTS}
    return {name: msgspec.to_builtins(msgspec.structs.replace(outcome, took_ms=0)) for name, outcome in read.items()}


def replayed(made: Bundle, folder: Path) -> RecordedHost:
    unpack(made.contents, folder)
    return RecordedHost(folder / "recording")


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_replays_to_the_report_of_the_machine_it_was_made_on(name: str, tmp_path: Path) -> None:
    """But for what is made up in it, which is the same made-up thing everywhere."""
    host = RecordedHost(RECORDINGS / name)
    again = replayed(bundle(scene(host, tmp_path), NOW, KEY), tmp_path / "unpacked")
    wanted = redactor_for(host, SUBJECTS, KEY).plain(outcomes(host))
    assert outcomes(again) == wanted
    assert facts(again) == facts(host)
    assert hardware_id(again) != hardware_id(host)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_as_it_was_read_replays_to_the_very_same_report(name: str, tmp_path: Path) -> None:
    """Before anything is taken out: it holds exactly what was read, errors too."""
    host = RecordingHost(RecordedHost(RECORDINGS / name))
    first = outcomes(host), facts(host), hardware_id(host)
    for path, text in host.files.items():
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.lstrip("/")).write_text(text)
    (tmp_path / "machine.json").write_bytes(msgspec.json.encode(host.answers()))
    again = RecordedHost(tmp_path)
    assert (outcomes(again), facts(again), hardware_id(again)) == first


def test_every_question_that_a_host_answers_is_recorded() -> None:
    """A new one must be recorded too, or bundles would not replay."""
    asked = {name for name in vars(Host) if not name.startswith("_")}
    assert asked <= set(vars(RecordingHost)), asked - set(vars(RecordingHost))
    assert asked <= {name for kind in RecordedHost.__mro__ for name in vars(kind)}


def test_a_recorded_machine_stands_still_and_its_errors_come_back(tmp_path: Path) -> None:
    """What changes between two reads is read once; a driver's refusal is replayed with its number."""

    class Moving(RecordedHost):
        reads = 0

        def text(self, path: str) -> str:
            if path == "/sys/class/net/eth0/speed":
                raise OSError(22, "Invalid argument", path)
            Moving.reads += 1
            return f"{Moving.reads}"

    (tmp_path / "machine.json").write_text("{}")
    host = RecordingHost(Moving(tmp_path))
    assert (host.text("/proc/stat"), host.text("/proc/stat")) == ("1", "1")
    for _ in range(2):
        with pytest.raises(OSError, match="Invalid argument"):
            host.text("/sys/class/net/eth0/speed")
    (tmp_path / "machine.json").write_bytes(msgspec.json.encode(host.answers()))
    with pytest.raises(OSError, match="Invalid argument"):
        RecordedHost(tmp_path).text("/sys/class/net/eth0/speed")


CANARIES = {
    "mac": "de:ad:be:ef:12:34",
    "mac with dashes": "DE-AD-BE-EF-12-35",
    "link's name": "enxdeadbeef1236",
    "infiniband guid": "b8ce:f603:00ab:cdef",
    "address": "203.0.113.77",
    "address 6": "fd12:3456:789a::77",
    "host": "canaryhost",
    "domain": "canary.example",
    "user": "canaryuser",
    "full name": "Connie Canary",
    "board serial": "CNRY7734ZZ",
    "product serial": "PRD-9931-CNR",
    "disk serial": "S5XNANARY0123",
    "smartd serial": "WD_WXCNRY99",
    "labelled serial": "LBL88CNRY",
    "uuid": "c4a4a47e-1111-4222-8333-0123456789ab",
    "gpu uuid": "GPU-c4a4a47f-1111-4222-8333-0123456789ab",
    "short gpu": "GPU-c4a4a47f",
    "machine id": "c4a4a47ec4a4a47ec4a4a47ec4a4a411",
    "wwn": "0x5000c500cafecafe",
    "key": "c4a4a47e" * 8,
    "token": "rpe_canary01_s3cr3ts3cr3t",
    "password": "hunter2canary",
    "pem": "MC4CAQAwBQYDK2VwBCIEIcanary",
    "ssh key": "AAAAC3NzaC1lZDI1NTE5AAAAIcanarycanarycanary",
    "process": "canarycracker",
    "share": "canaryshare",
}
EVERYWHERE = f"""
{CANARIES["mac"]} {CANARIES["mac with dashes"]} [{CANARIES["address"]}] {CANARIES["address"]}:8080 {CANARIES["address 6"]}/64
{CANARIES["link's name"]} {CANARIES["infiniband guid"]} https://{CANARIES["host"]}.{CANARIES["domain"]}/x {CANARIES["host"].upper()}
/home/{CANARIES["user"]}/x "{CANARIES["full name"]}" {CANARIES["board serial"]}, {CANARIES["product serial"]}
{CANARIES["disk serial"].lower()} Serial Number: {CANARIES["labelled serial"]} {CANARIES["uuid"]} {CANARIES["gpu uuid"].lower()}
{CANARIES["short gpu"]} {CANARIES["machine id"]} {CANARIES["wwn"]} {CANARIES["key"]} {CANARIES["token"]}
password={CANARIES["password"]} ssh-ed25519 {CANARIES["ssh key"]} {CANARIES["user"]}@{CANARIES["host"]}
-----BEGIN PRIVATE KEY-----
{CANARIES["pem"]}
-----END PRIVATE KEY-----
"""
"""What may stand in a file that nobody thought of."""


SESSION = f"""UID=1000
USER={CANARIES["user"]}
CLASS=user
REMOTE_HOST={CANARIES["address"]}
TTY=pts/0
"""
XID = f"NVRM: Xid (PCI:0000:41:00): 31, pid=77, name={CANARIES['process']}, Ch 00000008, MMU Fault: ENGINE GRAPHICS"
KERNEL_LOG = f"""6,0,100,-;Linux version 6.1 ({CANARIES["user"]}@{CANARIES["host"]})
4,1,200,-;[UFW BLOCK] IN=eth0 MAC={CANARIES["mac"]} SRC={CANARIES["address"]}
6,2,300,-;usb 1-1: SerialNumber: {CANARIES["labelled serial"]}
3,3,400,-;{XID}
3,4,500,-;INFO: task {CANARIES["process"]}:77 blocked for more than 120 seconds.
3,5,600,-;Out of memory: Killed process 77 ({CANARIES["process"]}) total-vm:1kB, anon-rss:1kB
12,6,700,-;sshd says {CANARIES["user"]}
"""


def planted(folder: Path) -> None:
    """Put the canaries where a machine has them, and into every file there is."""
    write_to(folder, "proc/sys/kernel/hostname", f"{CANARIES['host']}\n")
    write_to(folder, "etc/hosts", f"127.0.1.1 {CANARIES['host']}.{CANARIES['domain']} {CANARIES['host']}\n")
    write_to(
        folder, "etc/passwd", f"{CANARIES['user']}:x:1000:1000:{CANARIES['full name']},,,:/home/{CANARIES['user']}:/x\n"
    )
    write_to(folder, "sys/class/dmi/id/board_serial", f"{CANARIES['board serial']}\n")
    write_to(folder, "sys/class/dmi/id/product_serial", f"{CANARIES['product serial']}\n")
    write_to(folder, "sys/class/nvme/nvme0/serial", f"{CANARIES['disk serial']}   \n")
    write_to(folder, "sys/class/nvme/nvme0/state", f"live {CANARIES['address']}\n")
    write_to(folder, "etc/machine-id", f"{CANARIES['machine id']}\n")
    write_to(
        folder, f"var/lib/smartmontools/smartd.WDC_WD40-{CANARIES['smartd serial']}.ata.state", "# smartd state file\n"
    )
    write_to(folder, f"var/lib/smartmontools/smartd.X-{CANARIES['disk serial']}-n1.nvme.state", "# smartd state file\n")
    write_to(folder, "proc/4242/stat", f"4242 ({CANARIES['process']}) S 1 4242 0 0\n")
    write_to(folder, "run/systemd/sessions/7", SESSION)
    write_to(folder, "dev/kmsg", KERNEL_LOG)
    mounts = folder / "proc/self/mountinfo"
    kind = f"cifs //{CANARIES['host']}/{CANARIES['share']} rw,username=x,password={CANARIES['password']}"
    mounts.write_text(
        f"{mounts.read_text()}99 1 0:99 / /home/{CANARIES['user']}/net rw - {kind}\n"
        f"98 1 259:98 / /home/{CANARIES['user']}/disk rw - ext4 /dev/sdz rw\n"
    )
    answers = msgspec.json.decode((folder / "machine.json").read_bytes())
    answers["links"][f"/dev/disk/by-id/nvme-X_{CANARIES['disk serial']}_1"] = "../../nvme0n1"
    answers["links"][f"/sys/class/block/{CANARIES['uuid']}"] = f"../{CANARIES['mac']}"
    answers["usage"] |= {f"/home/{CANARIES['user']}/disk": next(iter(answers["usage"].values()))}
    words = f"lost at {CANARIES['address']}, {CANARIES['short gpu']}"
    gpu = {
        "uuid": CANARIES["gpu uuid"],
        "model": "NVIDIA H100",
        "error": words,
        "readings": {"serial": CANARIES["board serial"]},
    }
    answers["gpus"] = {"driver": "550.1", "gpus": [gpu]}
    (folder / "machine.json").write_bytes(msgspec.json.encode(answers))
    write_to(folder, "dev/disk/by-id/nvme-X_" + CANARIES["disk serial"] + "_1", "")
    write_to(folder, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    write_to(folder, "sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")


def write_to(folder: Path, path: str, text: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def leaked(archive: Path) -> set[str]:
    """Which canaries are anywhere in an archive: in a name or a content."""
    held = []
    with tarfile.open(archive) as opened:
        for entry in opened:
            content = opened.extractfile(entry)
            assert content is not None
            held += [entry.name.lower().encode(), content.read().lower()]
    everything = b"\n".join(held)
    return {name for name, canary in CANARIES.items() if canary.lower().encode() in everything}


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_names_the_machine_is_in_the_archive(
    copied: Callable[[str], Path], name: str, tmp_path: Path, *, everywhere: bool
) -> None:
    """Canaries where a machine has them, and then in every one of its files, are not in the archive."""
    folder = copied(name)
    planted(folder)
    texts = [one for one in folder.rglob("*") if one.is_file() and one.name not in {"machine.json", "report.json"}]
    for file in texts if everywhere else ():
        file.write_text(file.read_text() + EVERYWHERE)
    file = tmp_path / "bundle.tar.gz"
    made = bundle(scene(RecordedHost(folder), tmp_path), NOW, KEY)
    write(made, file, NOW)
    assert leaked(file) == set()
    recorded = b"".join(made.contents.values())
    assert b"user-" in recorded
    assert b"198.1" in recorded
    assert {Kind.SERIAL, Kind.USER, Kind.ADDRESS, Kind.PROCESS, Kind.MOUNT} <= set(made.taken_out)


def test_the_canaries_are_in_an_archive_that_takes_nothing_out(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """So the test above can fail: the files they stand in are read and recorded."""
    folder = copied("gpu-server")
    planted(folder)
    host = RecordingHost(RecordedHost(folder))
    outcomes(host)
    facts(host)
    plain = json.dumps([host.files, msgspec.to_builtins(host.answers())]).lower()
    there = {name for name, canary in CANARIES.items() if canary.lower() in plain}
    assert {"user", "gpu uuid", "disk serial", "process", "share", "password", "address"} <= there


def test_the_kernel_log_keeps_what_is_counted_and_no_name_in_it(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """The same faults are counted in a replay; what reports nothing keeps its number, so that none counts as lost."""
    folder = copied("gpu-server")
    planted(folder)
    host = RecordedHost(folder)
    before = outcomes(host)["kernel_log"]
    made = bundle(scene(host, tmp_path), NOW, KEY)
    assert outcomes(replayed(made, tmp_path / "unpacked"))["kernel_log"] == before
    records = made.contents["recording/dev/kmsg"].decode().splitlines()
    assert records[0] == "0,0,100,-;left out"
    assert records[3] == f"0,3,400,-;{XID.replace(CANARIES['process'], '-')}"
    assert records[4:6] == [
        "0,4,500,-;INFO: task -:77 blocked for more than 120 seconds.",
        "0,5,600,-;Out of memory: Killed process 77 (-) total-vm:1kB, anon-rss:1kB",
    ]
    assert made.taken_out[Kind.MESSAGE] == 4


def test_files_of_keys_are_never_in_a_bundle_and_users_are_whoever_is_logged_in() -> None:
    """Whatever reads them; and a user whom only a directory service knows is a user too."""
    never = (
        "/etc/shadow",
        "/root/x",
        "/home/a/.ssh/id_ed25519",
        "/var/lib/rackproof-agent/agent.key",
        "/etc/ssl/x.pem",
    )
    answers = Answers(
        users=("jd", "ldapuser"), listings={"/home/a": (".ssh", "x")}, refused={"text": {"/etc/gshadow": 13}}
    )
    texts = {
        "/proc/uptime": "1.0\n",
        "/run/systemd/sessions/3": "USER=ldapuser\nCLASS=user\n",
        **dict.fromkeys(never, "x"),
    }
    files, left = without_names(texts, answers, Redactor(KEY))
    assert set(files) == {"/proc/uptime", "/run/systemd/sessions/3"}
    assert left.users is not None
    assert all(user.startswith("user-") for user in left.users)
    assert len(set(left.users)) == 2
    assert f"USER={left.users[1]}\n" in files["/run/systemd/sessions/3"]
    assert left.listings["/home/a"] == ("x",)


def redacted(text: str) -> str:
    redactor = Redactor(KEY)
    redactor.know(Kind.HOST, "node7")
    return redactor.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "0000:41:00.0 0x10de 0x030200",
        "12:34:56 up 3 days",
        "kernel 6.8.0-45-generic, driver 550.90.07",
        "127.0.0.1 ::1 0.0.0.0",
        "259:3 8:0 0:0:0:0",
        "1234567890123456789 18446744073709551615",
        "cpu0 12345678 node70 anode7",
        "GPU is lost",
        "ata-ST8000NM000A-2KE101",
    ],
)
def test_what_names_nothing_stays(text: str) -> None:
    """PCI addresses, times, versions, counters, loopback."""
    assert redacted(text) == text


@pytest.mark.parametrize(
    "sign",
    [
        "a",
        "A1",
        "0:",
        "ssh-",
        "password = ",
        "password ",
        "-----BEGIN PRIVATE KEY-----",
        "1.",
        "serial",
        "aB3+",
        "eyJ-",
        "GPU-",
    ],
)
def test_a_text_takes_no_longer_than_its_length(sign: str) -> None:
    """Whatever it is: a tenant may have made some of it, such as the names of his processes."""
    began_s = time.process_time()
    redacted(sign * (100_000 // len(sign)))
    assert time.process_time() - began_s < 3


def test_a_made_up_value_has_the_shape_of_the_real_one_and_is_always_the_same() -> None:
    """Within one bundle; another one's are others."""
    mac = redacted("a de:ad:be:ef:12:34 b")
    assert mac == redacted("a DE:AD:BE:EF:12:34 b").lower()
    assert len(mac) == len("a de:ad:be:ef:12:34 b")
    assert Redactor(bytes(32)).text("de:ad:be:ef:12:34") not in mac
    uuid = redacted("GPU-c4a4a47f-1111-4222-8333-0123456789ab")
    assert redacted("GPU-c4a4a47f") == uuid[:12]
    serial = Redactor(KEY)
    serial.know(Kind.SERIAL, "WD-WX12AB")
    serial.know(Kind.SERIAL, "WD_WX12AB")
    first, second = serial.text("x_WD-WX12AB.ata"), serial.text("x_WD_WX12AB.ata")
    assert first.replace("-", "_") == second
    assert first != "x_WD-WX12AB.ata"


def test_an_archive_is_its_owner_s_and_never_written_over(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask; what is there already stays."""
    file = tmp_path / "b.tar.gz"
    made = Bundle(contents={"README.txt": b"x"}, taken_out={})
    before = os.umask(0)
    try:
        write(made, file, NOW)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    with pytest.raises(Trouble, match="is there already") as caught:
        write(made, file, NOW)
    assert caught.value.code is Code.CANNOT_CREATE
    assert file.read_bytes() == content
    with pytest.raises(Trouble, match="No such file"):
        write(made, tmp_path / "none" / "b.tar.gz", NOW)


def test_answers_that_no_recording_needs_are_left_out_by_default() -> None:
    """Recordings made by hand stay as short as they are."""
    assert msgspec.json.decode(b"{}", type=Answers).listings == {}


def test_the_command_on_this_machine(
    rackproof_agent: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The real thing: lists without writing, writes once, refuses twice, names nothing of here, and replays."""
    listed = rackproof_agent("support-bundle", "--list")
    assert listed.returncode == 0, listed.stderr
    assert "nothing was written" in listed.stdout
    assert "recording/proc/meminfo" in listed.stdout
    assert list(tmp_path.iterdir()) == []

    ended = rackproof_agent("support-bundle", "--output", "b.tar.gz")
    assert (ended.returncode, ended.stdout) == (0, "b.tar.gz\n"), ended.stderr
    assert "Taken out" in ended.stderr
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    again = rackproof_agent("support-bundle", "--output", "b.tar.gz")
    assert again.returncode == 73
    assert "cannot_create" in again.stderr

    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    folder = tmp_path / "unpacked" / "rackproof-support"
    held = b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file()).lower()
    for name in (
        "/proc/sys/kernel/random/boot_id",
        "/etc/machine-id",
        *map(str, Path("/sys/class/net").glob("*/address")),
    ):
        value = Path(name).read_text().strip() if Path(name).exists() else ""
        assert not value.strip("0:") or value.lower().encode() not in held, name
    report = json.loads((folder / "report.json").read_text())
    host = RecordedHost(folder / "recording")
    for name, outcome in outcomes(host).items():
        told = report["indicators"][name]
        assert told["outcome"] == "failed" or {**told, "took_ms": 0} == outcome, name
