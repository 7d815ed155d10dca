/** The end of a process that the shim has started, of which the runtime knows nothing. */
import { constants } from "node:os";
import { type RoomEnd, type RoomProcess, roomEnd, signalRoom } from "../../../../ffi/sandbox.ts";
import { keepChild } from "../../../base/process.ts";
import { watchDescriptor } from "../../../control/watch-descriptor.ts";
import type { HostExit } from "../driver.ts";
import { endOrphans } from "../orphans.ts";

/** With a signal's number, the exit code of one that has sent itself that signal. `RFAAS_ROOM_DIED`. */
const DIED = 128;

/** How often a process is looked at that the event loop cannot watch. */
const LOOK_MS = 5;

export class Watched {
  /** It is gone, with all that it started. */
  readonly ended: Promise<HostExit>;
  readonly #process: RoomProcess;
  #lives = true;

  constructor(process: RoomProcess) {
    this.#process = process;
    const gone = this.#untilGone();
    keepChild({ pid: process.pid, exited: gone });
    this.ended = gone.then(async (end) => this.#exitOf(end, await endOrphans()));
  }

  signal(number: number): void {
    // Its pid names it until it has been waited for.
    if (this.#lives) signalRoom(this.#process.pid, number);
  }

  async #untilGone(): Promise<RoomEnd> {
    await readable(this.#process.pidfd);
    for (;;) {
      const end = roomEnd(this.#process.pid);
      if (end) {
        this.#lives = false;
        return end;
      }
      await Bun.sleep(LOOK_MS);
    }
  }

  #exitOf({ exitCode, signal, cpuNs }: RoomEnd, orphansNs: number): HostExit {
    const cpu = { cpuNs: cpuNs + orphansNs };
    // The first process of a namespace cannot kill itself: its seal lets it exit, or does, when it asks for that.
    const first = this.#process.layers.has("processes");
    const asked = first ? exitCode - DIED : 0;
    if (signal === 0)
      return asked > 0
        ? { exitCode: null, signal: nameOf(asked), ...cpu }
        : { exitCode, signal: null, ...cpu };
    const trapped = first && signal === constants.signals.SIGSYS;
    return { exitCode: null, signal: trapped ? "SIGKILL" : nameOf(signal), ...cpu };
  }
}

/**
 * Resolves when a descriptor of a process can be read, and closes it: when the process has ended, or at once where it cannot be watched.
 * The event loop then finds no socket that it could read, and closes what it takes for one.
 */
async function readable(pidfd: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const closed = { data() {}, close: () => resolve(), error() {} };
  watchDescriptor(pidfd, closed).catch(() => resolve());
  await promise;
}

const nameOf = (signal: number): string =>
  Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `${signal}`;
