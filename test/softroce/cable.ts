/** The network between two guests: a pair of connected sockets, one for each QEMU. No ports, and nobody waits for the other. */
import { closeSync } from "node:fs";
import { dlopen, ptr } from "bun:ffi";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;

const libc = dlopen("libc.so.6", {
  socketpair: { args: ["int", "int", "int", "ptr"], returns: "int" },
});

export class Cable implements Disposable {
  readonly ends: readonly [number, number];

  constructor() {
    const pair = new Int32Array(2);
    if (libc.symbols.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ptr(pair)) !== 0)
      throw new Error("socketpair failed");
    this.ends = [pair[0]!, pair[1]!];
  }

  /** Closes this process's copies, so that a guest's end closes when the guest dies. */
  [Symbol.dispose](): void {
    for (const end of this.ends) closeSync(end);
  }
}
