/*
 * A libcublas.so.12 for benchmarks, on fake_cuda.c: it computes products for real, once as long as nobody changes the
 * factors, and takes 1 ms of the device's time for each. It refuses what must not be asked for: other arithmetic than
 * a kind of product is defined by, or an environment in which a library might take its own way.
 */
#include <stdlib.h>
#include <string.h>

int fake_is(const char *what);
unsigned long long fake_changes(void);
void fake_work(double seconds);

enum { R_32F = 0, R_16F = 2, PEDANTIC = 2, NO_REDUCED_REDUCTION = 16, COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69 };
static int math = -1;

static int zero(const char *name) { const char *is = getenv(name); return is && !strcmp(is, "0"); }

int cublasCreate_v2(void **handle) { *handle = &math; return fake_is("no_handle") ? 3 : 0; }
int cublasGetProperty(int which, int *value) { return *value = (int[]){12, 9, 3}[which], 0; }
int cublasSetMathMode(void *handle, int mode) { (void)handle; math = mode; return 0; }

static float number(const void *from, int kind, size_t at) {
    union { float is; unsigned bits; } value;
    value.is = kind == R_16F ? (float)((const _Float16 *)from)[at] : ((const float *)from)[at];
    if (fake_is("tf32") && kind == R_32F) value.bits = (value.bits + 0x1000) & ~0x1fffU;
    return value.is;
}

int cublasGemmEx(void *handle, int left_as, int right_as, int rows, int columns, int terms, const float *one,
                 const void *left, int left_kind, int left_step, const void *right, int right_kind, int right_step,
                 const float *nothing, void *product, int kind, int step, int compute, int algorithm) {
    static const void *last;
    static unsigned long long seen;
    int pedantic = left_kind == R_32F;
    (void)handle; (void)algorithm;
    if (left_as || right_as || *one != 1 || *nothing != 0 || left_kind != right_kind) return 7;
    if (pedantic ? math != PEDANTIC || compute != COMPUTE_32F_PEDANTIC || kind != R_32F
                 : math != NO_REDUCED_REDUCTION || compute != COMPUTE_32F) return 15;
    if (pedantic && (!zero("NVIDIA_TF32_OVERRIDE") || !zero("CUBLAS_EMULATE_SINGLE_PRECISION"))) return 15;
    fake_work(0.001);
    if (last == product && seen == fake_changes()) return 0;
    last = product;
    seen = fake_changes();
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++) {
            double sum = fake_is("wrong") ? 1 : 0;
            for (int term = 0; term < terms; term++)
                sum += (double)number(left, left_kind, (size_t)term * left_step + row) *
                       number(right, right_kind, (size_t)column * right_step + term);
            size_t at = (size_t)column * step + row;
            if (kind == R_16F) ((_Float16 *)product)[at] = sum;
            else ((float *)product)[at] = sum;
        }
    return 0;
}
