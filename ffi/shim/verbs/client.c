/* The client's end of a channel over verbs: a request is one write with immediate into the worker's copy of the region. Hot, but for
 * what waits and what `remote` does. */
#define _GNU_SOURCE
#include "write.h"

#ifdef RFAAS_WITH_VERBS
#include <sched.h>
#include <string.h>

/* The 64 bytes in front of an input are the lease's own, and there the header can precede the payload in one message. Two calls
 * in flight with the same input would share them: the second sends its header apart. */
static int take_room(rfaas_client *c, uint32_t slot, const rfaas_request *line) {
  if (!(line->function & RFAAS_HEADED) || line->input_offset < RFAAS_LINE || line->input_offset % RFAAS_LINE) return 0;
  uint32_t room = line->input_offset / RFAAS_LINE - 1;
  uint8_t *bits = &((rfaas_verbs_end *)c->end)->rooms[room / 8], bit = (uint8_t)(1u << room % 8);
  if (*bits & bit) return 0;
  *bits |= bit;
  c->slot[slot].own = room + 1;
  return 1;
}

static inline void leave_room(rfaas_client *c, uint32_t slot) {
  uint32_t room = c->slot[slot].own;
  if (room == 0) return;
  ((rfaas_verbs_end *)c->end)->rooms[(room - 1) / 8] &= (uint8_t)~(1u << (room - 1) % 8);
  c->slot[slot].own = 0;
}

__attribute__((noinline)) static void use_own_memory(rfaas_client *c, rfaas_request *line, struct ibv_sge *input) {
  if (line->function & RFAAS_INPUT_OWN) {
    const rfaas_registration *r = rfaas_registered(c->region, line->input_offset, line->input_length);
    input->addr = (uintptr_t)r->memory + (line->input_offset - r->offset);
    input->lkey = r->read_key;
  }
  if (line->function & RFAAS_OUTPUT_OWN) {
    const rfaas_registration *r = rfaas_registered(c->region, line->output_offset, line->output_capacity);
    own_output at = {.address = (uintptr_t)r->memory + (line->output_offset - r->offset), .key = r->written_key};
    memcpy(line->payload, &at, sizeof at);
  }
}

/* The request and what goes with it, in order: an input that a header cannot precede, or that is too long for one message. */
__attribute__((noinline)) static void post_apart(rfaas_client *c, uint32_t slot, const rfaas_request *request) {
  rfaas_verbs_end *end = c->end;
  uint64_t to = remote(end, c->arena + request->input_offset);
  struct ibv_sge input = end->pieces[1];
  write_ahead(end, &input, &to, end->remote_key, end->chunk_bytes);
  struct ibv_send_wr payload = write_of(end, &input, 1, input.length, to);
  ready_call(end, 1, RFAAS_LINE, remote(end, &c->slots[slot].request), end->remote_key, slot);
  payload.next = &end->call;
  if (reserve(end, 2)) send_works(end, &payload, &end->call, 2, RFAAS_WORK_CALL);
}

/* Where the device is to take the request from: where it is, if the work request has room for all `bytes` of the message, else from
 * the slot's own line. */
static inline uint64_t line_of(rfaas_client *c, uint32_t slot, const rfaas_request *request, uint32_t bytes) {
  if (bytes <= ((rfaas_verbs_end *)c->end)->inline_bytes) return (uintptr_t)request;
  rfaas_request *line = &c->slots[slot].request;
  memcpy(line, request, sizeof *line);
  return (uintptr_t)line;
}

static void client_post(rfaas_client *c, uint32_t slot, rfaas_request *request) {
  rfaas_verbs_end *end = c->end;
  request->fabric = slot | rfaas_left_to_say(request, c->epoch_ns) << RFAAS_LEFT_SHIFT;
  uint32_t bytes = request->function & RFAAS_INPUT_INLINE ? 0 : request->input_length;
  if (bytes) {
    const uint8_t *input = c->arena + request->input_offset;
    end->pieces[1] = piece(end, input, bytes);
    if (__builtin_expect(request->function & (RFAAS_INPUT_OWN | RFAAS_OUTPUT_OWN), 0)) use_own_memory(c, request, &end->pieces[1]);
    int together = bytes + RFAAS_LINE <= end->chunk_bytes && take_room(c, slot, request);
    end->pieces[0].addr = line_of(c, slot, request, RFAAS_LINE + (together ? bytes : 0));
    if (!together) return post_apart(c, slot, request);
    ready_call(end, 2, RFAAS_LINE + bytes, remote(end, input - RFAAS_LINE), end->remote_key,
               RFAAS_IMM_ROOM | (request->input_offset - RFAAS_LINE) / RFAAS_LINE);
  } else {
    if (__builtin_expect(request->function & RFAAS_OUTPUT_OWN, 0)) use_own_memory(c, request, &end->pieces[1]);
    end->pieces[0].addr = line_of(c, slot, request, RFAAS_LINE);
    ready_call(end, 1, RFAAS_LINE, remote(end, &c->slots[slot].request), end->remote_key, slot);
  }
  send_call(end);
}

/* Puts the next received response into the response line of this side, where the client looks for it. Returns 0 when there is none. */
static inline int take_response(rfaas_client *c) {
  rfaas_verbs_end *end = c->end;
  uint32_t immediate, bytes;
  if (!receive(end, &immediate, &bytes)) {
    if (__builtin_expect(__atomic_load_n(&end->failure, __ATOMIC_RELAXED), 0)) c->broken = 1;
    return 0;
  }
  uint32_t slot = immediate & RFAAS_IMM_SLOT;
  uint64_t sequence = slot <= c->mask ? c->slot[slot].sequence : 0;
  if (__builtin_expect(slot > c->mask || c->slot[slot].credit == RFAAS_FREE ||
                           immediate >> RFAAS_IMM_SEQUENCE_SHIFT !=
                               ((uint32_t)sequence << RFAAS_IMM_SEQUENCE_SHIFT) >> RFAAS_IMM_SEQUENCE_SHIFT,
                       0)) {
    rfaas_verbs_fail(end, RFAAS_LINK_PROTOCOL, 0, 0);
    c->broken = 1;
    return 0;
  }
  rfaas_response *response = &c->slots[slot].response;
  response->status = -(int32_t)(immediate >> RFAAS_IMM_STATUS_SHIFT & RFAAS_IMM_STATUS);
  if (!(immediate & RFAAS_IMM_LONG)) response->length = bytes;
  response->sequence = sequence;
  leave_room(c, slot);
  return 1;
}

/* Takes no more responses than it must: those that came after the slot's own are taken when their slots are looked at. */
static inline const rfaas_response *client_poll(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = &c->slots[slot].response;
  uint64_t sequence = c->slot[slot].sequence;
  while (response->sequence != sequence)
    if (!take_response(c)) return NULL;
  __asm__ volatile("" ::: "memory"); /* the line and the payload were written by the device */
  return response;
}

/* No pause between looks: a look at a completion queue is one. */
static const rfaas_response *client_spin(rfaas_client *c, uint32_t slot) {
  for (int spins = 0; spins < RFAAS_VERBS_SPINS; spins++) {
    const rfaas_response *response = client_poll(c, slot);
    if (response) return response;
  }
  return NULL;
}

static int client_wait(rfaas_client *c, uint32_t slot, uint64_t ns) {
  rfaas_verbs_arm(c->end);
  return client_poll(c, slot) || c->broken ? 0 : rfaas_verbs_sleep(c->end, ns);
}

static void client_park(rfaas_client *c) { rfaas_verbs_ring(c->end); }
static void client_unpark(rfaas_client *c) { (void)c; }

/* An answer cannot come over a path that is gone, and only a send finds out: a write of nothing. */
static void probe(rfaas_verbs_end *end) {
  uint64_t now = rfaas_now_ns();
  if (end->probing || now - end->probed_at_ns < RFAAS_PROBE_NS || !rfaas_verbs_reserve(end, 1)) return;
  end->probing = 1;
  end->probed_at_ns = now;
  struct ibv_send_wr work = write_of(end, NULL, 0, 0, end->remote_base);
  rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_PROBE);
}

static int client_lost(rfaas_client *c) {
  rfaas_verbs_end *end = c->end;
  while (take_response(c));
  rfaas_verbs_retire(end);
  if (!c->broken) probe(end);
  if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) c->broken = 1;
  return (int)c->broken;
}

/* Waits until every message of one-sided operations has completed. One that fails ends them all. */
static int32_t complete(rfaas_client *c) {
  rfaas_verbs_end *end = c->end;
  for (uint32_t spins = 1; end->one_sided_under_way; spins++) {
    rfaas_verbs_retire(end);
    if (__atomic_load_n(&end->failure, __ATOMIC_ACQUIRE)) {
      c->broken = 1;
      return RFAAS_WORKER_LOST;
    }
    if (spins % RFAAS_SPINS_PER_CHECK == 0) sched_yield();
    else rfaas_relax();
  }
  return RFAAS_OK;
}

static int32_t client_remote(rfaas_client *c, uint32_t operation, uint32_t local_offset, uint32_t remote_offset, uint32_t bytes,
                             uint64_t *words) {
  rfaas_verbs_end *end = c->end;
  int atomic = operation >= RFAAS_FETCH_ADD;
  /* The result of an atomic operation lands in registered memory: what the worker's page leaves free. */
  uint64_t *result = (uint64_t *)c->page->pad;
  uint8_t *local = atomic ? (uint8_t *)result : c->arena + local_offset;
  const uint8_t *there = c->arena + remote_offset;
  do {
    uint32_t chunk = bytes < end->chunk_bytes ? bytes : end->chunk_bytes;
    struct ibv_sge of = piece(end, local, chunk);
    struct ibv_send_wr work = write_of(end, &of, 1, chunk, remote(end, there));
    if (operation != RFAAS_WRITE) work.send_flags = 0;
    if (operation == RFAAS_READ) work.opcode = IBV_WR_RDMA_READ;
    if (atomic) {
      work.opcode = operation == RFAAS_FETCH_ADD ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_ATOMIC_CMP_AND_SWP;
      work.wr.atomic.remote_addr = remote(end, there);
      work.wr.atomic.rkey = end->remote_key;
      work.wr.atomic.compare_add = words[0];
      work.wr.atomic.swap = words[1];
    }
    if (!rfaas_verbs_reserve(end, 1)) return RFAAS_WORKER_LOST;
    end->one_sided_under_way++;
    rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_ONE_SIDED);
    local += chunk;
    there += chunk;
    bytes -= chunk;
    /* Writes follow each other; of reads a device takes only so many at a time. */
    if (operation == RFAAS_READ && bytes && complete(c) != RFAAS_OK) return RFAAS_WORKER_LOST;
  } while (bytes);
  int32_t status = complete(c);
  if (atomic) words[2] = *result;
  return status;
}

const rfaas_client_ops rfaas_verbs_client_ops = {client_post, client_poll,   client_spin, client_wait,
                                                 client_park, client_unpark, client_lost, client_remote};

#endif
