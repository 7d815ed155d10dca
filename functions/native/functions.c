/* Functions in C. `bytes` is the length of the input; how much the output holds is agreed with the caller. */
#include <stdint.h>
#include <string.h>

/* Copies one int, and claims as many bytes as it was given. */
uint32_t empty(void *input, uint32_t bytes, void *output) {
  if (bytes >= sizeof(int)) memcpy(output, input, sizeof(int));
  return bytes;
}

/* Returns what it is given. */
uint32_t echo(void *input, uint32_t bytes, void *output) {
  memcpy(output, input, bytes);
  return bytes;
}

/* The sum of doubles, as one double. Both lie at multiples of 8 bytes when the caller's buffers come from the lease. */
uint32_t sum(void *input, uint32_t bytes, void *output) {
  const double *numbers = input;
  double total = 0;
  for (uint32_t i = 0; i < bytes / sizeof(double); i++) total += numbers[i];
  memcpy(output, &total, sizeof total);
  return sizeof total;
}
