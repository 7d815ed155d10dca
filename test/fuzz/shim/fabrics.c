/* The fabrics that are fuzzed: those that need no device. */
#include <stddef.h>

#include "../../../ffi/shim/core/fabric.h"

extern const rfaas_fabric rfaas_shm_fabric, rfaas_tcp_fabric;
const rfaas_fabric *rfaas_fabric_of(const rfaas_link *link) { return link ? link->fabric : &rfaas_shm_fabric; }
const rfaas_fabric *rfaas_fabric_named(const char *name) {
  (void)name;
  return &rfaas_tcp_fabric;
}
