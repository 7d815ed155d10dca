/* First touch: the pages of a lease's memory are mapped before a call reaches them. */
#ifndef RFAAS_TOUCH_H
#define RFAAS_TOUCH_H

#include "../core/rfaas.h"

/* Maps pages, and gives memory to those that have none, as far as that can be had. `advice` is MADV_POPULATE_READ or _WRITE.
 * Returns 0 or a positive errno. */
int rfaas_populate(void *start, size_t bytes, int advice);

/* Whether the client has handed out memory that this process may not have mapped. */
static inline int rfaas_untouched(const rfaas_region *region) {
  return __atomic_load_n(&region->page->handed_out, __ATOMIC_RELAXED) >
         __atomic_load_n(&region->touched, __ATOMIC_RELAXED);
}

/* Maps the next piece of it, which takes RFAAS_PIECE_NS or so. Returns 0 when there is none. */
int32_t rfaas_touch_piece(rfaas_region *region);

#endif
