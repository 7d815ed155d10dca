/*
 * Functions on signals, for rfaas: (input, bytes, output), which returns how many bytes it wrote. Input and output come from
 * lease.input and lease.output, so they lie at multiples of 64 bytes. How much the output holds is agreed with the caller.
 */
#include <math.h>
#include <stdint.h>

/* Samples in, {mean, root mean square, peak} out: 3 doubles. Returns 0 where there are no samples. */
uint32_t levels(const double *samples, uint32_t bytes, double *out) {
  uint32_t count = bytes / sizeof(double);
  if (count == 0) return 0;
  double sum = 0, squares = 0, peak = 0;
  for (uint32_t i = 0; i < count; i++) {
    sum += samples[i];
    squares += samples[i] * samples[i];
    if (fabs(samples[i]) > peak) peak = fabs(samples[i]);
  }
  out[0] = sum / count;
  out[1] = sqrt(squares / count);
  out[2] = peak;
  return 3 * sizeof(double);
}

/* What precedes the numbers of `filter`. */
struct filter {
  uint32_t taps;
  uint32_t samples;
};

/*
 * A finite impulse response filter. Input: struct filter, `taps` coefficients, `samples` samples, all doubles. Output:
 * `samples` - `taps` + 1 doubles. Returns 0 for an input that is not that.
 */
uint32_t filter(const struct filter *head, uint32_t bytes, double *out) {
  if (bytes < sizeof *head) return 0;
  uint64_t numbers = (uint64_t)head->taps + head->samples;
  if (head->taps == 0 || head->samples < head->taps) return 0;
  if (bytes != sizeof *head + numbers * sizeof(double)) return 0;
  const double *taps = (const double *)(head + 1);
  const double *samples = taps + head->taps;
  uint32_t count = head->samples - head->taps + 1;
  for (uint32_t i = 0; i < count; i++) {
    double sum = 0;
    for (uint32_t k = 0; k < head->taps; k++) sum += taps[k] * samples[i + k];
    out[i] = sum;
  }
  return (uint32_t)(count * sizeof(double));
}
