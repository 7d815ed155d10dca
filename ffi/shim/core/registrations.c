/* Memory of the client's own program that the device reads and writes where it is: each piece has a place in the arena, which is
 * where the worker sees it. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "fabric.h"

const rfaas_registration *rfaas_registered(const rfaas_region *region, uint32_t offset, uint32_t bytes) {
  for (uint32_t i = 0; i < region->registrations; i++) {
    const rfaas_registration *r = &region->registration[i];
    if (offset >= r->offset && (uint64_t)offset + bytes <= (uint64_t)r->offset + r->bytes) return r;
  }
  return NULL;
}

static rfaas_registration *at(rfaas_region *region, uint32_t offset) {
  for (uint32_t i = 0; i < region->registrations; i++)
    if (region->registration[i].offset == offset) return &region->registration[i];
  return NULL;
}

/* Registers `bytes` at `memory`, which must not move, for the place at `offset` of the arena: as the input of calls. Returns 0 or
 * -errno. */
RFAAS_EXPORT int32_t rfaas_register(rfaas_region *region, rfaas_link *link, uint32_t offset, uint32_t bytes, void *memory) {
  const rfaas_fabric *fabric = rfaas_fabric_of(link);
  if (fabric->copies_own_memory) return -EOPNOTSUPP;
  if ((uint64_t)offset + bytes > region->arena_bytes || bytes == 0) return -EINVAL;
  if (region->registrations == RFAAS_MAX_REGISTRATIONS) return -ENOSPC;
  rfaas_registration *r = &region->registration[region->registrations];
  *r = (rfaas_registration){.offset = offset, .bytes = bytes, .memory = memory};
  int failed = fabric->link->register_input(link, r);
  if (!failed) region->registrations++;
  return -failed;
}

/* Lets the peer write what is registered at `offset`, which becomes the output of calls. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_register_output(rfaas_region *region, rfaas_link *link, uint32_t offset) {
  rfaas_registration *r = at(region, offset);
  if (!r) return -ENOENT;
  return r->written ? 0 : -link->fabric->link->register_output(link, r);
}

/* From now on the peer can use none of its keys. No call may use it. */
RFAAS_EXPORT int32_t rfaas_unregister(rfaas_region *region, rfaas_link *link, uint32_t offset) {
  rfaas_registration *r = at(region, offset);
  if (!r) return -ENOENT;
  link->fabric->link->unregister(link, r);
  *r = region->registration[--region->registrations];
  return 0;
}

void rfaas_unregister_all(rfaas_link *link) {
  while (link->region->registrations) rfaas_unregister(link->region, link, link->region->registration[0].offset);
}
