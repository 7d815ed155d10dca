/* The library of native attempts: its one function is given an attempt's name and facts, each ended by a zero, and answers in words. */
#include "escape.h"

static char facts[16384];
static uint32_t facts_bytes;

const char *fact(const char *name) {
  size_t length = strlen(name);
  for (const char *at = facts; at < facts + facts_bytes; at += strlen(at) + 1)
    if (strncmp(at, name, length) == 0 && at[length] == '=') return at + length + 1;
  return "";
}

long number(const char *name) { return atol(fact(name)); }

static const char *path_of(const char *folder, const char *name) {
  static _Thread_local char paths[4][4096];
  static _Thread_local int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

const char *in(const char *folder, const char *name) { return path_of(fact(folder), name); }

const char *scratch(const char *name) {
  const char *own = getenv("TMPDIR");
  char unique[256];
  snprintf(unique, sizeof unique, "escape-%d-%s", (int)getpid(), name);
  return path_of(own ? own : "/tmp", unique);
}

int made(long result) { return result < 0 ? errno : 0; }

int opens(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  char byte;
  int failed = (flags & O_ACCMODE) == O_RDONLY && read(fd, &byte, 1) < 0 && errno != EISDIR ? errno : 0;
  close(fd);
  return failed;
}

int reads_secret(int fd) {
  char text[4096];
  ssize_t bytes = read(fd, text, sizeof text);
  if (bytes < 0) return errno;
  return memmem(text, (size_t)bytes, fact("secret"), strlen(fact("secret"))) ? REACHED : NOTHING;
}

int in_child(int (*run)(void)) {
  pid_t child = fork();
  if (child < 0) return run();
  if (child == 0) _exit(run() & 0xff);
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (!WIFEXITED(status)) return EFAULT;
  return WEXITSTATUS(status) == 0xff ? NOTHING : WEXITSTATUS(status);
}

/* No attempt: as much time as some take, for who compares. */
static int spin(void) {
  for (volatile int i = 0; i < 30000; i++) continue;
  return NOTHING;
}
static const struct attempt no_attempts[] = {{"spin", spin}, {NULL, NULL}};

static const struct attempt *find(const char *name) {
  const struct attempt *const groups[] = {file_attempts, process_attempts, socket_attempts, program_attempts, kernel_attempts, no_attempts};
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    for (const struct attempt *each = groups[i]; each->name; each++)
      if (strcmp(each->name, name) == 0) return each;
  return NULL;
}

__attribute__((visibility("default"))) uint32_t attempt(void *input, uint32_t bytes, void *output) {
  facts_bytes = bytes < sizeof facts - 1 ? bytes : sizeof facts - 1;
  memcpy(facts, input, facts_bytes);
  facts[facts_bytes] = 0;
  const struct attempt *named = find(facts);
  errno = 0;
  int result = named ? named->run() : ENOTSUP;
  const char *word = result == REACHED ? "reached" : result == NOTHING ? "nothing" : strerrorname_np(result);
  return (uint32_t)snprintf(output, 64, "%s", word ? word : "unknown");
}
