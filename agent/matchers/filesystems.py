"""
File systems that found themselves damaged, or could not be written any more.

Source: Linux, fs/ext4/super.c; fs/xfs/xfs_message.c, xfs_error.c and xfs_fsops.c; fs/btrfs/messages.c and
fs/btrfs/inode.c; OpenZFS, module/os/linux/spl and module/zfs/spa_misc.c.
"""

import re

from agent.matchers import Event, Matcher

_DEVICE = r"([\w!.-]{1,40})"
_LINES = (
    (re.compile(rf"EXT4-fs error \(device {_DEVICE}\)"), "ext4 error"),
    (re.compile(rf"EXT4-fs \({_DEVICE}\): Remounting filesystem read-only"), "ext4 turned read-only"),
    (re.compile(rf"EXT4-fs \({_DEVICE}\): I/O error while writing superblock"), "ext4 superblock not written"),
    (
        re.compile(rf"EXT4-fs \({_DEVICE}\): (?:warning: mounting fs with errors|error count since last fsck)"),
        "ext4 not checked",
    ),
    (
        re.compile(
            rf"XFS \({_DEVICE}\): (?:Metadata (?:corruption|CRC error) detected|Corruption of in-memory data"
            r"|Internal error|Corruption warning|metadata I/O error|log I/O error|Filesystem has been shut down)"
        ),
        "XFS error",
    ),
    (re.compile(rf"BTRFS(?: error| critical|: error) \(device {_DEVICE}(?:: state \w{{1,8}})?\)"), "btrfs error"),
    (re.compile(rf"BTRFS warning \(device {_DEVICE}\): csum failed"), "btrfs checksum wrong"),
    (re.compile(rf"BTRFS info \(device {_DEVICE}(?:: state \w{{1,8}})?\): forced readonly"), "btrfs turned read-only"),
    (re.compile(r"WARNING: Pool '([\w.:-]{1,40})' has encountered an uncorrectable I/O failure"), "ZFS pool suspended"),
)


def match(text: str) -> Event | None:
    """Return the file system's trouble in a line."""
    for line, words in _LINES:
        if found := line.match(text):
            return Event(reading="filesystem_errors", words=f"{found[1]}: {words}", item=found[1])
    return None


MATCHER = Matcher(
    name="filesystems",
    match=match,
    describes={"filesystem_errors": "by device: damage found and writes given up by a file system, since boot"},
)
