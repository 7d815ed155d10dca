/**
 * Rooms: processes that have lost, before they run, what a tenant's code must not have; `shim/sandbox/` makes them. A room has layers,
 * of which the kernel may not give each: {@link tryRoom} says which it gives, and {@link startInRoom} starts none that lacks one that is
 * required.
 */
import { NativeError, check } from "./errors.ts";
import { native } from "./library.ts";

/** What a room may be made of. `enum rfaas_layer`. */
export const LAYER = {
  /** It has no capabilities, and can get none. */
  capabilities: 1,
  /** Landlock's rules for files, */
  files: 2,
  /** for TCP ports, */
  ports: 4,
  /** for signals and abstract sockets. */
  scopes: 8,
  /** A user namespace, in which an ordinary user may have the next two. */
  user: 16,
  /** A pid namespace, with a /proc of its own. */
  processes: 32,
  /** A namespace of System V's IPC and of POSIX's message queues. */
  ipc: 64,
  /** It can become another user, by {@link becomeUser}: it keeps what it needs for that, and root's uid until then. */
  uid: 128,
  /** The kernel filters system calls, so the room can be sealed. */
  calls: 256,
  /** Mounts of its own, of which it can only read those that its rules do not let it write. With `files` and `processes` alone. */
  mounts: 512,
  /** Its folder is a file system in memory, which is asked for by `scratchBytes`. With `processes` alone. */
  scratch: 1024,
} as const;
export type Layer = keyof typeof LAYER;
export const LAYERS = Object.keys(LAYER) as readonly Layer[];

/** What its code may do. `enum rfaas_term`. */
export interface RoomFreedoms {
  network: boolean;
  processes: boolean;
}

/** What a rule permits beneath its path. */
export const PERMITS = {
  read: "r",
  readAndExecute: "x",
  /** To read it, and to change and make files in it. */
  write: "w",
  writeAndExecute: "p",
  /** To read and write a device, and to control it. */
  device: "d",
} as const;

export interface RoomRule {
  permits: keyof typeof PERMITS;
  path: string;
}

export interface RoomOrder extends RoomFreedoms {
  /** Layers to try. By default all that the machine may have, but for `uid`. */
  layers?: readonly Layer[];
  /** Those without which it must not start. */
  required?: readonly Layer[];
  /**
   * Its folder is a file system in memory of its own, of so many bytes at most, of the kernel's choice with 0; where it has a mount namespace,
   * and else as it is.
   */
  scratchBytes?: number | undefined;
  /** A descriptor of the `cgroup.procs` of the cgroup that it is to be in. */
  cgroup?: number;
  /** Where it begins, as the room sees it. */
  folder: string;
  /** A folder that the room sees at another place, of its own: it may have no way to where that is. It needs the layer `processes`. */
  placed?: { folder: string; at: string };
  /** Paths, as this process sees them. Those that are not there are left out. */
  rules: readonly RoomRule[];
}

export interface RoomProgram {
  /** Its first word is the path of an executable. */
  command: readonly string[];
  environment: Readonly<Record<string, string | undefined>>;
  /** What its descriptors 0, 1, ... are copies of. It has no others. */
  descriptors: readonly number[];
}

/** What the kernel has given. */
export interface RoomReport {
  layers: ReadonlySet<Layer>;
  /** Of Landlock; 0 where the kernel has none. */
  landlockAbi: number;
}

export interface RoomProcess extends RoomReport {
  pid: number;
  /** Becomes readable when the process ends; the caller's to close. */
  pidfd: number;
}

export interface RoomEnd {
  exitCode: number;
  /** The number of the signal that has killed it, or 0. */
  signal: number;
  /** CPU time of its life, and of what it had waited for. */
  cpuNs: number;
}

/** How far a room came, as `enum rfaas_step` counts. */
const STEPS = [
  "starting",
  "starting a process",
  "entering namespaces",
  "entering the cgroup",
  "giving up rights",
  "making a room that has all layers that are required",
  "placing descriptors",
  "entering the folder",
  "executing the program",
];
const MIB = 1024 * 1024;
const ORDER_NUMBERS = 9;
const REPORT = { layers: 0, abi: 1, pidfd: 2, step: 3 };

/** Tries a room without starting a program in it. Throws {@link NativeError}. */
export function tryRoom(order: RoomOrder): RoomReport {
  const { layers, landlockAbi } = begin(order, undefined);
  return { layers, landlockAbi };
}

/** Starts a program in a room. Throws {@link NativeError}, whose operation names the step that failed. */
export function startInRoom(order: RoomOrder, program: RoomProgram): RoomProcess {
  return begin(order, program);
}

function begin(order: RoomOrder, program: RoomProgram | undefined): RoomProcess {
  const { command, environment, descriptors } = program ?? NONE;
  const variables = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  );
  const rules = order.rules.map(({ permits, path }) => PERMITS[permits] + path);
  const wanted = order.layers ?? LAYERS.filter((layer) => layer !== "uid");
  const numbers = Int32Array.from([
    bitsOf(wanted),
    bitsOf(order.required ?? []),
    termsOf(order),
    order.scratchBytes === undefined ? -1 : Math.ceil(order.scratchBytes / MIB),
    order.cgroup ?? -1,
    command.length,
    variables.length,
    rules.length,
    descriptors.length,
    ...descriptors,
  ]);
  const { folder, placed = NOWHERE } = order;
  const strings = [...command, ...variables, folder, placed.folder, placed.at, ...rules];
  if (strings.some((string) => string.includes("\0"))) throw new NativeError("starting", -22);
  const report = new Int32Array(new ArrayBuffer(4 * ORDER_NUMBERS));
  const pid = native().rfaas_room_start(
    numbers,
    Buffer.from(strings.map((string) => `${string}\0`).join("")),
    report,
  );
  check(STEPS[report[REPORT.step]!]!, pid);
  const took = report[REPORT.layers]!;
  return {
    pid,
    pidfd: report[REPORT.pidfd]!,
    layers: new Set(LAYERS.filter((layer) => took & LAYER[layer])),
    landlockAbi: report[REPORT.abi]!,
  };
}

const NOWHERE = { folder: "", at: "" };
const NONE: RoomProgram = { command: [], environment: {}, descriptors: [] };

const bitsOf = (layers: readonly Layer[]): number =>
  layers.reduce((bits, layer) => bits | LAYER[layer], 0);

const termsOf = ({ network, processes }: RoomFreedoms): number =>
  (network ? 1 : 0) | (processes ? 2 : 0);

/** How a process of {@link startInRoom} has ended, once; undefined while it lives. */
export function roomEnd(pid: number): RoomEnd | undefined {
  const out = new Float64Array(new ArrayBuffer(24));
  if (check("waiting for a room's process", native().rfaas_room_wait(pid, out)) === 0)
    return undefined;
  return { exitCode: out[0]!, signal: out[1]!, cpuNs: out[2]! };
}

/** Sends a signal to a process of {@link startInRoom} whose end has not been asked for. */
export function signalRoom(pid: number, signal: number): void {
  native().rfaas_room_signal(pid, signal);
}

/** `first` is what a host does without before a lease comes. */
const SEAL_PARTS = { first: 1, rest: 2, all: 3 } as const;

/**
 * Takes away from this process, all of its threads and all that it starts, what a tenant's code must not do by system calls. They fail
 * with EPERM. Throws {@link NativeError} where the kernel filters none.
 */
export function sealRoom(freedoms: RoomFreedoms, part: keyof typeof SEAL_PARTS): void {
  check("sealing the room", native().rfaas_seal(termsOf(freedoms), SEAL_PARTS[part]));
}

/**
 * Makes this process, with all of its threads, one of the user and the group `id`, who has at most `tasks` threads on this machine. It must
 * have been started with the layer `uid`, or the capabilities SETUID and SETGID. Throws {@link NativeError}, after which it may be either.
 */
export function becomeUser(id: number, tasks: number): void {
  check(`becoming the user ${id}`, native().rfaas_become(id, tasks));
}
