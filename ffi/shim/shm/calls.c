/* Both ends compiled in one file with the fabric of most leases: a call over shared memory has no call of a function in it that the
 * compiler cannot see through. The files that are included here are not compiled alone. */
#define _GNU_SOURCE
#include "../core/fabric.h"

#define RFAAS_COMPILED_WITH(table) rfaas_shm_##table
extern const rfaas_client_ops rfaas_shm_client_ops;
extern const rfaas_worker_ops rfaas_shm_worker_ops;

#include "../core/client.c"
#include "../core/batch.c"
#include "../core/worker.c"
#include "shm.c"
