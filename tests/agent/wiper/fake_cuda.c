/*
 * A libcuda.so.1 for wipes: the GPU of $CUDA_VISIBLE_DEVICES in the file of fake_nvml.c, half of whose free memory is the
 * largest piece it gives. What was filled is written to that file's name with ".filled" behind it, a line a GPU.
 * The mode "cuda_hang" never gets ready, "cuda_refuses" makes no context.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *file(void) { const char *path = getenv("FAKE_GPUS"); return path ? path : "/run/fake-gpus"; }
static unsigned long long used, total, taken, filled, next = 4096;
static char mode[32];

int cuInit(unsigned flags) {
    char line[512], uuid[80];
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    FILE *from = fopen(file(), "r");
    (void)flags;
    if (!from || fscanf(from, "%31s\n", mode) != 1) return 100;
    while (fgets(line, sizeof line, from))
        if (sscanf(line, "gpu %79s %*d %*d %*d %*d %*d %*d %*d %*d %*d %llu %llu", uuid, &used, &total) == 3 &&
            wanted && !strcmp(uuid, wanted))
            return fclose(from), used <<= 20, total <<= 20, 0;
    fclose(from);
    return 100; /* no device */
}
int cuDeviceGet(int *device, int number) { *device = number; return number ? 101 : 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = &used;
    return !strcmp(mode, "cuda_refuses") ? 46 : 0; /* device unavailable */
}
int cuCtxSetCurrent(void *context) { return context != &used; }
int cuMemGetInfo_v2(size_t *free, size_t *all) { *free = total - used - taken; *all = total; return 0; }
int cuMemAlloc_v2(unsigned long long *address, size_t size) {
    if (size > (total - used - taken) / 2 + 1) return 2;
    *address = next;
    next += size;
    taken += size;
    return 0;
}
int cuMemsetD8_v2(unsigned long long address, unsigned char value, size_t size) {
    (void)address;
    if (value) return 1;
    filled += size;
    return 0;
}
int cuCtxSynchronize(void) {
    char name[512];
    FILE *to;
    if (!strcmp(mode, "cuda_hang")) for (;;) pause();
    snprintf(name, sizeof name, "%s.filled", file());
    to = fopen(name, "w");
    if (!to) return 0; /* where it may write nothing */
    fprintf(to, "%llu\n", filled >> 20);
    return fclose(to);
}
