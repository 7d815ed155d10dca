/** A port whose machine drops the first packet of every connection: its queue is full, and nobody accepts. */
import { type Socket, connect } from "node:net";
import { compiler } from "../../ffi/build.ts";
import { run } from "./compilers.ts";
import { Scratch } from "./scratch.ts";

const SOURCE = `
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&a, n) || listen(fd, 0) || getsockname(fd, (struct sockaddr *)&a, &n)) return 1;
  printf("%d\\n", ntohs(a.sin_port));
  fflush(stdout);
  for (;;) pause();
}`;

/** So long without an answer on this machine: there comes none. */
const SILENCE_MS = 1000;

export class DeafListener implements Disposable {
  readonly address: string;
  readonly #child: Bun.Subprocess;
  readonly #sockets: Socket[];

  private constructor(port: number, child: Bun.Subprocess, sockets: Socket[]) {
    this.address = `127.0.0.1:${port}`;
    this.#child = child;
    this.#sockets = sockets;
  }

  static async open(): Promise<DeafListener> {
    using scratch = new Scratch();
    const program = scratch.join("deaf");
    run([compiler()!, "-o", program, scratch.file("deaf.c", SOURCE)], "/");
    const child = Bun.spawn([program], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    const port = Number(new TextDecoder().decode(value));
    const sockets: Socket[] = [];
    const listener = new DeafListener(port, child, sockets);
    for (;;) {
      const socket = connect({ host: "127.0.0.1", port });
      socket.on("error", () => {});
      sockets.push(socket);
      const open = new Promise<boolean>((resolve) => socket.on("connect", () => resolve(true)));
      if (!(await Promise.race([open, Bun.sleep(SILENCE_MS).then(() => false)]))) return listener;
    }
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#child.kill("SIGKILL");
  }
}
