/* Signals that mean a whole job or terminal: who sends them to every process of a node means the node, which decides what becomes of its
 * hosts, and ends them by SIGKILL. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>

#include "../core/rfaas.h"

static void let_be(int signal) { (void)signal; }

/* From now on SIGTERM, SIGINT and SIGHUP do nothing to this process. They are caught and not ignored: a program that it executes has the
 * default again. Returns -errno. */
RFAAS_EXPORT int32_t rfaas_outlast_signals(void) {
  const int signals[] = {SIGTERM, SIGINT, SIGHUP};
  const struct sigaction caught = {.sa_handler = let_be, .sa_flags = SA_RESTART | SA_ONSTACK};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &caught, NULL) != 0) return -errno;
  return 0;
}
