/* The one registry of fabrics. The first needs no link: its clients and workers map the same memory. */
#include <stddef.h>
#include <string.h>

#include "fabric.h"

#define FABRICS(X) \
  X(shm) \
  X(verbs) \
  X(tcp) \
  X(ofi)

#define DECLARED(name) extern const rfaas_fabric rfaas_##name##_fabric;
FABRICS(DECLARED)

#define LISTED(name) &rfaas_##name##_fabric,
static const rfaas_fabric *const fabrics[] = {FABRICS(LISTED)};

const rfaas_fabric *rfaas_fabric_named(const char *name) {
  for (size_t i = 0; i < sizeof fabrics / sizeof fabrics[0]; i++)
    if (strcmp(fabrics[i]->name, name) == 0) return fabrics[i];
  return NULL;
}

const rfaas_fabric *rfaas_fabric_of(const rfaas_link *link) { return link ? link->fabric : fabrics[0]; }
