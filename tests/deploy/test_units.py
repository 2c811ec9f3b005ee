"""The shipped units as text: what systemd itself says of them, and what the wiper's must never have."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from agent.config import Settings
from agent.host import kernel
from agent.wiper import policy

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = DEPLOY / "systemd"
KERNEL_LOG = "rackproof-agent.service.d/kernel-log.conf"
NAMES = ("rackproof-agent.service", "rackproof-wiper.socket", "rackproof-wiper@.service", "rackproof-resume.service")

MOST_EXPOSURE = {"rackproof-agent.service": 2.0, "rackproof-wiper@.service": 3.5, "rackproof-resume.service": 0.3}
"""
As measured with systemd 252. What is left of the agent's: the network, a look at the clock, the list of processes, GPUs,
how full /home is. What is left of the wiper's: it is root, and 1.6 of it are directives that would give it a view of its
own; some more of those are not counted in units that may run as early at boot as it may.
"""

OWN_VIEW = frozenset(
    {"PrivateTmp", "PrivateDevices", "PrivateIPC", "PrivateUsers", "PrivatePIDs", "PrivateBPF", "IPCNamespacePath"}
    | {"ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectControlGroups"}
    | {"ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs"}
    | {"ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "TemporaryFileSystem"}
    | {"BindPaths", "BindReadOnlyPaths", "MountImages", "ExtensionImages", "ExtensionDirectories", "MountFlags"}
    | {"RootDirectory", "RootImage", "MountAPIVFS", "DynamicUser", "LogNamespace", "BindLogSockets", "JoinsNamespaceOf"}
    | {"NetworkNamespacePath", "User"}
)
"""Directives that hide something from a process or give it mounts of its own. Source: systemd.exec(5), SANDBOXING, and
systemd's exec_needs_mount_namespace(), versions 252 and 258."""

NEVER = ("SYS_PTRACE", "NET_", "SYS_MODULE", "SYS_RAWIO", "SYS_BOOT", "SYS_TIME", "MKNOD", "SETPCAP", "BPF", "MAC_")


def unit(name: str, section: str) -> dict[str, str]:
    lines: dict[str, str] = {}
    at = ""
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            at = line.strip("[]")
        elif at == section and line and not line.startswith("#"):
            directive, _, value = line.partition("=")
            lines[directive] = f"{lines[directive]} {value}" if directive in lines else value
    return lines


@pytest.fixture(scope="module")
def analyze(missing) -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("systemd-analyze (Debian: systemd)")
    return found


@pytest.mark.parametrize("name", MOST_EXPOSURE)
def test_a_unit_is_no_more_exposed_than_it_was(analyze, name):
    """By systemd's own measure: 0 is a closed box, 10 is none."""
    argv = [analyze, "security", "--offline=true", f"--threshold={round(MOST_EXPOSURE[name] * 10)}", f"./{name}"]
    done = subprocess.run(argv, cwd=UNITS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_every_line(analyze, name):
    """But for the programs, which are not installed where tests run."""
    argv = [analyze, "verify", "--man=no", f"./{name}"]
    done = subprocess.run(argv, cwd=UNITS, capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if "rackproof" in line]
    assert [line for line in own if "is not executable: No such file" not in line] == []


def test_the_drop_in_of_the_kernel_log_is_measured_with_its_unit(analyze, tmp_path):
    """It lies where systemd looks for it: the tests above would see what it opens."""
    shutil.copytree(UNITS, tmp_path, dirs_exist_ok=True)
    text = (UNITS / KERNEL_LOG).read_text()
    (tmp_path / KERNEL_LOG).write_text(text + "CapabilityBoundingSet=CAP_SYS_ADMIN\n")
    most = round(MOST_EXPOSURE["rackproof-agent.service"] * 10)
    argv = [analyze, "security", "--offline=true", f"--threshold={most}", "./rackproof-agent.service"]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_the_drop_in_hands_over_the_kernel_log_and_nothing_else():
    """To be read: one device beside those of the unit, and no capability, which reading it takes elsewhere."""
    assert unit(KERNEL_LOG, "Service") == {
        "StandardInput": f"file:{kernel.DEVICE}",
        "DeviceAllow": f"{kernel.DEVICE} r",
    }
    agent = unit("rackproof-agent.service", "Service")
    assert {"StandardInput", "StandardInputText", "StandardInputData"}.isdisjoint(agent)
    # It may not open the log by itself, with the drop-in or without.
    assert (agent["ProtectKernelLogs"], agent["DevicePolicy"]) == ("yes", "closed")


def test_the_wiper_has_no_view_of_its_own():
    """What it does not see it would call clean, and what it unmounts would stay mounted."""
    wiper = unit("rackproof-wiper@.service", "Service")
    assert not OWN_VIEW & set(wiper | unit("rackproof-wiper@.service", "Unit"))
    # Newer versions would make one for the private network, unless told not to.
    assert wiper["PrivateMounts"] == "no"


def test_the_wiper_has_no_network():
    """In three ways that do not depend on each other."""
    wiper = unit("rackproof-wiper@.service", "Service")
    assert wiper["PrivateNetwork"] == "yes"
    assert wiper["IPAddressDeny"] == "any"
    assert wiper["RestrictAddressFamilies"] == "AF_UNIX"


def test_the_wiper_may_do_what_it_needs_and_no_more():
    """The capabilities are a list of what is allowed, and the dangerous ones are not among them."""
    allowed = unit("rackproof-wiper@.service", "Service")["CapabilityBoundingSet"].split()
    assert allowed
    assert not [one for one in allowed if one.removeprefix("CAP_").startswith(NEVER) or not one.startswith("CAP_")]


def test_the_wiper_opens_loop_devices_and_gpus_only():
    """What fills GPU memory needs one more, and is not run by this unit."""
    wiper = unit("rackproof-wiper@.service", "Service")
    assert wiper["DevicePolicy"] == "closed"
    named = {one for one in wiper["DeviceAllow"].split() if one not in {"r", "rw"}}
    assert named == {"block-loop", "char-nvidia", "char-nvidia-frontend", "char-nvidia-caps"}


def test_the_wiper_runs_from_the_connection():
    """It hears and answers there, logs elsewhere, and takes nothing else from whoever connected."""
    wiper = unit("rackproof-wiper@.service", "Service")
    assert [wiper[f"Standard{one}"] for one in ("Input", "Output", "Error")] == ["socket", "socket", "journal"]
    assert "%" not in wiper["ExecStart"]
    assert {"Environment", "EnvironmentFile", "PassEnvironment"}.isdisjoint(wiper)


def test_only_the_agents_user_may_connect():
    """And it is the socket that the agent's unit names."""
    socket, agent = unit("rackproof-wiper.socket", "Socket"), unit("rackproof-agent.service", "Service")
    assert (socket["SocketUser"], socket["SocketMode"], socket["Accept"]) == (agent["User"], "0600", "yes")
    assert f"RACKPROOF_AGENT_WIPER_SOCKET={socket['ListenStream']}" in agent["Environment"].split()


def test_the_agent_is_nobody_special():
    """Not root, without a single capability, and without a way to gain one."""
    agent = unit("rackproof-agent.service", "Service")
    assert (agent["CapabilityBoundingSet"], agent["NoNewPrivileges"]) == ("", "yes")
    assert f"u     {agent['User']}" in (UNITS / "rackproof.sysusers.conf").read_text()


def test_the_units_and_the_settings_name_the_same_places():
    """Nobody has to repeat a path in agent.toml."""
    settings = Settings()
    agent, wiper = unit("rackproof-agent.service", "Service"), unit("rackproof-wiper@.service", "Service")
    assert f"/var/lib/{agent['StateDirectory']}" == settings.state_dir
    assert f"/var/lib/{wiper['StateDirectory']}" == settings.wiper_dir
    assert wiper["ExecStart"].endswith(f" --state {settings.wiper_dir} --policy {settings.policy_file}")


def test_the_shipped_policy_is_the_default_one():
    """It says in words what holds without it, every key included."""
    text = (DEPLOY / "policy.toml").read_text()
    assert policy.read(text) == policy.Policy()
    assert set(tomllib.loads(text)) == set(policy.Policy.__struct_fields__)
