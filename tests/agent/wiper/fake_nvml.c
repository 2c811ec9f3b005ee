/*
 * A libnvidia-ml.so.1 for wipes and benchmarks: GPUs whose settings stand in a file and can be changed, with processes.
 *
 * The file is $FAKE_GPUS or /run/fake-gpus: a line with how it behaves ("answer", "hang", "segfault", "not_loaded",
 * "no_permission" to change anything), then
 *   gpu UUID persistence compute_mode power_mw graphics_mhz memory_mhz ecc ecc_pending mig mig_pending used_mib total_mib
 *   lost UUID
 *   process GPU PID MIB        (MIB -1: not told)
 *   sensors GPU MHZ MILLIWATTS CELSIUS REASONS USE_PERCENT
 * A file named like it with ".lost.UUID" behind is a GPU that was lost later; ".context.UUID.PID" is a process that
 * computes on one for as long as it lives (both are written by the benchmarks' stand-in for libcuda).
 * As a device it opens the file with ".device" behind its name, and it prints: the one must not end in the other.
 */
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 16
enum { PERSISTENCE, COMPUTE, POWER, GRAPHICS, MEMORY, ECC, ECC_PENDING, MIG, MIG_PENDING, USED, TOTAL, FIELDS };
struct gpu { char uuid[80]; long long is[FIELDS]; int lost; };
struct process { int gpu, pid; long long mib; };
struct listed { unsigned pid; unsigned long long used; unsigned instance, compute; };
static struct gpu gpus[MOST];
static struct process processes[MOST];
static unsigned sensors[MOST][5];
static int gpu_count, process_count;
static char mode[32];

static const char *file(void) { const char *path = getenv("FAKE_GPUS"); return path ? path : "/run/fake-gpus"; }

static void load(void) {
    char line[512];
    FILE *from = fopen(file(), "r");
    int number = 0, at = 0;
    gpu_count = process_count = 0;
    if (!from || fscanf(from, "%31s\n", mode) != 1) abort();
    while (fgets(line, sizeof line, from)) {
        struct gpu *gpu = gpus + gpu_count;
        struct process *one = processes + process_count;
        long long *is = gpu->is;
        if (sscanf(line, "gpu %79s %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld", gpu->uuid, is, is + 1, is + 2,
                   is + 3, is + 4, is + 5, is + 6, is + 7, is + 8, is + 9, is + 10) == 1 + FIELDS)
            gpu->lost = 0, gpu_count++;
        else if (sscanf(line, "lost %79s", gpu->uuid) == 1)
            gpu->lost = 1, gpu_count++;
        else if (sscanf(line, "process %d %d %lld", &one->gpu, &one->pid, &one->mib) == 3)
            process_count++;
        else if (sscanf(line, "sensors %d %n", &number, &at) == 1 && at)
            sscanf(line + at, "%u %u %u %u %u", sensors[number], sensors[number] + 1, sensors[number] + 2,
                   sensors[number] + 3, sensors[number] + 4);
    }
    fclose(from);
}

static void save(void) {
    FILE *to = fopen(file(), "w");
    fprintf(to, "%s\n", mode);
    for (int at = 0; at < gpu_count; at++) {
        fprintf(to, gpus[at].lost ? "lost %s" : "gpu %s", gpus[at].uuid);
        for (int field = 0; field < FIELDS && !gpus[at].lost; field++) fprintf(to, " %lld", gpus[at].is[field]);
        fprintf(to, "\n");
    }
    for (int at = 0; at < process_count; at++)
        fprintf(to, "process %d %d %lld\n", processes[at].gpu, processes[at].pid, processes[at].mib);
    fclose(to);
}

static struct gpu *of(void *handle) { load(); return gpus + (long)handle - 1; }
static int get(void *handle, int field, unsigned *value) {
    long long is = of(handle)->is[field];
    *value = is;
    return is < 0 ? 3 : 0; /* not supported */
}
static int set(void *handle, int field, long long value) {
    struct gpu *gpu = of(handle);
    if (!strcmp(mode, "no_permission")) return 4;
    gpu->is[field] = value;
    save();
    return 0;
}

int nvmlInitWithFlags(unsigned flags) {
    char name[512];
    (void)flags;
    load();
    snprintf(name, sizeof name, "%s.device", file());
    for (int at = 0; at < 3; at++) open(name, O_RDWR | O_CREAT, 0600);
    if (!strcmp(mode, "not_loaded")) return 9;
    if (!strcmp(mode, "hang")) for (;;) pause();
    if (!strcmp(mode, "segfault")) *(volatile int *)8 = 1;
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned *count) { load(); *count = gpu_count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    load();
    *gpu = (void *)(long)(index + 1);
    return gpus[index].lost ? 15 : 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **gpu) {
    load();
    for (int at = 0; at < gpu_count; at++)
        if (!strcmp(gpus[at].uuid, uuid)) return *gpu = (void *)(long)(at + 1), 0;
    return 6;
}
int nvmlDeviceGetUUID(void *gpu, char *out, unsigned size) {
    printf("NVML likes to print\n");
    fflush(stdout);
    return snprintf(out, size, "%s", of(gpu)->uuid) < 0;
}
int nvmlDeviceGetPersistenceMode(void *gpu, unsigned *is) { return get(gpu, PERSISTENCE, is); }
int nvmlDeviceGetComputeMode(void *gpu, unsigned *is) { return get(gpu, COMPUTE, is); }
int nvmlDeviceGetPowerManagementLimit(void *gpu, unsigned *is) { return get(gpu, POWER, is); }
int nvmlDeviceGetApplicationsClock(void *gpu, unsigned kind, unsigned *is) {
    return get(gpu, kind == 0 ? GRAPHICS : MEMORY, is);
}
int nvmlDeviceGetEccMode(void *gpu, unsigned *is, unsigned *pending) {
    return get(gpu, ECC, is) | get(gpu, ECC_PENDING, pending);
}
int nvmlDeviceGetMigMode(void *gpu, unsigned *is, unsigned *pending) {
    return get(gpu, MIG, is) | get(gpu, MIG_PENDING, pending);
}
int nvmlDeviceGetMemoryInfo(void *gpu, unsigned long long *memory) {
    struct gpu *one = of(gpu);
    memory[0] = one->is[TOTAL] << 20, memory[2] = one->is[USED] << 20, memory[1] = memory[0] - memory[2];
    return 0;
}
/* Adds the processes that have a context, as far as there is room; returns how many there are with them. */
static unsigned contexts(const char *uuid, unsigned here, unsigned room, struct listed *out) {
    char pattern[600];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s.context.%s.*", file(), uuid);
    if (glob(pattern, 0, NULL, &found)) return here;
    for (size_t at = 0; at < found.gl_pathc; at++) {
        int pid = atoi(strrchr(found.gl_pathv[at], '.') + 1);
        if (kill(pid, 0)) continue;
        if (here < room && out) out[here] = (struct listed){pid, 1 << 20, ~0U, ~0U};
        here++;
    }
    globfree(&found);
    return here;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, struct listed *out) {
    unsigned here = 0, room = *count;
    load();
    for (int at = 0; at < process_count; at++) {
        struct process *one = processes + at;
        if (one->gpu != (long)gpu - 1) continue;
        if (here < room && out)
            out[here] = (struct listed){one->pid, one->mib < 0 ? ~0ULL : (unsigned long long)one->mib << 20, ~0U, ~0U};
        here++;
    }
    here = contexts(gpus[(long)gpu - 1].uuid, here, room, out);
    *count = here;
    return here > room ? 7 : 0; /* insufficient size */
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *gpu, unsigned *count, void *out) {
    (void)gpu; (void)count; (void)out;
    return 3;
}
int nvmlDeviceSetPersistenceMode(void *gpu, unsigned is) { return set(gpu, PERSISTENCE, is); }
int nvmlDeviceSetComputeMode(void *gpu, unsigned is) { return set(gpu, COMPUTE, is); }
int nvmlDeviceSetPowerManagementLimit(void *gpu, unsigned is) { return set(gpu, POWER, is); }
int nvmlDeviceSetApplicationsClocks(void *gpu, unsigned memory, unsigned graphics) {
    return set(gpu, MEMORY, memory) | set(gpu, GRAPHICS, graphics);
}
int nvmlDeviceResetApplicationsClocks(void *gpu) { return set(gpu, MEMORY, 2000) | set(gpu, GRAPHICS, 1000); }

static int sense(void *handle, int which, unsigned *value) {
    char name[600];
    snprintf(name, sizeof name, "%s.lost.%s", file(), of(handle)->uuid);
    *value = sensors[(long)handle - 1][which];
    return access(name, F_OK) ? 0 : 15; /* GPU is lost */
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return snprintf(out, size, "550.90.07") < 0; }
int nvmlDeviceGetName(void *gpu, char *out, unsigned size) { (void)gpu; return snprintf(out, size, "Fake H100") < 0; }
int nvmlDeviceGetPciInfo_v3(void *gpu, char *out) {
    return snprintf(out + 36, 32, "00000000:%02lX:00.0", 0x17 + 0x10 * ((long)gpu - 1)) < 0;
}
int nvmlDeviceGetClockInfo(void *gpu, unsigned kind, unsigned *is) { (void)kind; return sense(gpu, 0, is); }
int nvmlDeviceGetMaxClockInfo(void *gpu, unsigned kind, unsigned *is) { (void)gpu; (void)kind; return *is = 1980, 0; }
int nvmlDeviceGetPowerUsage(void *gpu, unsigned *is) { return sense(gpu, 1, is); }
int nvmlDeviceGetEnforcedPowerLimit(void *gpu, unsigned *is) { return get(gpu, POWER, is); }
int nvmlDeviceGetTemperature(void *gpu, unsigned kind, unsigned *is) { (void)kind; return sense(gpu, 2, is); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *gpu, unsigned long long *is) {
    unsigned value;
    int code = sense(gpu, 3, &value);
    *is = value;
    return code;
}
int nvmlDeviceGetUtilizationRates(void *gpu, unsigned *is) { is[1] = 0; return sense(gpu, 4, is); }
int nvmlDeviceGetMaxPcieLinkGeneration(void *gpu, unsigned *is) { (void)gpu; return *is = 5, 0; }
int nvmlDeviceGetMaxPcieLinkWidth(void *gpu, unsigned *is) { (void)gpu; return *is = 16, 0; }
int nvmlDeviceGetCurrPcieLinkGeneration(void *gpu, unsigned *is) { (void)gpu; return *is = 4, 0; }
int nvmlDeviceGetCurrPcieLinkWidth(void *gpu, unsigned *is) { (void)gpu; return *is = 16, 0; }
