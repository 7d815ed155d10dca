/* The verbs fabric's two tables of operations. Client and worker each have a copy of the lease's region with the same layout; a
 * request is one write with immediate into the worker's copy, a response one into the client's. */
#define _GNU_SOURCE
#include "verbs.h"

#ifdef RFAAS_WITH_VERBS
#include <arpa/inet.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static inline uint64_t remote(const rfaas_verbs_end *end, const void *local) {
  return end->remote_base + (uint64_t)((const uint8_t *)local - end->base);
}

static inline struct ibv_sge piece(const rfaas_verbs_end *end, const void *from, uint32_t bytes) {
  return (struct ibv_sge){.addr = (uintptr_t)from, .length = bytes, .lkey = end->local_key};
}

/* A write of `pieces`, together `bytes` long, to where `to` is in the peer's copy. */
static inline struct ibv_send_wr write_of(const rfaas_verbs_end *end, struct ibv_sge *pieces, int count, uint32_t bytes,
                                          uint64_t to) {
  return (struct ibv_send_wr){.sg_list = pieces,
                              .num_sge = bytes ? count : 0,
                              .opcode = IBV_WR_RDMA_WRITE,
                              .send_flags = bytes <= end->inline_bytes ? IBV_SEND_INLINE : 0,
                              .wr.rdma = {.remote_addr = to, .rkey = end->remote_key}};
}

static inline void add_immediate(struct ibv_send_wr *work, uint32_t immediate) {
  work->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  work->imm_data = htonl(immediate);
}

/* Writes ahead of a message what it is too long for: all of `of` but `last` bytes, in chunks, to `to`. Moves both on. */
static void write_ahead(rfaas_verbs_end *end, struct ibv_sge *of, uint64_t *to, uint32_t key, uint32_t last) {
  while (of->length > last) {
    struct ibv_sge chunk = *of;
    if (chunk.length > end->chunk_bytes) chunk.length = end->chunk_bytes;
    struct ibv_send_wr work = write_of(end, &chunk, 1, chunk.length, *to);
    work.wr.rdma.rkey = key;
    if (!rfaas_verbs_reserve(end, 1)) return;
    rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_CALL);
    of->addr += chunk.length;
    of->length -= chunk.length;
    *to += chunk.length;
  }
}

/* Where a response goes that is for the program's own memory: said in the payload's place, which such a request does not need. */
typedef struct {
  uint64_t address;
  uint32_t key;
  uint32_t zero;
} own_output;
_Static_assert(sizeof(own_output) <= RFAAS_INLINE_INPUT, "fits the line");

/* ---- client ---- */

/* The 64 bytes in front of an input are the lease's own, and there the header can precede the payload in one message. Two calls
 * in flight with the same input would share them: the second sends its header apart. */
static int take_room(rfaas_client *c, uint32_t slot, const rfaas_request *line) {
  if (!(line->function & RFAAS_HEADED) || line->input_offset < RFAAS_LINE || line->input_offset % RFAAS_LINE) return 0;
  uint32_t room = line->input_offset / RFAAS_LINE - 1;
  uint8_t *bits = &c->verbs->rooms[room / 8], bit = (uint8_t)(1u << room % 8);
  if (*bits & bit) return 0;
  *bits |= bit;
  c->slot[slot].room = room + 1;
  return 1;
}

static inline void leave_room(rfaas_client *c, uint32_t slot) {
  uint32_t room = c->slot[slot].room;
  if (room == 0) return;
  c->verbs->rooms[(room - 1) / 8] &= (uint8_t)~(1u << (room - 1) % 8);
  c->slot[slot].room = 0;
}

static uint32_t left_of(const rfaas_client *c, const rfaas_request *line) {
  if (!line->deadline_ms) return 0;
  int32_t left = (int32_t)(line->deadline_ms - (uint32_t)((rfaas_now_ns() - c->epoch_ns) / 1000000u));
  if (left < 0) return 0;
  return (uint32_t)left < RFAAS_LEFT_LIMIT_MS ? (uint32_t)left : RFAAS_LEFT_LIMIT_MS;
}

static void use_own_memory(rfaas_client *c, rfaas_request *line, struct ibv_sge *input) {
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

static void client_post(rfaas_client *c, uint32_t slot, const rfaas_request *request) {
  rfaas_verbs_end *end = c->verbs;
  rfaas_request *line = &c->slots[slot].request;
  memcpy(line, request, sizeof *line);
  line->fabric = slot | left_of(c, line) << RFAAS_LEFT_SHIFT;
  uint32_t bytes = line->function & RFAAS_INPUT_INLINE ? 0 : line->input_length;
  const uint8_t *input = c->arena + line->input_offset;

  struct ibv_sge pieces[] = {piece(end, line, RFAAS_LINE), piece(end, input, bytes)};
  struct ibv_send_wr header;
  if (__builtin_expect(line->function & (RFAAS_INPUT_OWN | RFAAS_OUTPUT_OWN), 0)) use_own_memory(c, line, &pieces[1]);
  if (bytes && bytes + RFAAS_LINE <= end->chunk_bytes && take_room(c, slot, line)) {
    header = write_of(end, pieces, 2, RFAAS_LINE + bytes, remote(end, input - RFAAS_LINE));
    add_immediate(&header, RFAAS_IMM_ROOM | (line->input_offset - RFAAS_LINE) / RFAAS_LINE);
  } else {
    uint64_t to = remote(end, input);
    write_ahead(end, &pieces[1], &to, end->remote_key, end->chunk_bytes);
    bytes = pieces[1].length;
    header = write_of(end, pieces, 1, RFAAS_LINE, remote(end, line));
    add_immediate(&header, slot);
    if (bytes) {
      struct ibv_send_wr payload = write_of(end, &pieces[1], 1, bytes, to);
      payload.next = &header;
      if (rfaas_verbs_reserve(end, 2)) rfaas_verbs_send(end, &payload, &header, 2, RFAAS_WORK_CALL);
      return;
    }
  }
  if (rfaas_verbs_reserve(end, 1)) rfaas_verbs_send(end, &header, &header, 1, RFAAS_WORK_CALL);
}

/* Whatever has come goes into the response lines of this side, where it waits to be asked for. */
static void take_responses(rfaas_client *c) {
  rfaas_verbs_end *end = c->verbs;
  uint32_t immediate, bytes;
  while (rfaas_verbs_receive(end, &immediate, &bytes)) {
    uint32_t slot = immediate & RFAAS_IMM_SLOT;
    uint64_t sequence = slot <= c->mask ? c->slot[slot].sequence : 0;
    if (slot > c->mask || c->slot[slot].credit == RFAAS_FREE ||
        immediate >> RFAAS_IMM_SEQUENCE_SHIFT != ((uint32_t)sequence << RFAAS_IMM_SEQUENCE_SHIFT) >> RFAAS_IMM_SEQUENCE_SHIFT) {
      rfaas_verbs_fail(end, RFAAS_LINK_PROTOCOL, 0, 0);
      break;
    }
    rfaas_response *response = &c->slots[slot].response;
    response->status = -(int32_t)(immediate >> RFAAS_IMM_STATUS_SHIFT & RFAAS_IMM_STATUS);
    if (!(immediate & RFAAS_IMM_LONG)) response->length = bytes;
    response->sequence = sequence;
    leave_room(c, slot);
  }
  if (__builtin_expect(__atomic_load_n(&end->failure, __ATOMIC_RELAXED), 0)) c->broken = 1;
}

static const rfaas_response *client_poll(rfaas_client *c, uint32_t slot) {
  const rfaas_response *response = &c->slots[slot].response;
  if (response->sequence == c->slot[slot].sequence) return response;
  take_responses(c);
  __asm__ volatile("" ::: "memory"); /* the line and the payload were written by the device */
  return response->sequence == c->slot[slot].sequence ? response : NULL;
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
  rfaas_verbs_arm(c->verbs);
  return client_poll(c, slot) || c->broken ? 0 : rfaas_verbs_sleep(c->verbs, ns);
}

static void client_park(rfaas_client *c) { rfaas_link_ring(c->verbs); }
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
  take_responses(c);
  rfaas_verbs_retire(c->verbs);
  if (!c->broken) probe(c->verbs);
  if (__atomic_load_n(&c->verbs->failure, __ATOMIC_ACQUIRE)) c->broken = 1;
  return (int)c->broken;
}

/* Waits until every message of one-sided operations has completed. One that fails ends them all. */
static int32_t complete(rfaas_client *c) {
  rfaas_verbs_end *end = c->verbs;
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
  rfaas_verbs_end *end = c->verbs;
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

/* ---- worker ---- */

static int32_t hostile(rfaas_verbs_end *end) {
  rfaas_verbs_cut_off(end);
  return -1;
}

static int32_t worker_poll(rfaas_worker *w) {
  rfaas_verbs_end *end = w->verbs;
  if (end->found_at == w->expected) return (int32_t)end->found_slot;
  uint32_t immediate, bytes;
  if (!rfaas_verbs_receive(end, &immediate, &bytes)) return -1;
  if (immediate & RFAAS_IMM_ROOM) {
    uint64_t at = (uint64_t)(immediate & ~RFAAS_IMM_ROOM) * RFAAS_LINE;
    if (at + RFAAS_LINE > w->arena_bytes) return hostile(end);
    w->incoming = (const rfaas_request *)(w->arena + at);
  } else {
    if (immediate > w->mask) return hostile(end);
    w->incoming = &w->slots[immediate].request;
  }
  uint32_t slot = __atomic_load_n(&w->incoming->fabric, __ATOMIC_RELAXED) & RFAAS_IMM_SLOT;
  if (slot > w->mask || w->slot[slot].active) return hostile(end);
  end->found_slot = slot;
  end->found_at = w->expected;
  return (int32_t)slot;
}

static int32_t worker_spin(rfaas_worker *w) {
  for (int spins = 0; spins < RFAAS_VERBS_SPINS; spins++) {
    int32_t slot = worker_poll(w);
    if (slot >= 0) return slot;
  }
  return -1;
}

static void worker_post(rfaas_worker *w, uint32_t slot, int32_t status, uint32_t length) {
  rfaas_verbs_end *end = w->verbs;
  const rfaas_request *request = &w->slot[slot].request;
  uint32_t code = status <= 0 && status > -(int32_t)RFAAS_IMM_STATUS ? (uint32_t)-status : RFAAS_IMM_STATUS;
  uint32_t immediate = slot | code << RFAAS_IMM_STATUS_SHIFT | request->sequence << RFAAS_IMM_SEQUENCE_SHIFT;
  const uint8_t *from = w->arena + request->output_offset;
  uint32_t bytes = length;
  if (status == RFAAS_FUNCTION_ERROR) {
    from = rfaas_errors_of(w->page, w->mask + 1) + slot * RFAAS_ERROR_BYTES;
    if (bytes > RFAAS_ERROR_BYTES) bytes = RFAAS_ERROR_BYTES;
  } else if (status != RFAAS_OK) bytes = 0;

  own_output at = {.address = remote(end, from), .key = end->remote_key};
  if (__builtin_expect(status == RFAAS_OK && (request->function & RFAAS_OUTPUT_OWN), 0)) memcpy(&at, request->payload, sizeof at);

  struct ibv_sge of = piece(end, from, bytes), timing_of;
  struct ibv_send_wr response = write_of(end, &of, 1, bytes, at.address), timing;
  response.wr.rdma.rkey = at.key;
  if (__builtin_expect(bytes > end->chunk_bytes || (status == RFAAS_OK && bytes > request->output_capacity), 0)) {
    /* Only the last message has a length of its own: the response line says it for all. Too long an answer is not written. */
    if (bytes <= request->output_capacity) write_ahead(end, &of, &at.address, at.key, 0);
    rfaas_response *line = &w->slots[slot].response;
    line->length = length;
    of = piece(end, &line->length, sizeof line->length);
    response = write_of(end, &of, 1, sizeof line->length, remote(end, &line->length));
    immediate |= RFAAS_IMM_LONG;
  }
  add_immediate(&response, immediate);
  if (__builtin_expect(request->function & RFAAS_TIMED, 0)) {
    timing_of = piece(end, &w->slots[slot].timing, sizeof(rfaas_timing));
    timing = write_of(end, &timing_of, 1, sizeof(rfaas_timing), remote(end, &w->slots[slot].timing));
    timing.next = &response;
    if (rfaas_verbs_reserve(end, 2)) rfaas_verbs_send(end, &timing, &response, 2, RFAAS_WORK_CALL);
  } else if (rfaas_verbs_reserve(end, 1)) rfaas_verbs_send(end, &response, &response, 1, RFAAS_WORK_CALL);
}

static int worker_wait(rfaas_worker *w, uint64_t ns) {
  rfaas_verbs_arm(w->verbs);
  if (worker_poll(w) >= 0 || __atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) return 0;
  return rfaas_verbs_sleep(w->verbs, ns);
}

static void worker_park(rfaas_worker *w) { rfaas_link_ring(w->verbs); }
static void worker_unpark(rfaas_worker *w) { (void)w; }

/* The client has another clock, in milliseconds modulo 2^32. The least difference ever seen is the truest; it may grow by 1 ms in
 * 10 s, more than clocks drift. */
static int32_t left_ms(rfaas_worker *w, const rfaas_request *request) {
  rfaas_verbs_end *end = w->verbs;
  uint32_t left_then = request->fabric >> RFAAS_LEFT_SHIFT;
  uint64_t now_ns = rfaas_now_ns();
  uint32_t now_ms = (uint32_t)(now_ns / 1000000u);
  uint32_t known_ms = end->clock_offset_ms + (uint32_t)((now_ns - end->clock_known_at_ns) / 10000000000u);
  if (left_then < RFAAS_LEFT_LIMIT_MS) {
    uint32_t seen_ms = now_ms - (request->deadline_ms - left_then);
    if ((int32_t)(seen_ms - known_ms) < 0) {
      end->clock_offset_ms = known_ms = seen_ms;
      end->clock_known_at_ns = now_ns;
    }
  }
  return (int32_t)(request->deadline_ms - (now_ms - known_ms));
}

/* The client's copy of the worker's page learns why. */
static void worker_publish_end(rfaas_worker *w) {
  rfaas_verbs_end *end = w->verbs;
  if (!__atomic_load_n(&end->connected, __ATOMIC_ACQUIRE) || !rfaas_verbs_reserve(end, 1)) return;
  uint32_t bytes = sizeof w->page->ended + sizeof w->page->detail;
  struct ibv_sge of = piece(end, &w->page->ended, bytes);
  struct ibv_send_wr work = write_of(end, &of, 1, bytes, remote(end, &w->page->ended));
  rfaas_verbs_send(end, &work, &work, 1, RFAAS_WORK_CALL);
}

static void worker_rouse(rfaas_worker *w, int32_t loop_fd) {
  uint64_t one = 1;
  (void)!write(w->verbs->wake_fd, &one, sizeof one);
  rfaas_notify(loop_fd);
}

const rfaas_worker_ops rfaas_verbs_worker_ops = {
    worker_poll, worker_spin, worker_post, worker_wait, worker_park, worker_unpark, left_ms, worker_publish_end, worker_rouse};

#else

const rfaas_client_ops rfaas_verbs_client_ops = {0};
const rfaas_worker_ops rfaas_verbs_worker_ops = {0};

#endif
