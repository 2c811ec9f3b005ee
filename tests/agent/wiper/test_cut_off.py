"""A wiper that is killed in each of its steps: asked again it ends as if it had not been."""

import pytest

from agent.wiper.plan import plan, promised
from shared.codec import decode
from shared.documents import WipeWork
from shared.messages import Progress
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

pytestmark = [pytest.mark.root, pytest.mark.slow]

METHODS = (WipeMethod.USER_DELETION,)
MOMENTS = (*dict.fromkeys(one.step for one in plan(METHODS)), f"verify {promised(METHODS)[0]}", "verify elsewhere")
LIVE = """
set -e
name=$1 uid=$2
for n in $(seq 300); do echo x > /home/$name/f$n; done
mkdir -p /tmp/$name/a /var/spool/cron/crontabs
echo x > /tmp/$name/a/b; echo x > /dev/shm/$name; echo '* * * * * x' > /var/spool/cron/crontabs/$name
chown -R $name: /home/$name /tmp/$name /dev/shm/$name /var/spool/cron/crontabs/$name
setpriv --reuid=$uid --regid=$uid --clear-groups sh -c 'ipcmk -M 4096; setsid sleep 600 < /dev/null > /dev/null 2>&1 &'
mount -t tmpfs memory /home/$name/.ssh
"""
LEFT = """
name=$1 uid=$2
for top in / /tmp /dev/shm /home /run; do find $top -xdev -uid $uid; done 2>/dev/null
grep -s "^$name:" /etc/passwd /etc/shadow /etc/group
ls -A /home /var/spool/cron/crontabs | grep -e "$name" -e rackproof-wipe
grep -w $uid /proc/sysvipc/shm
pgrep -u $uid
grep "/home/$name" /proc/self/mountinfo
true
"""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_wiper_killed_in_a_step_goes_on_when_asked_again(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform, moment: str
) -> None:
    """One answer, the same ever after; nothing is left, and it is a success."""
    target = root_wiper.grant(machine_platform.grant(f"cut{MOMENTS.index(moment)}"))
    words = (target.username, str(target.uid))
    machine.run("sh", "-c", LIVE, "sh", *words)
    work = WipeWork(target=target, methods=METHODS)
    command = machine_platform.command(machine_platform.order(work))
    process = root_wiper.start(command)
    assert process.stdout is not None
    assert any(_is_at(line, moment) for line in process.stdout), "it never came there"
    machine.run("pkill", "-KILL", "-f", "agent[.]wiper --state")
    process.communicate(timeout=60)
    first = root_wiper.raw(command)
    assert root_wiper.raw(command) == first.splitlines(keepends=True)[-1]
    evidence = root_wiper.wipe(command)
    assert evidence.methods[0].status is WipeStatus.SUCCESS, evidence
    assert [one.ended_at is None for one in evidence.attempts] == [True, False]
    assert machine.run("sh", "-c", LEFT, "sh", *words) == ""


def _is_at(line: bytes, moment: str) -> bool:
    message = decode(line)
    return isinstance(message, Progress) and message.step == moment
