/* A worker cannot read the clock of a client on another machine, and deadlines are times of that clock. */
#ifndef RFAAS_FAR_CLOCK_H
#define RFAAS_FAR_CLOCK_H

#include "clock.h"
#include "rfaas.h"

/* `rfaas_request.fabric` of a fabric between machines: the slot, and above it what is left of the deadline when the call is posted. */
#define RFAAS_LEFT_SHIFT 10u
#define RFAAS_LEFT_LIMIT_MS 0x3fffffu

typedef struct {
  uint32_t offset_ms; /* our clock less the client's, modulo 2^32 */
  uint64_t known_at_ns;
} rfaas_far_clock;

/* The client said that its clock stands at `theirs_ms`, since the lease's epoch. */
static inline void rfaas_far_clock_begin(rfaas_far_clock *clock, uint64_t theirs_ms) {
  clock->known_at_ns = rfaas_now_ns();
  clock->offset_ms = (uint32_t)(clock->known_at_ns / 1000000u) - (uint32_t)theirs_ms;
}

/* Of a call that is posted now, by the client's clock; 0 without a deadline, and when it has passed. */
static inline uint32_t rfaas_left_to_say(const rfaas_request *request, uint64_t epoch_ns) {
  if (!request->deadline_ms) return 0;
  int32_t left = (int32_t)(request->deadline_ms - (uint32_t)((rfaas_now_ns() - epoch_ns) / 1000000u));
  if (left < 0) return 0;
  return (uint32_t)left < RFAAS_LEFT_LIMIT_MS ? (uint32_t)left : RFAAS_LEFT_LIMIT_MS;
}

/* Milliseconds until the request's deadline. The least difference of the clocks ever seen is the truest; it may grow by 1 ms in 10 s,
 * more than clocks drift. */
static inline int32_t rfaas_far_clock_left(rfaas_far_clock *clock, const rfaas_request *request) {
  uint32_t left_then = request->fabric >> RFAAS_LEFT_SHIFT;
  uint64_t now_ns = rfaas_now_ns();
  uint32_t now_ms = (uint32_t)(now_ns / 1000000u);
  uint32_t known_ms = clock->offset_ms + (uint32_t)((now_ns - clock->known_at_ns) / 10000000000u);
  if (left_then < RFAAS_LEFT_LIMIT_MS) {
    uint32_t seen_ms = now_ms - (request->deadline_ms - left_then);
    if ((int32_t)(seen_ms - known_ms) < 0) {
      clock->offset_ms = known_ms = seen_ms;
      clock->known_at_ns = now_ns;
    }
  }
  return (int32_t)(request->deadline_ms - (now_ms - known_ms));
}

#endif
