/* A function for WebAssembly, without a C library: the module exports it and its memory, and imports nothing. */
#include <stdint.h>

/* The input backwards. */
__attribute__((export_name("reverse"))) uint32_t reverse(const uint8_t *input, uint32_t bytes, uint8_t *output) {
  for (uint32_t i = 0; i < bytes; i++) output[i] = input[bytes - 1 - i];
  return bytes;
}
