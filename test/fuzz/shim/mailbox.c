/* Messages that a peer sends to a mailbox, with descriptors: those with the right nonce are taken, and no other descriptor stays open. */
#include "lease.h"

#include <dirent.h>
#include <errno.h>

int32_t rfaas_mailbox_receive(int32_t mailbox, const uint8_t *nonce, int32_t *fds, int32_t capacity);
int32_t rfaas_mailbox_pair(int32_t *out);

static int open_descriptors(void) {
  int count = 0;
  DIR *all = opendir("/proc/self/fd");
  while (readdir(all)) count++;
  closedir(all);
  return count;
}

static void say(int to, bytes *b, const uint8_t *nonce) {
  uint8_t body[64] = {0};
  uint8_t how = next(b);
  size_t length = how & 1 ? next(b) % sizeof body : 16;
  memcpy(body, nonce, 16);
  if (how & 2) take(b, body, 4);
  int fds[250];
  int count = how & 4 ? next(b) % 250 : how % 5;
  for (int i = 0; i < count; i++) fds[i] = to;
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof fds)];
  } control = {0};
  struct iovec iov = {.iov_base = body, .iov_len = length};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  if (count) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN((size_t)count * sizeof(int))};
    memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
  }
  (void)!sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint8_t nonce[16] = "the lease's word";
  static int before;
  bytes b = {data, size};
  int pair[2];
  if (!before) before = open_descriptors();
  int stream = next(&b) & 1;
  MUST(stream ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0 : rfaas_mailbox_pair(pair) == 0);
  for (int i = 0; i < 4 && b.left > 0; i++) say(pair[1], &b, nonce);
  int32_t capacity = next(&b) % 251, fds[251];
  for (int32_t count = 0; count >= 0 || count == -EMFILE;) {
    count = rfaas_mailbox_receive(pair[0], nonce, fds, capacity);
    MUST(count <= capacity);
    for (int32_t i = 0; i < count; i++) close(fds[i]);
  }
  close(pair[0]);
  close(pair[1]);
  MUST(open_descriptors() == before);
  return 0;
}
