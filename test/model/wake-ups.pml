/* Two posters and one side that sleeps, as in ffi/shim/shm/sleep.h, on a machine where what one stores is seen by others later.
 *
 * Each process stores into a buffer, in order; the machine empties it at any time, and a fence waits until it is empty. What a process
 * reads is what has left the buffers of others. A poster's posts carry rising numbers; the sleeper takes the last one it sees. It
 * must take them all: if it sleeps on although all is posted, the model ends in an invalid state.
 *
 * Variants, by macro: UNFENCED lets posters give up their fence. Faults: NO_FENCE_OF_SLEEPER, NO_FENCE_OF_POSTER, NO_BARRIER,
 * NO_FENCE_AT_DECLARATION, EARLY_WITHDRAWAL leave out a step of the protocol; LYING_POSTER (the first posts without fence, and does not
 * say so) and LYING_SLEEPER (it says that it makes barriers, and makes none) are peers that lie. TIMEOUTS bounds each sleep.
 */
#define POSTERS 2
#ifndef POSTS
#define POSTS 2
#endif
#define ROOM 4

#ifdef LYING_POSTER
#define DECLARED (i != 0)
/* What the liar posts may be missed. */
#define TOOK_ALL (taken[1] == POSTS)
#else
#define DECLARED true
#define TOOK_ALL (taken[0] == POSTS && taken[1] == POSTS)
#endif
#define SAW_NEW (posted[0] != taken[0] || posted[1] != taken[1])

mtype = { REQUEST, DECLARE, WITHDRAW, AWAKE };

byte posted[POSTERS];
bool waiting;
byte unfenced;

/* What posters, and last the sleeper, have stored and others do not see yet. */
chan stored[POSTERS + 1] = [ROOM] of { mtype, byte };

inline leave(i) {
  if
  :: stored[i] ? REQUEST(value) -> posted[i] = value
  :: stored[i] ? DECLARE(value) -> unfenced++
  :: stored[i] ? WITHDRAW(value) -> unfenced--
  :: stored[i] ? AWAKE(value) -> waiting = false
  fi
}

inline fence(i) { empty(stored[i]) }

proctype machine(byte i) {
  byte value;
end:
  do
  :: atomic { nempty(stored[i]) -> leave(i) }
  od
}

proctype poster(byte i) {
  byte number = 0, value;
  bool light = false, sleeps;
#ifdef LYING_POSTER
  if :: i == 0 -> light = true :: else fi;
#endif
  do
  :: number == POSTS -> break
  :: else ->
    number++;
    stored[i] ! REQUEST(number);
    if
    :: light ->
#ifdef EARLY_WITHDRAWAL
      atomic { unfenced--; light = false }
#else
      skip
#endif
    :: else ->
#ifndef NO_FENCE_OF_POSTER
      fence(i);
#endif
#ifdef UNFENCED
      /* After as many posts as it likes. */
      if
      :: stored[i] ! DECLARE(0);
#ifndef NO_FENCE_AT_DECLARATION
        fence(i);
#endif
        light = true
      :: skip
      fi
#else
      skip
#endif
    fi;
    sleeps = waiting;
    if
    :: sleeps ->
      if
      :: light && DECLARED -> stored[i] ! WITHDRAW(0); light = false
      :: else
      fi;
      /* The exchange comes after what was stored before. */
      fence(i);
      waiting = false
    :: else
    fi
  od
}

inline take() {
  atomic {
    taken[0] = posted[0];
    taken[1] = posted[1]
  }
}

proctype sleeper() {
  byte taken[POSTERS], value, i;
  do
  :: TOOK_ALL -> break
  :: else ->
#ifdef NO_FENCE_OF_SLEEPER
    /* It looks before others can see that it sleeps. */
    if
    :: SAW_NEW -> take()
    :: else ->
      fence(POSTERS);
      waiting = true;
      !waiting
    fi
#else
    atomic { fence(POSTERS) -> waiting = true };
    if
    :: unfenced > 0 ->
#if !defined(NO_BARRIER) && !defined(LYING_SLEEPER)
      i = 0;
      do
      :: i == POSTERS -> break
      :: else ->
        atomic {
          do
          :: nempty(stored[i]) -> leave(i)
          :: empty(stored[i]) -> break
          od;
          i++
        }
      od
#else
      skip
#endif
    :: else
    fi;
    if
    :: SAW_NEW -> take()
    :: else ->
      if
      :: !waiting
#ifdef TIMEOUTS
      :: skip
#endif
      fi
    fi;
    stored[POSTERS] ! AWAKE(0)
#endif
  od
}

init {
  atomic {
    run machine(0);
    run machine(1);
    run machine(2);
    run poster(0);
    run poster(1);
    run sleeper()
  }
}
