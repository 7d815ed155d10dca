/**
 * Connecting to a node as another user, from a port and an address of one's choice. A program in C, since it must run where the
 * sources of this project cannot be read.
 */
import { chmodSync } from "node:fs";
import { machineId } from "../../src/control/machine.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { compiler } from "../../ffi/build.ts";
import { run } from "./compilers.ts";
import type { Scratch } from "./scratch.ts";

/** stranger UID ADDRESS PORT SOURCE SOURCEPORT MODE: sends its standard input, writes what comes back. */
const SOURCE = `
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static socklen_t at(struct sockaddr_storage *out, const char *address, int port) {
  memset(out, 0, sizeof *out);
  struct sockaddr_in6 *six = (void *)out;
  struct sockaddr_in *four = (void *)out;
  if (strchr(address, ':')) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    inet_pton(AF_INET6, address, &six->sin6_addr);
    return sizeof *six;
  }
  four->sin_family = AF_INET;
  four->sin_port = htons(port);
  inet_pton(AF_INET, address, &four->sin_addr);
  return sizeof *four;
}
static int fail(const char *what) { perror(what); return 1; }
int main(int argc, char **argv) {
  if (argc != 7) return 2;
  char said[65536], heard[65536];
  ssize_t bytes = 0, more;
  while ((more = read(0, said + bytes, sizeof said - bytes)) > 0) bytes += more;
  uid_t uid = atoi(argv[1]);
  if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) return fail("setresuid");
  struct sockaddr_storage node, own;
  socklen_t node_length = at(&node, argv[2], atoi(argv[3]));
  socklen_t own_length = at(&own, argv[4], atoi(argv[5]));
  int fd = socket(node.ss_family, SOCK_STREAM, 0), on = 1, off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (node.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, (void *)&own, own_length)) return fail("bind");
  if (connect(fd, (void *)&node, node_length)) return fail("connect");
  if (write(fd, said, bytes) != bytes) return fail("write");
  if (strcmp(argv[6], "reset") == 0) {
    struct linger now = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return close(fd);
  }
  if (strcmp(argv[6], "leave") == 0) {
    own_length = sizeof own;
    getsockname(fd, (void *)&own, &own_length);
    printf("%d\\n", ntohs(((struct sockaddr_in *)&own)->sin_port));
    return close(fd);
  }
  while ((more = read(fd, heard, sizeof heard)) > 0) {
    fwrite(heard, 1, more, stdout);
    if (strcmp(argv[6], "all") != 0) break;
  }
  return 0;
}
`;

export interface StrangerOptions {
  uid: number;
  port: number;
  /** The node's. Default 127.0.0.1. */
  address?: string;
  /** Where from. Default 127.0.0.1. */
  from?: string;
  /** 0, the default, for any. */
  fromPort?: number;
  /** What comes before it, such as `unshare --user`. */
  within?: readonly string[];
  /** `once`, the default, waits for an answer; `all` for what comes until the node closes; `leave` closes first and prints its port; `reset` breaks the connection. */
  mode?: "once" | "all" | "leave" | "reset";
}

/** Compiled once a test file, into a folder that all users may enter. */
export class Stranger {
  readonly #program: string;

  constructor(scratch: Scratch) {
    chmodSync(scratch.path, 0o755);
    this.#program = scratch.join("stranger");
    run([compiler()!, "-o", this.#program, scratch.file("stranger.c", SOURCE)], "/");
    chmodSync(this.#program, 0o755);
  }

  /** Says `bytes` and returns what was printed. */
  connect(options: StrangerOptions, bytes: Uint8Array): Buffer {
    const { uid, port, address = "127.0.0.1", within = [], mode = "once" } = options;
    const { from = "127.0.0.1", fromPort = 0 } = options;
    const where = [address, String(port), from, String(fromPort)];
    const done = Bun.spawnSync([...within, this.#program, String(uid), ...where, mode], {
      stdin: bytes,
      stdout: "pipe",
      stderr: "pipe",
      cwd: "/",
    });
    if (!done.success) throw new Error(done.stderr.toString());
    return done.stdout;
  }

  /** Greets as a client of this machine does. Returns what kind of answer came, with the code of a refusal. */
  greet(options: StrangerOptions): string {
    const [answer] = new FrameReader().push(this.connect(options, hello())) as [
      { t: string; code?: string } | undefined,
    ];
    return answer ? [answer.t, answer.code].filter(Boolean).join(" ") : "nothing";
  }
}

export function hello(token: string | null = null): Uint8Array {
  return encodeFrame({
    ...{ t: "hello", protocol: PROTOCOL_VERSION, version: "0", pid: 1, token },
    ...{ fabrics: ["shm", "tcp"], machine: machineId() },
  });
}
