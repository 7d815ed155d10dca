/* Rules of Landlock, by the ABI that the kernel has: what a room may do with files, ports, signals and abstract sockets. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* As <linux/landlock.h> has them. */
enum { CREATE_VERSION = 1, RULE_PATH = 1, RULE_PORT = 2 };
#define FS(bit) (1ull << (bit))
enum { EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV };
enum { BIND_PORT = 1, CONNECT_PORT = 2 };
enum { SCOPE_ABSTRACT_SOCKETS = 1, SCOPE_SIGNALS = 2 };

struct ruleset { uint64_t fs, net, scoped; };
struct path_rule { uint64_t allowed; int32_t parent; } __attribute__((packed));
struct port_rule { uint64_t allowed, port; };

/* What may be permitted for a file that is no folder. */
#define OF_FILES (FS(EXECUTE) | FS(WRITE_FILE) | FS(READ_FILE) | FS(TRUNCATE) | FS(IOCTL_DEV))
#define READING (FS(READ_FILE) | FS(READ_DIR))
#define WRITING                                                                                                                      \
  (FS(WRITE_FILE) | FS(REMOVE_DIR) | FS(REMOVE_FILE) | FS(MAKE_DIR) | FS(MAKE_REG) | FS(MAKE_SOCK) | FS(MAKE_FIFO) | FS(MAKE_SYM) | \
   FS(REFER) | FS(TRUNCATE))

static uint64_t known(int abi) {
  int bits = abi >= 5 ? IOCTL_DEV + 1 : abi >= 3 ? TRUNCATE + 1 : abi == 2 ? REFER + 1 : MAKE_SYM + 1;
  return FS(bits) - 1;
}

struct rfaas_rules rfaas_rules_begin(uint32_t layers, uint32_t terms) {
  struct rfaas_rules rules = {.fd = -1};
  if (!(layers & RFAAS_LAYER_FILES)) return rules;
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
  if (abi < 1) return rules;
  rules.abi = (int)abi;
  rules.handled = known(rules.abi);
  struct ruleset set = {.fs = rules.handled};
  int ports = abi >= 4 && (layers & RFAAS_LAYER_PORTS) && !(terms & RFAAS_TERM_NETWORK);
  if (ports) set.net = BIND_PORT | CONNECT_PORT;
  if (abi >= 6 && (layers & RFAAS_LAYER_SCOPES)) set.scoped = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS;
  size_t size = abi >= 6 ? sizeof set : abi >= 4 ? 2 * sizeof set.fs : sizeof set.fs;
  rules.fd = (int)syscall(SYS_landlock_create_ruleset, &set, size, 0);
  /* The data path of a lease may have to listen at a port that the kernel chooses, before the room is sealed. */
  struct port_rule chosen = {.allowed = BIND_PORT};
  if (rules.fd >= 0 && ports) syscall(SYS_landlock_add_rule, rules.fd, RULE_PORT, &chosen, 0);
  return rules;
}

static uint64_t meaning(char letter) {
  switch (letter) {
    case 'r': return READING;
    case 'x': return READING | FS(EXECUTE);
    case 'w': return READING | WRITING;
    case 'p': return READING | WRITING | FS(EXECUTE);
    case 'd': return READING | FS(WRITE_FILE) | FS(IOCTL_DEV);
    default: return 0;
  }
}

static int permit(const struct rfaas_rules *rules, uint64_t allowed, int path) {
  struct path_rule rule = {.allowed = allowed & rules->handled, .parent = path};
  return syscall(SYS_landlock_add_rule, rules->fd, RULE_PATH, &rule, 0) == 0 ? 0 : -errno;
}

int rfaas_rules_permit(const struct rfaas_rules *rules, char letter, int path) {
  int failed = permit(rules, meaning(letter), path);
  /* What only folders have is refused for a file. */
  return failed == -EINVAL ? permit(rules, meaning(letter) & OF_FILES, path) : failed;
}

uint32_t rfaas_rules_layers(const struct rfaas_rules *rules, uint32_t layers) {
  if (rules->fd < 0) return 0;
  uint32_t held = RFAAS_LAYER_FILES;
  if (rules->abi >= 4) held |= RFAAS_LAYER_PORTS;
  if (rules->abi >= 6) held |= RFAAS_LAYER_SCOPES;
  return held & layers;
}

int rfaas_rules_apply(const struct rfaas_rules *rules) {
  return syscall(SYS_landlock_restrict_self, rules->fd, 0) == 0 ? 0 : -errno;
}
