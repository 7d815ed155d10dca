/* decoy FOLDER SECRET: a process beside the node, of the same user, that guards nothing by itself: its memory, descriptors, sockets and
 * segments are there for who can reach them. It says on one line where they are, and lives until its parent ends or ends it. */
#include "escape.h"

#include <arpa/inet.h>
#include <mqueue.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static char spare[64] = "nothing of worth";
static const char *secret;
static char queue[64];
static int segment, memory;

static void clean(int signal) {
  (void)signal;
  shmctl(segment, IPC_RMID, NULL);
  mq_unlink(queue);
  _exit(0);
}
static void ignore(int signal) { (void)signal; }

static int listening(int domain, int type, const void *at, socklen_t bytes) {
  int fd = socket(domain, type, 0);
  if (fd < 0 || bind(fd, at, bytes) != 0 || (type == SOCK_STREAM && listen(fd, 16) != 0)) {
    perror("decoy");
    exit(1);
  }
  return fd;
}

static int named(int type, const char *suffix) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  int length = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "escape-%d%s", (int)getpid(), suffix);
  return listening(AF_UNIX, type, &at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
}

static int port_of(int fd) {
  struct sockaddr_in at;
  socklen_t bytes = sizeof at;
  getsockname(fd, (void *)&at, &bytes);
  return ntohs(at.sin_port);
}

/* The secret, and over sockets of the machine a descriptor. */
static void serve(int listener, int local) {
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) return;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } rights = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&rights.header), &memory, sizeof memory);
  struct iovec body = {(void *)(uintptr_t)secret, strlen(secret)};
  struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1};
  if (local) {
    message.msg_control = &rights;
    message.msg_controllen = sizeof rights;
  }
  (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
  /* Who has just connected may have something to say yet. */
  static int last[16];
  static int next;
  if (last[next % 16]) close(last[next % 16]);
  last[next++ % 16] = fd;
}

int main(int argc, char **argv) {
  if (argc != 3 || chdir(argv[1]) != 0) return 2;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  signal(SIGUSR1, ignore);
  secret = strdup(argv[2]);
  memory = (int)syscall(SYS_memfd_create, "decoy", 0);
  if (write(memory, secret, strlen(secret)) < 0) return 1;
  segment = shmget((key_t)getpid(), 4096, IPC_CREAT | IPC_EXCL | 0600);
  snprintf(queue, sizeof queue, "/escape-%d", (int)getpid());
  struct mq_attr small = {.mq_maxmsg = 4, .mq_msgsize = 16};
  mq_open(queue, O_RDONLY | O_CREAT | O_NONBLOCK, 0600, &small);
  signal(SIGTERM, clean);

  const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  snprintf(path.sun_path, sizeof path.sun_path, "decoy.sock");
  struct pollfd all[] = {
    {named(SOCK_STREAM, ""), POLLIN, 0},
    {listening(AF_UNIX, SOCK_STREAM, &path, sizeof path), POLLIN, 0},
    {listening(AF_INET, SOCK_STREAM, &any, sizeof any), POLLIN, 0},
    {named(SOCK_DGRAM, "-mail"), POLLIN, 0},
  };
  int udp = listening(AF_INET, SOCK_DGRAM, &any, sizeof any);
  printf("{\"decoy\":%d,\"memfd\":%d,\"address\":%ld,\"spare\":%ld,\"tcp\":%d,\"udp\":%d}\n", (int)getpid(), memory, (long)(uintptr_t)secret,
         (long)(uintptr_t)spare, port_of(all[2].fd), port_of(udp));
  fflush(stdout);
  for (;;) {
    if (poll(all, 4, -1) < 0) continue;
    char mail[16];
    if (all[3].revents & POLLIN) (void)!read(all[3].fd, mail, sizeof mail);
    for (int i = 0; i < 3; i++)
      if (all[i].revents & POLLIN) serve(all[i].fd, i < 2);
  }
}
