/* A room: a process that has lost what a tenant's code must not have, before any of that code is loaded. `room.c` starts it,
 * `user.c` makes it another user, and `seal.c` closes it for all of its threads. */
#ifndef RFAAS_SANDBOX_H
#define RFAAS_SANDBOX_H

#include "../core/rfaas.h"

/* What a room may be made of. `ffi/sandbox.ts` states the same numbers. */
enum rfaas_layer {
  RFAAS_LAYER_CAPABILITIES = 1,  /* it has none, and can get none */
  RFAAS_LAYER_FILES = 2,         /* Landlock: files */
  RFAAS_LAYER_PORTS = 4,         /* Landlock, ABI 4: ports of the network */
  RFAAS_LAYER_SCOPES = 8,        /* Landlock, ABI 6: signals and abstract sockets */
  RFAAS_LAYER_USER = 16,         /* a user namespace, which an ordinary user needs for the next two */
  RFAAS_LAYER_PROCESSES = 32,    /* a pid namespace, with a /proc of its own */
  RFAAS_LAYER_IPC = 64,          /* an ipc namespace */
  RFAAS_LAYER_UID = 128,         /* it can become another user: it keeps what it needs for that alone */
  RFAAS_LAYER_CALLS = 256,       /* seccomp: it can be sealed */
  RFAAS_LAYER_MOUNTS = 512,      /* mounts of its own: those that its rules do not let it write can only be read */
  RFAAS_LAYER_SCRATCH = 1024,    /* its folder is a file system in memory, where that is asked for */
};

/* What the room was to be, at their places among the numbers that `rfaas_room_start` gets. */
enum rfaas_room_order {
  RFAAS_ORDER_LAYERS,      /* which layers to try */
  RFAAS_ORDER_REQUIRED,    /* without which it must not start */
  RFAAS_ORDER_TERMS,       /* bits of enum rfaas_term */
  RFAAS_ORDER_SCRATCH,     /* its folder is a file system in memory of so many MiB, or of the kernel's choice with 0, in a mount namespace; or -1 */
  RFAAS_ORDER_CGROUP,      /* a descriptor of the `cgroup.procs` that it enters, or -1 */
  RFAAS_ORDER_ARGUMENTS,   /* how many strings are its command line */
  RFAAS_ORDER_VARIABLES,   /* how many follow, which are its environment */
  RFAAS_ORDER_RULES,       /* how many follow after its folders: a letter, then a path */
  RFAAS_ORDER_DESCRIPTORS, /* how many numbers follow, which are its descriptors 0, 1, ... */
  RFAAS_ORDER_COUNT,
};

/* What a room's code may do, as `rfaas_seal` gets it, too. */
enum rfaas_term { RFAAS_TERM_NETWORK = 1, RFAAS_TERM_PROCESSES = 2 };

/* What `rfaas_seal` takes away before a lease comes, and when it has. */
enum rfaas_seal_part { RFAAS_SEAL_FIRST = 1, RFAAS_SEAL_REST = 2 };

/* With a signal's number, the exit code of the first process of a namespace that has sent itself that signal. As of a shell. */
enum { RFAAS_ROOM_DIED = 128 };

/* What has become of it. */
enum rfaas_room_report {
  RFAAS_REPORT_LAYERS, /* those that took */
  RFAAS_REPORT_ABI,    /* of Landlock, 0 where the kernel has none */
  RFAAS_REPORT_PIDFD,
  RFAAS_REPORT_STEP,   /* at which of enum rfaas_step it failed */
  RFAAS_REPORT_COUNT,
};

enum rfaas_step {
  RFAAS_STEP_NONE,
  RFAAS_STEP_CLONE,
  RFAAS_STEP_NAMESPACES,
  RFAAS_STEP_CGROUP,
  RFAAS_STEP_USER,
  RFAAS_STEP_LAYERS, /* one that is required did not take */
  RFAAS_STEP_DESCRIPTORS,
  RFAAS_STEP_FOLDER,
  RFAAS_STEP_EXEC,
};

/* Landlock, of which the headers of older systems know less than the kernel may. */
struct rfaas_rules {
  int fd; /* -1 where the kernel has none */
  int abi;
  uint64_t handled;
};

/* A set of rules for these terms, without rules. */
struct rfaas_rules rfaas_rules_begin(uint32_t layers, uint32_t terms);
/* Permits what `letter` says beneath a path that is open. Returns 0 or -errno. */
int rfaas_rules_permit(const struct rfaas_rules *rules, char letter, int path);
/* Which layers the set holds. */
uint32_t rfaas_rules_layers(const struct rfaas_rules *rules, uint32_t layers);
/* From now on the calling thread, and what it starts, keeps the rules. Returns 0 or -errno. */
int rfaas_rules_apply(const struct rfaas_rules *rules);

#endif
