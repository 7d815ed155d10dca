/* A memory barrier on every processor that runs a process which has asked for them. */
#ifndef RFAAS_BARRIER_H
#define RFAAS_BARRIER_H

/* Whether barriers reach this process. Asks for them at the first call, in a thread of its own: the kernel may take milliseconds. */
int rfaas_barriers_reach(void);
/* Whether this process can make them. */
int rfaas_can_make_barriers(void);
void rfaas_make_barrier(void);

#endif
