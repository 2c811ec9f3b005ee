/* A libnvidia-ml.so.1 for tests: two GPUs that answer, hang, crash or are lost, as FAKE_NVML says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char *what) {
    const char *mode = getenv("FAKE_NVML");
    return mode && strcmp(mode, what) == 0;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (is("not_loaded")) return 9;
    if (is("mismatch")) return 18;
    return 0;
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return snprintf(out, size, "550.90.07") < 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    if (index == 1 && is("lost_at_once")) return 15;
    *gpu = (void *)(long)(index + 1);
    return 0;
}
int nvmlDeviceGetUUID(void *gpu, char *out, unsigned size) {
    return snprintf(out, size, "GPU-%08ld-aaaa-bbbb-cccc-dddddddddddd", (long)gpu) < 0;
}
int nvmlDeviceGetName(void *gpu, char *out, unsigned size) {
    (void)gpu;
    printf("NVML likes to print\n");
    fflush(stdout);
    return snprintf(out, size, "Fake H100") < 0;
}
int nvmlDeviceGetTemperature(void *gpu, int sensor, unsigned *celsius) {
    (void)sensor;
    if (is("hang")) for (;;) pause();
    if (is("crash")) abort();
    if (is("segfault")) *(volatile int *)8 = 1;
    if (gpu == (void *)2 && is("lost")) return 15;
    *celsius = 40 + (long)gpu;
    return 0;
}
int nvmlDeviceGetPowerUsage(void *gpu, unsigned *milliwatts) { (void)gpu; *milliwatts = 70500; return 0; }
int nvmlDeviceGetMemoryInfo(void *gpu, unsigned long long *memory) {
    (void)gpu;
    memory[0] = 80, memory[1] = 60, memory[2] = 20; /* total, free, used */
    return 0;
}
int nvmlDeviceGetTotalEccErrors(void *gpu, int kind, int counter, unsigned long long *count) {
    (void)gpu; (void)kind; (void)counter; (void)count;
    return 3; /* not supported */
}
