/**
 * A room by the kernel's own means: Landlock, namespaces and no capabilities before the host is executed, and a filter of system calls
 * that the host puts on before it loads a module. It needs no root, and no program.
 */
import { openSync } from "node:fs";
import { constants } from "node:os";
import { closeDescriptor, notifyPair } from "../../../../ffi/descriptors.ts";
import { type Layer, startInRoom, tryRoom } from "../../../../ffi/sandbox.ts";
import type { HostStart, SandboxDriver, StartedHost } from "../driver.ts";
import { Watched } from "./end.ts";
import { CLOSED_ROOM, WOULD_HOLD, guardsOf, roomHere } from "./guards.ts";
import { rulesFor } from "./paths.ts";
import { foldersAtPlace, makePlace, placed } from "./place.ts";

export const byProcess = {
  name: "process",
  rooms: true,
  images: "none",
  /** Where the kernel filters no system calls its host has none to seal with. */
  get seals() {
    return roomHere().layers.has("calls");
  },
  users: true,
  usersTake: ["SETGID", "SETUID", "SYS_ADMIN"],
  whyNoUsers,
  inside: (folders, { becomesUser }) => (becomesUser ? foldersAtPlace : folders),
  whyNot() {
    try {
      roomHere();
      return undefined;
    } catch (error) {
      return { name: "rooms", state: "missing", found: (error as Error).message };
    }
  },
  guards: (allowed) => guardsOf(roomHere(), allowed),
  wouldHold: WOULD_HOLD,
  inMemory: ({ scratch }) => (roomHere().layers.has("scratch") ? [scratch] : []),
  start,
} as const satisfies SandboxDriver;

/** Each needs mounts of its own. */
function whyNoUsers(): string | undefined {
  makePlace();
  const layers = [...roomHere().layers, "uid"] as const;
  const { layers: took } = tryRoom({ ...CLOSED_ROOM, layers });
  const lacking = (["processes", "uid"] as const).filter((layer) => !took.has(layer));
  return lacking.length === 0
    ? undefined
    : "this machine does not let a room have mounts of its own, or become another user; see which namespaces and mounts it allows: rfaas doctor";
}

function start(host: HostStart): StartedHost {
  const { terms, folders, environment } = host;
  const layers: Layer[] = [...roomHere().layers];
  const place = terms.becomesUser ? placed(folders!) : undefined;
  if (place) layers.push("uid");
  const descriptors = new Descriptors(host);
  try {
    const child = startInRoom(
      {
        ...{ network: terms.network, processes: terms.processes, layers },
        // It has all that rooms get on this machine: a limit that was reached since must not make one without.
        required: layers.filter((layer) => layer !== "ports" || !terms.network),
        folder: (place ? foldersAtPlace : folders!).scratch,
        ...(place ? { placed: place } : {}),
        rules: rulesFor(host),
        // What the lease may have is known of a host that is started for it; the agent looks at all.
        scratchBytes: terms.heapBytes ?? 0,
      },
      {
        // The first process of a namespace sees no parent: the kernel ends it with the agent.
        command: host.command(layers.includes("processes") ? 0 : process.pid),
        ...{ environment, descriptors: descriptors.given },
      },
    );
    const watched = new Watched(child);
    void watched.ended.then(host.onExit);
    return {
      pid: child.pid,
      control: descriptors.control,
      kill: () => watched.signal(constants.signals.SIGKILL),
    };
  } catch (error) {
    closeDescriptor(descriptors.control);
    throw error;
  } finally {
    descriptors.close();
  }
}

/** What a host is given, of which the agent keeps an end of the first. */
class Descriptors {
  readonly control: number;
  readonly given: readonly number[];
  readonly #opened: number[];

  constructor({ descriptors: [, ...others], output }: HostStart) {
    const nothing = openSync("/dev/null", "r");
    const [own, its] = notifyPair();
    this.control = own;
    this.#opened = [nothing, its];
    this.given = [nothing, output, output, its, ...others.map(Number)];
  }

  /** The host has its own copies. */
  close(): void {
    for (const fd of this.#opened) closeDescriptor(fd);
  }
}
