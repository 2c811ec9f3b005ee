"""The GPU probe within the agent's shipped unit, on a booted machine, with a stand-in for NVML: all that it needs is allowed."""

import json
import sys
from pathlib import Path

import pytest

from tests.agent.indicators import nvml
from tests.host.machines import SOURCE
from tests.host.units import Unit

pytestmark = [pytest.mark.root, pytest.mark.slow]

PREPARE = r"""
import pathlib, subprocess, sys
python, source, inside, library = sys.argv[1:]
pathlib.Path('/usr/lib/libnvidia-ml.so.1').write_bytes(bytes.fromhex(library))
program = pathlib.Path('/usr/local/lib/ask-gpus')
program.write_text(inside)
lines = ['[Service]', 'Type=oneshot', 'Restart=no', 'ExecStart=', f'ExecStart={python} -B {program}',
    f'Environment=PYTHONPATH={source}', 'StandardOutput=truncate:/run/found.json', 'StandardError=truncate:/run/found.err']
if pathlib.Path(python).resolve().is_relative_to('/root'):
    # An interpreter in root's home, where a developer may have one, is hidden from the agent's user.
    pathlib.Path('/root').chmod(0o711)
    lines += ['ProtectHome=no', 'InaccessiblePaths=']
folder = pathlib.Path('/etc/systemd/system/rackproof-agent.service.d')
folder.mkdir(exist_ok=True)
(folder / 'inside.conf').write_text('\n'.join(lines) + '\n')
subprocess.run(['systemctl', 'daemon-reload'], check=True)
"""

INSIDE = r"""
import json, os
from agent.gpu.child import GpuChild
def told(mode):
    child = GpuChild(environment={**os.environ, 'FAKE_NVML': mode}, hangs_after_s=2.0)
    try:
        found = child.ask()
        limits = open(f'/proc/{child._process.pid}/limits').read()
        return {'readings': [gpu.readings for gpu in found.gpus], 'errors': [gpu.error for gpu in found.gpus],
            'core': next(line.split()[4] for line in limits.splitlines() if line.startswith('Max core'))}
    except Exception as error:
        return {'error': f'{type(error).__name__}: {error}'}
    finally:
        child.close()
modes = {'well': '', 'hung': 'hang nvmlDeviceGetTotalEccErrors 1', 'crashed': 'segfault nvmlDeviceGetTemperature 1'}
print(json.dumps({'user': os.getuid()} | {name: told(mode) for name, mode in modes.items()}))
"""

RUN = r"""
import pathlib, subprocess, sys
done = subprocess.run(['systemctl', 'start', 'rackproof-agent.service'], capture_output=True, text=True)
print(done.stderr, pathlib.Path('/run/found.err').read_text(), file=sys.stderr)
print(pathlib.Path('/run/found.json').read_text())
"""


@pytest.fixture(scope="module")
def found(machine, missing, tmp_path_factory) -> dict:
    """What the agent's user is told of the GPUs within the unit."""
    folder = nvml.build(tmp_path_factory.mktemp("nvml"))
    if folder is None:
        missing("a C compiler (cc), to build the stand-in for NVML")
    Unit(machine)
    library = Path(folder, nvml.LIBRARY).read_bytes().hex()
    machine.python(PREPARE, sys.executable, str(SOURCE), INSIDE, library)
    return json.loads(machine.python(RUN))


def test_gpus_are_read_from_within_the_unit(found) -> None:
    """By a user without any right, under the unit's filter of system calls; a crash leaves no core."""
    assert found["user"] != 0
    assert found["well"]["errors"] == ["", ""]
    assert found["well"]["readings"][0]["ecc_corrected_errors"] == 7
    assert found["well"]["core"] == "0"


def test_a_hang_and_a_crash_are_told_from_within_the_unit(found) -> None:
    """The agent may end its own child and see how it ended."""
    assert "hung since" in found["hung"]["errors"][0]
    assert found["hung"]["readings"][1]["temperature_celsius"] == 42
    assert "NVML crashed in nvmlDeviceGetTemperature of GPU-00000001: signal SIGSEGV" in found["crashed"]["error"]
