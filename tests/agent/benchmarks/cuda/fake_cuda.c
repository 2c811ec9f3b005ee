/*
 * A libcuda.so.1 for benchmarks: the GPU of $CUDA_VISIBLE_DEVICES (or the first) in the file of ../../wiper/fake_nvml.c.
 *
 * Memory is the machine's, copies are made, and time is a model of a device's: what is begun is put behind what it still
 * has to do, and a wait lasts until that moment. Lines "fault GPU WHAT" in the file make one of the GPUs ill:
 *   no_device, exclusive, not_ready, old, ancient   there is no context, or the driver is for an older CUDA
 *   no_memory                                       nothing can be taken
 *   hang, crash, lost, silent                       after 0.3 s of work; "silent" is lost, and only CUDA says so
 *   slow                                            half as fast
 *   wrong, tf32                                     it computes wrongly (fake_cublas.c)
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_S 0.3
static char uuid[80], fault[32];
static unsigned long long used, total, taken, changes;
static double ready_s, worked_s;
static int number;

static const char *file(void) { const char *path = getenv("FAKE_GPUS"); return path ? path : "/run/fake-gpus"; }
static int ill(const char *what) { return !strcmp(fault, what); }
static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}
static void leave(const char *kind, const char *more) {
    char name[700];
    snprintf(name, sizeof name, "%s.%s.%s%s", file(), kind, uuid, more);
    FILE *to = fopen(name, "w");
    if (to) fclose(to);
}

/* For fake_cublas.c. */
int fake_is(const char *what) { return ill(what); }
unsigned long long fake_changes(void) { return changes; }
void fake_work(double seconds) {
    double now = now_s();
    worked_s += seconds;
    ready_s = (ready_s > now ? ready_s : now) + seconds * (ill("slow") ? 2 : 1);
}

int cuInit(unsigned flags) {
    char line[512], one[80], what[32], mode[32];
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    unsigned long long is_used, is_total;
    int count = 0, which;
    FILE *from = fopen(file(), "r");
    (void)flags;
    number = -1;
    if (!from || fscanf(from, "%31s\n", mode) != 1) return 100;
    while (fgets(line, sizeof line, from)) {
        if (sscanf(line, "gpu %79s %*d %*d %*d %*d %*d %*d %*d %*d %*d %llu %llu", one, &is_used, &is_total) == 3) {
            if (number < 0 && (!wanted || !strcmp(one, wanted)))
                number = count, strcpy(uuid, one), used = is_used << 20, total = is_total << 20;
            count++;
        }
        if (sscanf(line, "fault %d %31s", &which, what) == 2 && which == number) strcpy(fault, what);
    }
    fclose(from);
    return number < 0 || ill("no_device") ? 100 : ill("not_ready") ? 802 : 0;
}
int cuDriverGetVersion(int *version) { return *version = ill("ancient") ? 10020 : ill("old") ? 11040 : 12040, 0; }
int cuGetErrorName(int code, const char **name) {
    *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_SOMETHING";
    return 0;
}
int cuDeviceGet(int *device, int which) { *device = which; return which ? 101 : 0; }
int cuDeviceGetUuid(unsigned char *raw, int device) {
    (void)device;
    memset(raw, 0, 16);
    raw[15] = number + 1;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 16 ? 132 : attribute == 75 ? 9 : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    char pid[16];
    (void)device;
    if (ill("exclusive")) return 46;
    snprintf(pid, sizeof pid, ".%d", getpid());
    leave("context", pid);
    *context = uuid;
    return 0;
}
int cuCtxSetCurrent(void *context) { return context != uuid; }
int cuMemGetInfo_v2(size_t *free, size_t *all) { *free = total - used - taken; *all = total; return 0; }
int cuMemAlloc_v2(unsigned long long *address, size_t size) {
    if (ill("no_memory") || size > total - used - taken) return 2;
    taken += size;
    return !(*address = (unsigned long long)malloc(size));
}
int cuMemFree_v2(unsigned long long address) { free((void *)address); return 0; }
int cuMemHostAlloc(void **address, size_t size, unsigned flags) { return flags || !(*address = calloc(size, 1)); }
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t size) {
    changes++;
    memcpy((void *)to, from, size);
    return 0;
}
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t size) { memcpy(to, (void *)from, size); return 0; }
static int copied(void *to, const void *from, size_t size) {
    memcpy(to, from, size);
    fake_work(size / 10e9);
    return 0;
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t size, void *stream) {
    (void)stream;
    return copied((void *)to, (void *)from, size);
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t size, void *stream) {
    (void)stream;
    return copied((void *)to, from, size);
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t size, void *stream) {
    (void)stream;
    return copied(to, (void *)from, size);
}
int cuEventCreate(double **event, unsigned flags) { return !(*event = malloc(sizeof **event)) || flags != 1; }
int cuEventRecord(double *event, void *stream) {
    double now = now_s();
    (void)stream;
    *event = ready_s > now ? ready_s : now;
    return 0;
}
int cuEventSynchronize(const double *event) {
    int late = worked_s > LIMIT_S;
    double left = *event - now_s();
    if (late && ill("hang")) for (;;) pause();
    if (late && ill("crash")) *(volatile int *)8 = 1;
    if (late && ill("lost")) leave("lost", "");
    if (late && (ill("lost") || ill("silent"))) return 719;
    if (left > 0) usleep(left * 1e6);
    return 0;
}
int cuEventElapsedTime(float *passed_ms, const double *first, const double *second) {
    *passed_ms = (*second - *first) * 1000;
    return 0;
}
