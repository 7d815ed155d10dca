/* What the native attempts share. Each tries one thing, and says how far it came. */
#ifndef RFAAS_ESCAPE_H
#define RFAAS_ESCAPE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What an attempt returns, if it is not the errno that has stopped it. */
enum { REACHED = 0, NOTHING = -1 };

struct attempt {
  const char *name;
  int (*run)(void);
};
extern const struct attempt file_attempts[], process_attempts[], socket_attempts[], program_attempts[], kernel_attempts[];

/* Of the world outside, as the test has told it. */
const char *fact(const char *name);
long number(const char *name);
/* A path in a folder of a fact. */
const char *in(const char *folder, const char *name);
/* A path in the attempt's own scratch folder, which is the system's where it has none. */
const char *scratch(const char *name);

/* Returns 0 or errno. */
int made(long result);
#define CALL(...) made(syscall(__VA_ARGS__))
/* Opens a file, reads from it what it says if it is to be read, and closes it. */
int opens(const char *path, int flags);
/* Whether what is read from here holds the secret. */
int reads_secret(int fd);
/* Runs it in a process of its own where one can be had, else in this one. */
int in_child(int (*run)(void));

#endif
