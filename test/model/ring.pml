/* A channel's ring, as `ffi/shim/core/client.c`, `worker.c` and `ffi/shim/shm/shm.c` have it: slots that are credits, sequences, answers in any
 * order, calls that are abandoned, both sides asleep, and either side that dies between any two steps. Stores are seen by others later, as in
 * `wake-ups.pml`, which has what posts without a fence do.
 *
 * Each call carries its sequence, and its answer what the worker has read. What must hold is asserted: a worker takes each call once, in order,
 * whole; a client never hands out a slot, and with it a buffer, that the worker may still write; each call has one outcome, which is its own
 * answer, or "lost" when there is none. Where a side sleeps on although the other has something for it, the model ends in an invalid state.
 *
 * Variants: WORKER_DIES, CLIENT_DIES, THREAD_DIES (the host goes on with another thread), LYING_CLIENT and LYING_WORKER (of which only the other
 * side's promises must hold). Faults leave out a fence or a check: see `ring.test.ts`, which has each found.
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef CALLS
#define CALLS 3
#endif
#define ROOM 6
#define LIES 5
#define CLIENT 0
#define WORKER 1
#define NONE SLOTS
#define LOST 99

mtype = { REQUEST_PAYLOAD, REQUEST_WORD, SKIPPED, ANSWER_PAYLOAD, ANSWER_WORD, AWAKE };
mtype = { FREE, IN_FLIGHT, ABANDONED };

/* What both sides see. */
byte request_payload[SLOTS], request_word[SLOTS], answer_payload[SLOTS], answer_word[SLOTS];
bool skipped, waiting[2], ended, released;

/* What a side has stored and the other does not see yet. */
chan stored[2] = [ROOM] of { mtype, byte, byte };

/* What the assertions alone look at. */
bool may_write[SLOTS], answered[CALLS + 2];
bool died[2];

inline leave(side) {
  if
  :: stored[side] ? REQUEST_PAYLOAD(at, seen) -> request_payload[at] = seen
  :: stored[side] ? REQUEST_WORD(at, seen) -> request_word[at] = seen
  :: stored[side] ? SKIPPED(at, seen) -> skipped = seen
  :: stored[side] ? ANSWER_PAYLOAD(at, seen) -> answer_payload[at] = seen
  :: stored[side] ? ANSWER_WORD(at, seen) ->
     answer_word[at] = seen;
     may_write[at] = false;
     if :: seen <= CALLS -> answered[seen] = true :: else fi
  :: stored[side] ? AWAKE(at, seen) -> waiting[side] = false
  fi;
  at = 0;
  seen = 0
}

proctype machine(byte side) {
  byte at, seen;
end:
  do
  :: atomic { nempty(stored[side]) -> leave(side) }
  od
}

/* `publish` of sleep.h, after its store. */
inline wake(side, other) {
#ifndef NO_FENCE_OF_POSTER
  empty(stored[side]);
#endif
  if
  :: waiting[other] -> atomic { empty(stored[side]) -> waiting[other] = false }
  :: else
  fi
}

#ifdef ANY_ANSWER
#define ANSWERED(slot) (answer_word[slot] != 0)
#else
#define ANSWERED(slot) (answer_word[slot] == own[slot])
#endif

#ifdef NO_LAST_LOOK
#define LAST_LOOK(slot) false
#else
#define LAST_LOOK(slot) ANSWERED(slot)
#endif

inline free(slot) {
  credit[slot] = FREE;
  own[slot] = 0;
  in_flight--
}

/* One outcome of the call in `slot`; `value` is what came. */
inline finish(slot) {
  atomic {
    value = answer_payload[slot];
#ifndef LYING_WORKER
    assert(value == own[slot] || (value == LOST && lost_thread));
#endif
    outcomes++;
    free(slot);
    value = 0
  }
}

bool lost_thread;

proctype client() {
  byte sequence = 1, head, in_flight, abandoned, slot, tried, value, outcomes;
  mtype credit[SLOTS] = FREE;
  byte own[SLOTS];
  bool said_skipped, stuck, found;
  {
    do
    :: sequence <= CALLS && !stuck ->
       /* take_slot */
       atomic {
         if
         :: in_flight == abandoned ->
            head = 0;
            if
#ifdef SKIPPED_WITHDRAWN_EARLY
            :: said_skipped -> said_skipped = false; stored[CLIENT] ! SKIPPED(0, 0)
#else
            :: said_skipped && in_flight == 0 -> said_skipped = false; stored[CLIENT] ! SKIPPED(0, 0)
#endif
            :: else
            fi
         :: else
         fi;
         tried = 0
       }
       do
       :: atomic { tried == SLOTS -> slot = NONE; break }
       :: atomic {
            else ->
            slot = (head + tried) % SLOTS;
            if
            :: credit[slot] == ABANDONED && ANSWERED(slot) -> abandoned--; outcomes++; free(slot)
            :: else
            fi;
            if
            :: credit[slot] == FREE -> break
            :: else -> tried++
            fi
          }
       od;
       if
       :: atomic { slot == NONE -> stuck = true; slot = 0; tried = 0 }
       :: else ->
#ifndef LYING_WORKER
          assert(!may_write[slot]);
#endif
          atomic {
            credit[slot] = IN_FLIGHT;
            own[slot] = sequence;
            in_flight++;
            tried = 0
          }
#ifdef SKIPPED_LATE
#define SAY_SKIPPED
#else
#define SAY_SKIPPED \
          if \
          :: slot != head && !said_skipped -> \
             atomic { said_skipped = true; stored[CLIENT] ! SKIPPED(0, 1) } \
             empty(stored[CLIENT]) \
          :: else \
          fi
#endif
#ifndef NO_SKIPPED
          SAY_SKIPPED;
#endif
#ifdef REQUEST_WORD_FIRST
          stored[CLIENT] ! REQUEST_WORD(slot, sequence);
          stored[CLIENT] ! REQUEST_PAYLOAD(slot, sequence);
#else
          stored[CLIENT] ! REQUEST_PAYLOAD(slot, sequence);
          stored[CLIENT] ! REQUEST_WORD(slot, sequence);
#endif
          wake(CLIENT, WORKER);
#ifdef SKIPPED_LATE
          if
          :: slot != head && !said_skipped -> atomic { said_skipped = true; stored[CLIENT] ! SKIPPED(0, 1) }
          :: else
          fi;
#endif
          atomic {
            sequence++;
            head = (slot + 1) % SLOTS;
            slot = 0
          }
       fi
    :: in_flight > abandoned ->
       /* rfaas_test of any call, or its caller gives it up. */
       if
       :: slot = 0
       :: slot = 1
#if SLOTS > 2
       :: slot = 2
#endif
       fi;
       if
       :: credit[slot] == IN_FLIGHT && ANSWERED(slot) -> finish(slot); stuck = false
#ifdef ABANDONS
       :: atomic {
            credit[slot] == IN_FLIGHT ->
#ifdef ABANDONED_IS_FREE
            outcomes++;
            free(slot);
            stuck = false
#else
            credit[slot] = ABANDONED;
            abandoned++
#endif
          }
#endif
       :: else
       fi;
       slot = 0
    :: stuck || (sequence > CALLS && in_flight > abandoned) ->
       /* fall_asleep, then a look */
#ifdef CLIENT_LOOKS_FIRST
       found = false;
#else
#ifdef NO_FENCE_OF_SLEEPER
       skip;
#else
       atomic { empty(stored[CLIENT]) -> waiting[CLIENT] = true }
#endif
#endif
       atomic { found = false; slot = 0 }
       do
       :: atomic { slot == SLOTS -> slot = 0; break }
       :: atomic {
            else ->
            if
            :: credit[slot] != FREE && ANSWERED(slot) -> found = true
            :: else
            fi;
            slot++
          }
       od;
#if defined(CLIENT_LOOKS_FIRST) || defined(NO_FENCE_OF_SLEEPER)
       if
       :: !found -> atomic { empty(stored[CLIENT]) -> waiting[CLIENT] = true }
       :: else
       fi;
#endif
       if
       :: found
       :: else ->
          if
          :: !waiting[CLIENT]
          :: ended
          fi
       fi;
       atomic { stored[CLIENT] ! AWAKE(0, 0); stuck = false; found = false }
    :: ended && in_flight > 0 ->
       /* No answer comes any more: what is there counts, all else is lost. */
       do
       :: atomic { slot == SLOTS -> slot = 0; break }
       :: atomic {
            else ->
            if
            :: credit[slot] != FREE && LAST_LOOK(slot) ->
               if :: credit[slot] == ABANDONED -> abandoned-- :: else fi;
               outcomes++;
               free(slot)
            :: credit[slot] != FREE && !LAST_LOOK(slot) ->
               assert(!answered[own[slot]]);
               if :: credit[slot] == ABANDONED -> abandoned-- :: else fi;
               outcomes++;
               free(slot)
            :: credit[slot] == FREE
            fi;
            slot++
          }
       od
    :: ended && in_flight == 0 -> break
    :: sequence > CALLS && in_flight == abandoned -> break
    od;
    assert(outcomes + abandoned == sequence - 1)
  } unless { died[CLIENT] };
  /* The lease is released, or its connection is closed by the kernel: the host hears of it in its event loop. */
  atomic { empty(stored[CLIENT]) -> released = true }
}

inline accept(slot) {
  request[slot] = request_payload[slot];
#ifndef LYING_CLIENT
  assert(request[slot] == expected);
#endif
  assert(!begun[slot]);
  assert(expected <= CALLS);
  call_of[slot] = expected;
  expected++;
  hint = (slot + 1) % SLOTS;
  begun[slot] = true;
  running++;
  may_write[slot] = true
}

#ifdef ANY_REQUEST
#define EXPECTED(slot) (request_word[slot] != 0 && request_word[slot] >= expected)
#else
#ifdef NO_ACTIVE
#define EXPECTED(slot) (request_word[slot] == expected)
#else
#define EXPECTED(slot) (request_word[slot] == expected && !begun[slot])
#endif
#endif

/* worker_poll: the first slot, the next in order, and if the client has skipped some, all others. */
inline poll() {
  atomic { at = NONE; if :: EXPECTED(0) -> at = 0 :: else fi }
  if
  :: at == NONE -> atomic { if :: EXPECTED(hint) -> at = hint :: else fi }
  :: else
  fi;
  if
  :: at == NONE && skipped ->
     ahead = 1;
     do
     :: atomic { ahead == SLOTS || at != NONE -> ahead = 0; break }
     :: atomic { else -> if :: EXPECTED((hint + ahead) % SLOTS) -> at = (hint + ahead) % SLOTS :: else fi; ahead++ }
     od
  :: else
  fi
}

inline answer(slot, with) {
#ifdef ANSWER_WORD_FIRST
  stored[WORKER] ! ANSWER_WORD(slot, call_of[slot]);
  stored[WORKER] ! ANSWER_PAYLOAD(slot, with);
#else
  stored[WORKER] ! ANSWER_PAYLOAD(slot, with);
  stored[WORKER] ! ANSWER_WORD(slot, call_of[slot]);
#endif
  atomic {
    begun[slot] = false;
    running--;
    request[slot] = 0;
    call_of[slot] = 0
  }
  wake(WORKER, CLIENT)
}

proctype worker() {
  byte expected = 1, hint, at, ahead, running;
  byte request[SLOTS], call_of[SLOTS];
  bool begun[SLOTS];
  {
    do
    :: released -> break
    :: !released ->
       poll();
       if
       :: atomic { at != NONE -> accept(at); at = 0 }
       :: else -> at = 0
       fi
    :: running > 0 ->
       /* A promise settles, or a function returns. */
       if
       :: at = 0
       :: at = 1
#if SLOTS > 2
       :: at = 2
#endif
       fi;
       if
       :: begun[at] -> answer(at, request[at])
       :: else
       fi;
       at = 0
#ifdef THREAD_DIES
    :: running > 0 && !lost_thread ->
       lost_thread = true;
#ifndef NO_ABORT
       do
       :: at == SLOTS -> at = 0; break
       :: else ->
          if
          :: begun[at] -> answer(at, LOST)
          :: else
          fi;
          at++
       od
#else
       atomic {
         at = 0;
         do
         :: at == SLOTS -> at = 0; break
         :: else -> if :: begun[at] -> begun[at] = false; running-- :: else fi; at++
         od
       }
#endif
#endif
    :: !released ->
#ifdef NO_FENCE_OF_SLEEPER
       poll();
       if
       :: at == NONE -> atomic { empty(stored[WORKER]) -> waiting[WORKER] = true }
       :: else
       fi;
#else
       atomic { empty(stored[WORKER]) -> waiting[WORKER] = true }
#ifdef NO_LOOK_BEFORE_SLEEP
       at = NONE;
#else
       poll();
#endif
#endif
       if
       :: at == NONE ->
          if
          :: !waiting[WORKER]
          :: running > 0
          :: released
          fi;
          stored[WORKER] ! AWAKE(0, 0);
          at = 0
       :: else ->
          stored[WORKER] ! AWAKE(0, 0);
          atomic { accept(at); at = 0 }
       fi
    od
  } unless { died[WORKER] };
  /* The kernel shows what a dead process has stored; its agent then writes the word and wakes the client. */
  if
  :: died[WORKER] ->
#ifdef END_TOLD_EARLY
     ended = true
#else
     atomic {
       empty(stored[WORKER]) -> ended = true;
       at = 0;
       do
       :: at == SLOTS -> at = 0; break
       :: else -> may_write[at] = false; at++
       od
     }
#endif
  :: else
  fi
}

/* A few requests of any kind at any time. */
proctype liar_of_client() {
  byte writes, word;
  do
  :: writes == LIES -> break
  :: else ->
     writes++;
     word = 1;
     do
     :: word < CALLS -> word++
     :: break
     od;
     if
     :: request_word[0] = word
     :: request_word[1] = word
     :: skipped = !skipped
     :: waiting[WORKER] = false
     fi
  od;
  released = true
}

/* Answers of any kind at any time. */
proctype liar_of_worker() {
  byte word = 1;
  do
  :: answer_word[0] = word
  :: answer_word[1] = word
  :: word <= CALLS -> word++
  :: waiting[CLIENT] = false
  :: released -> break
  od
}

proctype fate() {
end:
  if
#ifdef WORKER_DIES
  :: died[WORKER] = true
#endif
#ifdef CLIENT_DIES
  :: died[CLIENT] = true
#endif
  :: skip
  fi
}

init {
  atomic {
    run machine(CLIENT);
    run machine(WORKER);
#ifdef LYING_CLIENT
    run liar_of_client();
#else
    run client();
#endif
#ifdef LYING_WORKER
    run liar_of_worker();
#else
    run worker();
#endif
    run fate()
  }
}
