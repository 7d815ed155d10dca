/* Native functions that harm the process that they run in, and the memory that it shares with its client. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FUNCTION(name) __attribute__((visibility("default"))) uint32_t name(void *input, uint32_t bytes, void *output)

FUNCTION(echo) { return memcpy(output, input, bytes), bytes; }
FUNCTION(faults) { return (void)input, (void)bytes, (void)output, *(volatile uint32_t *)8; }
FUNCTION(aborts) { (void)input, (void)bytes, (void)output; abort(); }
FUNCTION(leaves) { return (void)input, (void)bytes, (void)output, (uint32_t)syscall(SYS_exit_group, 5); }

static void __attribute__((noinline)) overflow(volatile char *at) {
  for (int i = 0; i < 1 << 16; i++) at[i] = 'A';
}
FUNCTION(smashes) {
  volatile char small[16];
  overflow(small);
  return (void)input, (void)bytes, (void)output, (uint32_t)small[0];
}

/* What `visit` does to each mapping that the process shares with its client. Returns how many bytes that were. */
static uint64_t shared(void (*visit)(char *from, uint64_t bytes)) {
  FILE *maps = fopen("/proc/self/maps", "r");
  if (!maps) return 0;
  char line[512];
  uint64_t all = 0;
  while (fgets(line, sizeof line, maps)) {
    unsigned long from, to;
    char rights[5];
    if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3 || strcmp(rights, "rw-s") != 0 || !strstr(line, "memfd:")) continue;
    visit((char *)from, to - from);
    all += to - from;
  }
  fclose(maps);
  return all;
}
static void scribble(char *from, uint64_t bytes) {
  uint32_t state = 12345;
  for (uint64_t i = 0; i + 4 <= bytes; i += 4) {
    state = state * 1664525u + 1013904223u;
    memcpy(from + i, &state, 4);
  }
}
static void clear(char *from, uint64_t bytes) { memset(from, 0, bytes); }
static void unmap(char *from, uint64_t bytes) { munmap(from, bytes); }

FUNCTION(scribbles) { return (void)input, (void)bytes, (void)output, shared(scribble) ? 0 : 1; }
FUNCTION(clears) { return (void)input, (void)bytes, (void)output, shared(clear) ? 0 : 1; }
FUNCTION(unmaps) { return (void)input, (void)bytes, (void)output, shared(unmap) ? 0 : 1; }

/* Forged answers: words of slots change while calls are in flight, for as long as the process lives. */
static void step(char *from, uint64_t bytes) {
  for (uint64_t i = 0; i + 4 <= bytes && i < 1 << 16; i += 64) __atomic_fetch_add((uint32_t *)(from + i), 1, __ATOMIC_RELAXED);
}
static void *forge(void *argument) {
  for (int i = 0; i < 2000; i++) {
    shared(step);
    usleep(500);
  }
  return argument;
}
FUNCTION(forges) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, forge, NULL) != 0) return 1;
  pthread_detach(thread);
  return memcpy(output, input, bytes), bytes;
}

FUNCTION(closes) {
  for (int fd = 0; fd < 1024; fd++) close(fd);
  return memcpy(output, input, bytes), bytes;
}

static void *wait_long(void *argument) { return sleep(20), argument; }
/* As many threads as its input says, in text. Its output is 1 where it has them all. */
FUNCTION(threads) {
  char text[16] = {0};
  memcpy(text, input, bytes < 15 ? bytes : 15);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 1 << 18);
  *(char *)output = 0;
  for (int i = atoi(text); i > 0; i--) {
    pthread_t thread;
    if (pthread_create(&thread, &small, wait_long, NULL) != 0) return 1;
    pthread_detach(thread);
  }
  *(char *)output = 1;
  return 1;
}
