"""SMART as smartd wrote it down."""

from collections.abc import Callable

from agent.indicators import NotHere, smart
from agent.indicators.smart import Attribute, parse_ata, parse_attributes, parse_log, parse_state, parse_warnings

FOLDER = "/var/lib/smartmontools"


def test_a_disk_that_says_it_fails_has_failed(recorded: Callable) -> None:
    """Smartd remembers the warning it sent of the health status; other disks of the machine have passed."""
    values = smart.read(recorded("raid-degraded"), None).values
    assert values["health"] == {"sda": "passed", "sdb": "failed", "sdc": "passed"}
    assert values["warnings"] == {"sdb": "Health, SelfTest, CurrentPendingSector"}
    assert (values["reallocated_sectors"]["sdb"], values["pending_sectors"]["sdb"]) == (3968, 48)


def test_a_disk_that_is_gone_is_not_told_of(recorded: Callable) -> None:
    """Smartd leaves its files behind; udev no longer has its serial number."""
    values = smart.read(recorded("raid-degraded"), None).values
    assert "WSD0GONE" not in str(values)


def test_where_udev_tells_no_names_smartd_s_own_are_used(bench: Callable) -> None:
    """As in a container: better a long name than none."""
    machine = bench("raid-degraded")
    machine.remove("/dev")
    values = smart.read(machine.host, None).values
    assert values["health"]["INTEL_SSDSC2KB480G8-PHYF000000000481BGN"] == "failed"


def test_a_scsi_disk_tells_what_it_could_not_correct_and_no_health(recorded: Callable) -> None:
    """Over reads, writes and checks; without a state file nobody knows what smartd warned of."""
    values = smart.read(recorded("raid-degraded"), None).values
    assert values["media_errors"] == {"sdf": 5}
    assert "sdf" not in values["health"]


def test_nvme_is_read_from_the_last_line_of_the_log(recorded: Callable) -> None:
    """The second, of which the hours are one more."""
    values = smart.read(recorded("gpu-server"), None).values
    assert values["power_on_hours"] == {"nvme0n1": 9100, "nvme1n1": 9100, "nvme2n1": 9099}
    assert values["wear_percent"] == {"nvme0n1": 3, "nvme1n1": 12, "nvme2n1": 14}


def test_a_critical_warning_is_the_disk_s_own_verdict(bench: Callable) -> None:
    """Bit 2: reliability is degraded."""
    machine = bench("gpu-server")
    file = f"{FOLDER}/attrlog.SAMSUNG_MZQL23T8HCLS_00A07-S64HNE0R000001-n1.nvme.csv"
    machine.write(
        file, "2026-11-29 21:20:11;\tcritical-warning;4;\tavailable-spare;3;\tavailable-spare-threshold;10;\n"
    )
    values = smart.read(machine.host, None).values
    assert values["health"] == {"nvme0n1": "passed", "nvme1n1": "failed", "nvme2n1": "passed"}
    assert values["spare_percent"]["nvme1n1"] == 3


def test_without_a_log_the_state_file_is_read(bench: Callable) -> None:
    """Smartd leaves out what is 0: no media error is one that is known."""
    machine = bench("gpu-server")
    machine.remove(f"{FOLDER}/attrlog.SAMSUNG_MZQL23T8HCLS_00A07-S64HNE0R000001-n1.nvme.csv")
    values = smart.read(machine.host, None).values
    assert (values["spare_percent"]["nvme1n1"], values["media_errors"]["nvme1n1"]) == (100, 0)
    assert "nvme1n1" not in values["logged_at"]


def test_a_line_that_is_being_written_is_not_read() -> None:
    """The last whole one is."""
    at, entries = parse_log("2026-01-01 00:00:00;\t5;100;0;\n2026-01-01 00:30:00;\t5;10")
    assert (at, entries) == ("2026-01-01 00:00:00", {"5": ("100", "0")})
    assert parse_log("cut") == ("", {})


def test_a_log_of_years_is_read_from_its_end(bench: Callable) -> None:
    """A hundred thousand lines; the beginning is cut anywhere."""
    machine = bench("raid-degraded")
    line = "2026-01-01 00:00:00;\t5;100;1;\t9;95;7;\n"
    machine.write(
        f"{FOLDER}/attrlog.ST8000NM000A_2KE101-WSD00001.ata.csv", line * 100_000 + line.replace("9;95;7", "9;95;8")
    )
    assert smart.read(machine.host, None).values["power_on_hours"]["sdc"] == 8


def test_attributes_of_a_state_file_are_found_by_their_ids() -> None:
    """Their places in the file are the disk's own; a raw value of 0 is not written."""
    state = parse_state(
        "# smartd state file\nata-smart-attribute.7.id = 197\nata-smart-attribute.7.val = 100\nmail.10.count = 2\nx\n"
    )
    assert parse_attributes(state) == {197: Attribute(100, 0)}
    assert parse_warnings(state) == ("CurrentPendingSector",)


def test_wear_is_what_the_plainest_attribute_leaves() -> None:
    """Makers differ; hard disks have none."""
    assert parse_ata({231: Attribute(88, 0), 177: Attribute(10, 0)})["wear_percent"] == 12
    assert parse_ata({233: Attribute(110, 0)})["wear_percent"] == 0
    assert "wear_percent" not in parse_ata({5: Attribute(100, 0)})


def test_hours_without_the_minutes_that_some_makers_put_above_them() -> None:
    """Or a disk would be a hundred thousand years old."""
    assert parse_ata({9: Attribute(95, (55 << 32) | 21_034)})["power_on_hours"] == 21_034


def test_without_smartd_there_is_a_hint_and_the_controllers_state(recorded: Callable) -> None:
    """Where there is not even a controller, nothing is here to be told."""
    values = smart.read(recorded("arm64"), None).values
    assert values["controller_state"] == {"nvme0": "live"}
    assert "install smartmontools" in values["hint"]
    found = smart.read(recorded("plain-vm"), None)
    assert isinstance(found, NotHere)
    assert "install smartmontools" in found.reason


def test_files_that_may_not_be_read_are_as_if_not_there(bench: Callable) -> None:
    """Smartd's own choice of modes."""
    machine = bench("raid-degraded")
    disk = "INTEL_SSDSC2KB480G8-PHYF000000000481BGN"
    machine.answer(forbidden=[f"{FOLDER}/smartd.{disk}.ata.state", f"{FOLDER}/attrlog.{disk}.ata.csv"])
    assert "sdb" not in smart.read(machine.host, None).values["health"]
