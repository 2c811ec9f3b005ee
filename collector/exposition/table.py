"""Which readings of a machine's report are shown, under which name and in which unit: a table and nothing else."""

from collector.exposition.figures import MBIT, MEGA, PREFIX, Figure, Shown, counter, gauge, ms, share
from collector.exposition.gpus import GPU, KERNEL_LOG
from collector.exposition.text import Family

_CPU = (
    gauge("cpu", "logical_cpus", "cpus", "CPUs the kernel schedules on."),
    gauge("cpu", "physical_cores", "cpu_cores", "Cores, without hyper-threads."),
    gauge("cpu", "offline_cpus", "cpus_offline", "CPUs that are there and switched off."),
    share("cpu", "use_percent", "cpu_use", "Share of time not idle and not waiting for disks."),
    share("cpu", "user_percent", "cpu_user", "Share of time in programs."),
    share("cpu", "system_percent", "cpu_system", "Share of time in the kernel."),
    share("cpu", "iowait_percent", "cpu_iowait", "Share of time idle while a disk had work."),
    share("cpu", "steal_percent", "cpu_steal", "Share of time the hypervisor gave to others."),
    share("cpu", "pressure_some_percent", "cpu_pressure", "Share of time in which some task waited for a CPU."),
    gauge("cpu", "load_1", "load1", "Mean number of running and blocked tasks over 1 minute."),
    gauge("cpu", "load_5", "load5", "Mean number of running and blocked tasks over 5 minutes."),
    gauge("cpu", "load_15", "load15", "Mean number of running and blocked tasks over 15 minutes."),
    gauge("cpu", "frequency_mhz", "cpu_frequency_hertz", "Mean frequency of some cores.", times=MEGA),
    gauge("cpu", "frequency_max_mhz", "cpu_frequency_max_hertz", "Highest frequency of a core.", times=MEGA),
    gauge("cpu", "temperature_celsius", "cpu_temperature_celsius", "Temperature of the CPU.", "sensor"),
    counter("cpu", "throttle_count", "cpu_throttles", "Times a CPU package got too hot since boot.", "package"),
)

_MEMORY = (
    gauge("memory", "total_bytes", "memory_size_bytes", "Memory the kernel manages."),
    gauge("memory", "available_bytes", "memory_available_bytes", "What new programs could get without swapping."),
    share("memory", "used_percent", "memory_used", "Share of memory that is not available."),
    gauge("memory", "swap_total_bytes", "swap_size_bytes", "Swap space."),
    gauge("memory", "swap_used_bytes", "swap_used_bytes", "Swap in use."),
    share("memory", "pressure_some_percent", "memory_pressure", "Share of time some task waited for memory."),
    share("memory", "pressure_full_percent", "memory_pressure_full", "Share of time all tasks waited for memory."),
    counter("memory", "oom_kills", "oom_kills", "Processes killed for want of memory since boot."),
    counter(
        "memory", "corrected_errors", "memory_errors", "Memory errors since boot.", "module", ("kind", "corrected")
    ),
    counter(
        "memory", "uncorrected_errors", "memory_errors", "Memory errors since boot.", "module", ("kind", "uncorrected")
    ),
)

_DISKS = (
    gauge("disks", "size_bytes", "filesystem_size_bytes", "Size of the file system.", "mountpoint"),
    gauge("disks", "used_bytes", "filesystem_used_bytes", "Used of the file system.", "mountpoint"),
    gauge("disks", "available_bytes", "filesystem_available_bytes", "Free for everybody but root.", "mountpoint"),
    share("disks", "used_percent", "filesystem_used", "Share of the file system that is used.", "mountpoint"),
    share("disks", "inodes_used_percent", "filesystem_inodes_used", "Share of inodes used.", "mountpoint"),
    gauge("disks", "read_only", "filesystem_read_only", "1 if the file system is read-only.", "mountpoint"),
    gauge("disks", "device_size_bytes", "disk_size_bytes", "Size of the device.", "device"),
    gauge("disks", "read_mb_s", "disk_read_bytes_per_second", "Bytes read a second.", "device", times=MEGA),
    gauge("disks", "write_mb_s", "disk_write_bytes_per_second", "Bytes written a second.", "device", times=MEGA),
    share("disks", "busy_percent", "disk_busy", "Share of time with a request in flight.", "device"),
    gauge("disks", "temperature_celsius", "disk_temperature_celsius", "Temperature of the device.", "device"),
    counter("disks", "io_errors", "disk_io_errors", "Requests that ended in an error since boot.", "device"),
    share("disks", "pressure_some_percent", "disk_pressure", "Share of time some task waited for a disk."),
    counter("disks", "io_timeouts", "disk_io_timeouts", "Requests that timed out since boot.", "device"),
    Figure(
        indicator="disks",
        reading="error",
        item="mountpoint",
        family=Family(name=f"{PREFIX}filesystem_unreadable", words="1 for each file system that does not answer."),
        shown=Shown.THERE,
    ),
    gauge("arrays", "missing_disks", "array_missing_disks", "Disks that the array lacks.", "array"),
    share("arrays", "rebuilt_percent", "array_rebuilt", "How much of a rebuild or check is done.", "array"),
    Figure(
        indicator="smart",
        reading="health",
        item="device",
        family=Family(name=f"{PREFIX}disk_failing", words="1 if the disk itself says that it fails."),
        shown=Shown.WORD,
        word="failed",
    ),
    share("smart", "wear_percent", "disk_wear", "Share of the device's rated life that is used up.", "device"),
    share("smart", "spare_percent", "disk_spare", "Share of spare blocks that is left.", "device"),
    counter("smart", "media_errors", "disk_media_errors", "Reads and writes the device could not do.", "device"),
    gauge("smart", "reallocated_sectors", "disk_reallocated_sectors", "Sectors replaced by spare ones.", "device"),
    gauge("smart", "pending_sectors", "disk_pending_sectors", "Sectors that could not be read.", "device"),
    gauge(
        "smart", "uncorrectable_sectors", "disk_uncorrectable_sectors", "Sectors that a scan could not read.", "device"
    ),
    counter("smart", "cable_errors", "disk_cable_errors", "Transfers that arrived damaged.", "device"),
    gauge("smart", "power_on_hours", "disk_power_on_seconds", "How long the disk has run.", "device", times=3600),
)

_NETWORK = (
    gauge("network", "up", "network_up", "1 if the link works.", "interface"),
    gauge(
        "network",
        "speed_mbit_s",
        "network_speed_bytes_per_second",
        "Negotiated speed of the link.",
        "interface",
        times=MBIT,
    ),
    gauge(
        "network",
        "receive_mb_s",
        "network_receive_bytes_per_second",
        "Bytes received a second.",
        "interface",
        times=MEGA,
    ),
    gauge(
        "network",
        "send_mb_s",
        "network_transmit_bytes_per_second",
        "Bytes sent a second.",
        "interface",
        times=MEGA,
    ),
    counter("network", "errors", "network_errors", "Packets with an error since the link was made.", "interface"),
    counter("network", "drops", "network_drops", "Packets dropped since the link was made.", "interface"),
    counter("network", "carrier_changes", "network_carrier_changes", "Times the carrier came or went.", "interface"),
    ms("network", "collector_rtt_ms", "collector_round_trip", "Round trip to the collector, by TCP's own measure."),
    share("network", "collector_resent_percent", "collector_resent", "Share of bytes to the collector sent again."),
)

_SYSTEM = (
    gauge("system", "uptime_s", "uptime_seconds", "Seconds since boot."),
    gauge("system", "clock_synchronized", "clock_synchronized", "1 if a time service keeps the clock right."),
    ms("system", "clock_offset_ms", "clock_offset", "What the time service still has to correct."),
    gauge("system", "failed_units", "failed_units", "Units of the service manager that failed."),
    gauge("system", "processes_blocked", "processes_blocked", "Tasks that wait for a disk right now."),
    gauge("system", "reboot_pending", "reboot_pending", "1 if a package or a newer kernel waits for a reboot."),
    gauge("system", "users_logged_in", "users_logged_in", "Different users who are logged in."),
    gauge("processes", "total", "processes", "Processes."),
    gauge("processes", "uninterruptible", "processes_uninterruptible", "Processes that cannot be killed (state D)."),
    gauge("processes", "stuck", "processes_stuck", "Processes that have been in state D for five minutes."),
    share("processes", "threads_used_percent", "threads_used", "Share of the threads there may be."),
    share("processes", "open_files_used_percent", "open_files_used", "Share of the open files there may be."),
    gauge("processes", "zombies", "processes_zombie", "Processes not collected by their parent (state Z)."),
    gauge("agent", "resident_bytes", "agent_memory_bytes", "Memory of the agent's process."),
    counter("agent", "cpu_s", "agent_cpu_seconds", "CPU time of the agent's process."),
    ms("agent", "loop_lag_ms", "agent_loop_lag", "How late the agent ran its timers, at most, since its last report."),
    gauge("agent", "outbox_depth", "agent_outbox_reports", "Reports that wait at the machine for the collector."),
    counter("agent", "dropped_samples", "agent_dropped_reports", "Reports dropped because the outbox was full."),
)


FIGURES: tuple[Figure, ...] = (*_CPU, *_MEMORY, *_DISKS, *_NETWORK, *_SYSTEM, *KERNEL_LOG, *GPU)
