/*
 * A libnvidia-ml.so.1 for tests: GPU 1 answers everything, like an H100 with a new driver; every other one is like a
 * consumer's card with an old driver.
 *
 * What goes wrong stands in the file FAKE_NVML_CONTROL, or in the variable FAKE_NVML, and is read before each call: one
 * "ACTION CALL GPU NUMBER" a line or between semicolons; GPU 1 is the first, 0 means all, CALL "*" every one.
 *
 *   hang CALL GPU        never return            error CALL GPU CODE    return an error
 *   stuck CALL GPU       look at FAKE_NVML_STUCK slow CALL GPU SECONDS  sleep first
 *   abort|segfault CALL GPU                      value CALL GPU NUMBER  the number that this call tells
 *   count * 0 NUMBER     how many GPUs there are (2)
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *control(char *room, size_t size) {
    const char *path = getenv("FAKE_NVML_CONTROL"), *said = getenv("FAKE_NVML");
    room[0] = 0;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file) {
        room[fread(room, 1, size - 1, file)] = 0;
        fclose(file);
    } else if (said) {
        snprintf(room, size, "%s", said);
    }
    for (char *c = room; *c; c++)
        if (*c == ';') *c = '\n';
    return room;
}

/* Find a line for this call; 1 when there is one. */
static int found(const char *wanted, const char *call, long gpu, double *number) {
    char room[4096], action[64], name[96];
    for (const char *line = control(room, sizeof room); line; line = strchr(line, '\n')) {
        long which = 0;
        if (*line == '\n') line++;
        *number = 0;
        if (sscanf(line, "%63s %95s %ld %lf", action, name, &which, number) < 2) continue;
        if (strcmp(action, wanted) || (strcmp(name, "*") && strcmp(name, call))) continue;
        if (which == 0 || which == gpu) return 1;
    }
    return 0;
}

/* Do what is wanted of this call, and return NVML's code. */
static int act(const char *call, void *handle) {
    double number;
    long gpu = (long)handle;
    struct stat nothing;
    if (found("slow", call, gpu, &number)) usleep((useconds_t)(number * 1e6));
    if (found("hang", call, gpu, &number)) for (;;) pause();
    if (found("stuck", call, gpu, &number)) stat(getenv("FAKE_NVML_STUCK"), &nothing);
    if (found("abort", call, gpu, &number)) abort();
    if (found("segfault", call, gpu, &number)) *(volatile int *)8 = 1;
    if (found("error", call, gpu, &number)) return (int)number;
    return 0;
}

static double value(const char *call, void *handle, double otherwise) {
    double number;
    return found("value", call, (long)handle, &number) ? number : otherwise;
}

#define ACT(handle) do { int code = act(__func__, handle); if (code) return code; } while (0)
#define RICH(handle) do { ACT(handle); if (handle != (void *)1) return 3; } while (0)
#define ONE(type, name, number) \
    int name(void *gpu, type *out) { ACT(gpu); *out = (type)value(__func__, gpu, number); return 0; }
#define ONE_RICH(type, name, number) \
    int name(void *gpu, type *out) { RICH(gpu); *out = (type)value(__func__, gpu, number); return 0; }

int nvmlInit_v2(void) { ACT(NULL); return 0; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; ACT(NULL); return 0; }
const char *nvmlErrorString(int code) {
    return code == 15 ? "GPU is lost" : code == 16 ? "GPU requires reset" : code == 3 ? "Not Supported" : "Unknown Error";
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { ACT(NULL); return snprintf(out, size, "550.90.07") < 0; }
int nvmlDeviceGetCount_v2(unsigned *count) {
    double number;
    ACT(NULL);
    *count = found("count", "*", 0, &number) ? (unsigned)number : 2;
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    ACT((void *)(long)(index + 1));
    *gpu = (void *)(long)(index + 1);
    return 0;
}
int nvmlDeviceGetUUID(void *gpu, char *out, unsigned size) {
    ACT(gpu);
    return snprintf(out, size, "GPU-%08ld-aaaa-bbbb-cccc-dddddddddddd", (long)gpu) < 0;
}
int nvmlDeviceGetName(void *gpu, char *out, unsigned size) {
    ACT(gpu);
    printf("NVML likes to print\n");
    fflush(stdout);
    return snprintf(out, size, "Fake H100") < 0;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(void *gpu, struct pci *pci) {
    ACT(gpu);
    return snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02lX:00.0", 0x0a + (long)gpu) < 0;
}
int nvmlDeviceGetTemperature(void *gpu, int sensor, unsigned *celsius) {
    (void)sensor;
    ACT(gpu);
    *celsius = (unsigned)value(__func__, gpu, 40 + (double)(long)gpu);
    return 0;
}
int nvmlDeviceGetTemperatureThreshold(void *gpu, int which, unsigned *celsius) {
    RICH(gpu);
    *celsius = which == 1 ? 87 : 92;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *gpu, unsigned *rates) { RICH(gpu); rates[0] = 97, rates[1] = 40; return 0; }
int nvmlDeviceGetMemoryInfo(void *gpu, unsigned long long *memory) {
    ACT(gpu);
    memory[0] = 80, memory[1] = 60, memory[2] = 20; /* total, free, used */
    return 0;
}
ONE(unsigned, nvmlDeviceGetPowerUsage, 70500)
ONE_RICH(unsigned, nvmlDeviceGetEnforcedPowerLimit, 700000)
int nvmlDeviceGetClockInfo(void *gpu, int which, unsigned *mhz) { RICH(gpu); *mhz = which == 1 ? 1755 : 2619; return 0; }
int nvmlDeviceGetMaxClockInfo(void *gpu, int which, unsigned *mhz) { RICH(gpu); *mhz = which == 1 ? 1980 : 2619; return 0; }
ONE(unsigned long long, nvmlDeviceGetCurrentClocksThrottleReasons, 4)
ONE_RICH(unsigned, nvmlDeviceGetCurrPcieLinkGeneration, 5)
ONE_RICH(unsigned, nvmlDeviceGetMaxPcieLinkGeneration, 5)
ONE_RICH(unsigned, nvmlDeviceGetCurrPcieLinkWidth, 8)
ONE_RICH(unsigned, nvmlDeviceGetMaxPcieLinkWidth, 16)
ONE_RICH(unsigned, nvmlDeviceGetPcieReplayCounter, 12)
ONE_RICH(unsigned, nvmlDeviceGetPersistenceMode, 1)
ONE_RICH(unsigned, nvmlDeviceGetRetiredPagesPendingStatus, 1)
int nvmlDeviceGetMigMode(void *gpu, unsigned *now, unsigned *pending) { RICH(gpu); *now = 0, *pending = 1; return 0; }
int nvmlDeviceGetEccMode(void *gpu, unsigned *now, unsigned *pending) { RICH(gpu); *now = 1, *pending = 1; return 0; }
int nvmlDeviceGetTotalEccErrors(void *gpu, int kind, int counter, unsigned long long *count) {
    RICH(gpu);
    *count = (unsigned long long)value(__func__, gpu, 100 * kind + 10 * counter + 7);
    return 0;
}
int nvmlDeviceGetRemappedRows(void *gpu, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    RICH(gpu);
    *corrected = 3, *uncorrected = 2, *pending = 1, *failed = 0;
    return 0;
}
int nvmlDeviceGetRetiredPages(void *gpu, int cause, unsigned *count, uint64_t *pages) {
    (void)pages;
    RICH(gpu);
    *count = cause == 0 ? 4 : 1;
    return 7; /* insufficient size: no room was given */
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *gpu, unsigned *count, void *infos) {
    (void)infos;
    ACT(gpu);
    *count = gpu == (void *)1 ? 2 : 0;
    return *count ? 7 : 0;
}
int nvmlDeviceGetNvLinkState(void *gpu, unsigned link, unsigned *active) {
    RICH(gpu);
    if (link >= 18) return 2; /* invalid argument: there is no such link */
    *active = link != 5;
    return 0;
}
struct violation { unsigned long long reference_us, violation_ns; };
int nvmlDeviceGetViolationStatus(void *gpu, int policy, struct violation *time) {
    ACT(gpu);
    double now = value(__func__, gpu, -1);
    if (now < 0) return 3;
    time->reference_us = 1, time->violation_ns = policy == 1 ? (unsigned long long)now : 0;
    return 0;
}
struct field { unsigned id, scope; int64_t timestamp, latency; unsigned kind, code; union { double d; unsigned ui; unsigned long long ull; int si; } value; };
int nvmlDeviceGetFieldValues(void *gpu, int count, struct field *fields) {
    RICH(gpu);
    for (struct field *one = fields; one < fields + count; one++) {
        char name[32];
        snprintf(name, sizeof name, "field%u", one->id);
        one->code = 0, one->kind = 3;
        switch (one->id) {
        case 82: one->kind = 1, one->value.ui = 51; break;
        case 74: case 269: case 270: case 271: one->value.ull = (unsigned long long)value(name, gpu, 0); break;
        case 38: case 45: case 52: case 59: one->value.ull = one->id; break;
        default: one->code = 3;
        }
    }
    return 0;
}
