/* Looks that take as long as there is to see: each goes on in a thread of its own, and the agent takes what it has found when it is there. */
#ifndef RFAAS_LOOK_H
#define RFAAS_LOOK_H

#include <stdint.h>

enum { LOOK_NUMBERS = 3 };

/* The first member of what a kind of look needs; allocated with that, and freed by who is last to need it. */
struct look {
  _Atomic uint32_t state;
  void (*work)(struct look *);
  double found[LOOK_NUMBERS], took_us;
};

/* Lets a thread do the work. Returns what the result is to be taken from, as a number; or frees it and returns 0. */
double rfaas_look_begin(struct look *look, void (*work)(struct look *));

#endif
