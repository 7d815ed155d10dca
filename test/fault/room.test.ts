/**
 * What a process in a room can do, by system calls. Each attempt is refused in a whole room, and made again in one that lacks a layer: there it
 * succeeds, since a test that cannot fail is none, or another layer holds it. All of it is run once more as an ordinary user.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  accessSync,
  constants as access,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { type Layer, signalRoom, startInRoom, tryRoom } from "../../ffi/sandbox.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { type Room, Rooms, resultsIn, without } from "./room/rooms.ts";

const { EACCES, EINVAL, ENOSYS, EPERM, EROFS, ESRCH, EXDEV } = constants.errno;
const LIMIT_MS = 120_000;
const IS_ROOT = process.getuid!() === 0;
const PLAIN = { network: false, processes: false, folder: "/", rules: [] } as const;
const { layers: given, landlockAbi } = tryRoom(PLAIN);
/** Where a layer is missing, an attempt is held by the others alone. */
const lacks = (...layers: Layer[]): boolean => layers.some((layer) => !given.has(layer));

let rooms: Rooms;
beforeAll(() => {
  rooms = new Rooms();
});
afterAll(() => {
  rooms[Symbol.dispose]();
});

const OPEN: Room = { layers: [], sealed: false };
const UNSEALED: Room = { sealed: false };
const WITHOUT_FILES: Room = { layers: without("files"), sealed: false };
const WITHOUT_PROCESSES: Room = { layers: without("processes") };
/** An ordinary user's room without a pid namespace is held by Landlock, and by the seal. */
const SEAL_ALONE: Room = { layers: without("processes", "files") };
const SEAL_OF_PROGRAMS: Room = { ...SEAL_ALONE, processes: true };
const LANDLOCK_ALONE: Room = { layers: without("processes", "calls"), sealed: false };

/** What an attempt gives in a whole room, and in others. */
type Expected = [refused: number, ...others: [Room, ...gives: number[]][]];

/** A room with a mount namespace can only read what its rules do not let it write. */
const UNWRITABLE = lacks("processes") ? EACCES : EROFS;
const FILES: Record<string, Expected> = {
  "write-package": [UNWRITABLE, [WITHOUT_FILES, 0]],
  "make-in-package": [UNWRITABLE, [WITHOUT_FILES, 0]],
  "read-secret": [EACCES, [WITHOUT_FILES, 0]],
  "write-secret": [UNWRITABLE, [WITHOUT_FILES, 0]],
  "list-root": [EACCES, [WITHOUT_FILES, 0]],
  "read-by-link": [EACCES, [WITHOUT_FILES, 0]],
  "link-secret": [EXDEV, [WITHOUT_FILES, 0]],
  // Without mounts of its own, a file that may not be written can be cut off before ABI 3, by those who own it.
  ...((!lacks("processes") || landlockAbi >= 3) && {
    "truncate-secret": [UNWRITABLE, [WITHOUT_FILES, 0]] as Expected,
  }),
  // No rule of Landlock is about modes.
  ...(!lacks("processes") && {
    "chmod-secret": [EROFS, [WITHOUT_FILES, 0], [LANDLOCK_ALONE, 0]] as Expected,
  }),
};
const PROCESSES: Record<string, Expected> = {
  "see-others": [ESRCH, [LANDLOCK_ALONE, EACCES], [OPEN, 0]],
  "read-environment-of-other": [2, [LANDLOCK_ALONE, EACCES], [OPEN, 0]],
  "signal-other": [ESRCH, [SEAL_ALONE, EPERM], [OPEN, 0]],
  "limit-other": [ESRCH, [SEAL_ALONE, EPERM], [SEAL_OF_PROGRAMS, EPERM], [OPEN, 0]],
  // The call takes a number of the room's, or none at all.
  ...Object.fromEntries(
    ["renice-other", "reschedule-other", "attributes-other", "disk-of-other"].map((name) => [
      name,
      [ESRCH, [SEAL_ALONE, EPERM], [SEAL_OF_PROGRAMS, EPERM], [OPEN, 0]] as Expected,
    ]),
  ),
  "own-descriptor-for-other": [EPERM, [SEAL_ALONE, EPERM], [SEAL_OF_PROGRAMS, EPERM], [OPEN, 0]],
  "own-socket-for-other": [EPERM, [SEAL_ALONE, EPERM], [SEAL_OF_PROGRAMS, EPERM], [OPEN, 0]],
  "trace-other": [EPERM, [UNSEALED, ESRCH], [LANDLOCK_ALONE, EPERM]],
  "read-other": [EPERM, [OPEN, EINVAL, 0]],
  hide: [EPERM, [UNSEALED, 0], [{ processes: true, network: true }, EPERM]],
  "outlive-parent": [EPERM, [UNSEALED, 0]],
};
const SOCKETS: Record<string, Expected> = {
  connect: [EPERM, [{ network: true }, 0]],
  socket: [EPERM, [UNSEALED, 0], [{ network: true }, 0]],
  "socket-datagram": [EPERM, [UNSEALED, 0], [{ network: true }, 0]],
  "socket-route": [EPERM, [UNSEALED, 0], [{ network: true }, 0]],
  "socket-unix": [EPERM, [UNSEALED, 0], [{ network: true }, EPERM]],
  "connect-to-name": [EPERM, [OPEN, 0], [{ network: true }, EPERM]],
  pair: [EPERM, [UNSEALED, 0], [{ network: true }, 0], [{ processes: true }, 0]],
  "pair-datagram": [EPERM, [UNSEALED, 0], [{ network: true }, EPERM]],
};
const PROGRAMS: Record<string, Expected> = {
  fork: [EPERM, [UNSEALED, 0], [{ processes: true }, 0]],
  // It would be a child of the agent, and of no lease.
  sibling: [EPERM, [OPEN, 0], [SEAL_OF_PROGRAMS, EPERM], [{ processes: true }, EPERM]],
  execute: [EPERM, [UNSEALED, 0], [{ processes: true }, 0]],
};
const KERNEL: Record<string, Expected> = {
  clone3: [ENOSYS, [UNSEALED, EINVAL], [{ processes: true }, ENOSYS]],
  "clone-namespace": [EPERM, [{ processes: true, network: true }, EPERM], [OPEN, 0]],
  namespace: [EPERM, [OPEN, EINVAL]],
  keyring: [EPERM, [{ processes: true, network: true }, EPERM], [UNSEALED, 0]],
  bpf: [EPERM, [UNSEALED, EINVAL, EPERM]],
  perf: [EPERM],
  mount: [EPERM],
  "change-root": [EPERM],
  "set-clock": [EPERM],
  reboot: [EPERM],
  "load-module": [EPERM],
  "type-on-terminal": [EPERM],
  // What connects to other nodes has its leases' memory there.
  "memory-file": [EPERM, [UNSEALED, 0], [{ network: true }, 0], [{ processes: true }, EPERM]],
  segment: [EPERM, [UNSEALED, 0], [{ processes: true, network: true }, EPERM]],
  semaphores: [EPERM, [UNSEALED, 0], [{ processes: true, network: true }, EPERM]],
  // To Landlock such a queue is a file to which no rule leads.
  "named-queue": [EPERM, [WITHOUT_FILES, 0], [{ processes: true, network: true }, EPERM]],
  // No rule of Landlock is about it.
  "watch-folder": [EPERM, [UNSEALED, 0], [{ processes: true, network: true }, EPERM]],
  "make-device": [EACCES],
  ...(process.arch === "x64" && { x32: [EPERM, [UNSEALED, ENOSYS]] as Expected }),
};

/** What the tests of a layer say where this machine has none. */
const tests = (...layers: Layer[]): typeof test | typeof test.skip => {
  if (!lacks(...layers)) return test;
  console.error(`SKIPPED: this kernel, or who runs this, gives a room no ${layers.join(", ")}`);
  return test.skip;
};

describe("a room", () => {
  test("reads its package and its own /proc, writes its scratch folder, and starts threads", async () => {
    const may = [
      ...[
        "read-package",
        "write-scratch",
        "truncate-scratch",
        "chmod-scratch",
        "read-own-status",
        "read-own-threads",
      ],
      ...["start-thread", "signal-own", "signal-thread", "limit-own"],
      ...["renice-own", "reschedule-own"],
    ];
    for (const room of [{}, WITHOUT_PROCESSES, { network: true, processes: true }, OPEN]) {
      const { results, end } = await rooms.try(room, ...may);
      expect(results).toEqual(Object.fromEntries(may.map((name) => [name, 0])));
      expect(end).toEqual({ exitCode: 0, signal: 0, cpuNs: expect.any(Number) });
    }
  });

  tests("calls")("without a pid namespace has no priority of a whole user to set", async () => {
    const names = ["renice-user", "own-signal"];
    for (const room of [SEAL_ALONE, SEAL_OF_PROGRAMS])
      expect((await rooms.try(room, ...names)).results).toEqual({
        "renice-user": EPERM,
        "own-signal": EPERM,
      });
    expect((await rooms.try(OPEN, "own-signal")).results).toEqual({ "own-signal": 0 });
  });

  tests("processes")(
    "may have its scratch folder in memory, bounded, and nothing of it outside",
    async () => {
      for (const room of [{}, { processes: true }, { layers: without("files"), sealed: false }]) {
        const bounded = { ...room, scratchBytes: 4 << 20 };
        const { results, end, layers } = await rooms.try(bounded, "write-scratch", "fill-scratch");
        expect(layers).toContain("scratch");
        expect(results).toEqual({ "write-scratch": 0, "fill-scratch": constants.errno.ENOSPC });
        expect(end.exitCode).toBe(0);
        expect(readdirSync(join(rooms.folder, "scratch"))).not.toContain("filled");
        const unbounded = await rooms.try({ ...room, scratchBytes: 0 }, "fill-scratch");
        expect(unbounded.results).toEqual({ "fill-scratch": 0 });
        expect(readdirSync(join(rooms.folder, "scratch"))).not.toContain("filled");
      }
    },
  );

  test("says whether its scratch folder is in memory, and is none where that is required and cannot be", async () => {
    const elsewhere = { ...WITHOUT_PROCESSES, scratchBytes: 0 };
    expect((await rooms.try(elsewhere, "write-scratch")).layers).not.toContain("scratch");
    expect((await rooms.try({}, "write-scratch")).layers).not.toContain("scratch");
    expect(() => tryRoom({ ...PLAIN, ...elsewhere, required: ["scratch"] })).toThrow(
      "making a room that has all layers that are required failed: EPERM",
    );
    const { layers } = tryRoom({ ...PLAIN, folder: "/dev", scratchBytes: 0 });
    expect(layers.has("scratch")).toBe(!lacks("processes"));
    // Before Linux 5.12 no tree of mounts can be closed at once.
    if (lacks("processes", "files")) expect(layers).not.toContain("mounts");
  });

  test("has the descriptors that it was given, and one that its rules need without a /proc of its own", async () => {
    expect((await rooms.try({}, "descriptors")).results).toEqual({ descriptors: 0 });
    const { results } = await rooms.try({ layers: ["files"] }, "descriptors");
    expect(results).toEqual({ descriptors: lacks("files") ? 0 : 1 });
  });

  test("is who it was outside, without capabilities, and has the first number of a namespace", async () => {
    const { results, layers } = await rooms.try({}, "user", "first");
    expect(results).toEqual({ user: process.getuid!(), first: lacks("processes") ? ESRCH : 0 });
    // In a user namespace there is no root at all.
    const { results: asked } = await rooms.try({}, "become-root");
    expect(IS_ROOT ? [0] : [EPERM, EINVAL]).toContain(asked["become-root"]!);
    expect(layers).toContain("capabilities");
  });

  test.skipIf(!IS_ROOT)(
    "becomes another user with all of its threads, and no one again",
    async () => {
      const room: Room = { layers: [...without(), "uid"], required: ["uid", "capabilities"] };
      const order = ["user", "become-other", "user-of-all", "become-root", "start-thread"];
      const { results } = await rooms.try(room, ...order);
      expect(results).toEqual({
        ...{ user: 0, "become-other": 0, "user-of-all": 54321 },
        ...{ "become-root": EPERM, "start-thread": 0 },
      });
      const { results: kept } = await rooms.try({}, "become-other", "user");
      expect(kept).toEqual({ "become-other": EPERM, user: 0 });
    },
  );

  test.skipIf(!IS_ROOT || lacks("processes"))(
    "finds its folder at a place of its own",
    async () => {
      using scratch = new Scratch();
      const at = scratch.join("place");
      mkdirSync(at);
      const placed = { folder: rooms.folder, at };
      const order: Room = { placed, folder: join(at, "scratch") };
      const names = ["write-here", "write-package-here", "write-scratch"];
      const { results } = await rooms.try(order, ...names);
      expect(results).toEqual({ "write-here": 0, "write-package-here": EROFS, "write-scratch": 0 });
      expect(readdirSync(at)).toEqual([]);
      expect(existsSync(join(rooms.folder, "scratch/here"))).toBe(true);
    },
  );

  test("says which step failed", () => {
    const none = { environment: {}, descriptors: [] };
    expect(() => startInRoom(PLAIN, { ...none, command: ["/nowhere/at/all"] })).toThrow(
      "starting failed: ENOENT",
    );
    const noProgram = { ...none, command: [import.meta.path] };
    expect(() => startInRoom(PLAIN, noProgram)).toThrow("executing the program failed: EACCES");
    const nowhere = { ...PLAIN, folder: "/nowhere" };
    expect(() => startInRoom(nowhere, { ...none, command: ["/bin/true"] })).toThrow(
      "entering the folder failed: ENOENT",
    );
  });

  test("does not start without a layer that is required", () => {
    const order = { ...PLAIN, layers: without("files"), required: ["files"] as const };
    const program = { command: ["/bin/true"], environment: {}, descriptors: [] };
    expect(() => startInRoom(order, program)).toThrow(
      "making a room that has all layers that are required failed: EPERM",
    );
  });

  test("that is tried leaves no descriptor and no child behind", () => {
    const count = (): number => readdirSync("/proc/self/fd").length;
    const children = (): string =>
      readFileSync(`/proc/self/task/${process.pid}/children`, "latin1");
    const before = [count(), children()];
    for (let i = 0; i < 20; i++) tryRoom(PLAIN);
    expect([count(), children()]).toEqual(before);
  });

  test("ends by a signal of ours, and of its own", async () => {
    for (const room of [{}, WITHOUT_PROCESSES]) {
      const { pid, output } = rooms.start(room, ["sleep"]);
      await until(() => resultsIn(output)["sleeps"] === 0, "it sleeps");
      signalRoom(pid, constants.signals.SIGTERM);
      signalRoom(pid, constants.signals.SIGKILL);
      expect([constants.signals.SIGKILL, constants.signals.SIGTERM]).toContain(
        (await rooms.end(pid)).signal,
      );
    }
    // The first process of a namespace cannot kill itself: it exits when it asks for that.
    const { exitCode, signal } = (await rooms.try({}, "die")).end;
    const { SIGKILL } = constants.signals;
    expect([
      [0, SIGKILL],
      [128 + SIGKILL, 0],
    ]).toContainEqual([exitCode, signal]);
    expect((await rooms.try(WITHOUT_PROCESSES, "die")).end.signal).toBe(constants.signals.SIGKILL);
    expect((await rooms.try({}, "crash")).end.signal).toBe(constants.signals.SIGSEGV);
  });
});

const GROUPS: [string, Record<string, Expected>, Layer[]][] = [
  ["files", FILES, ["files"]],
  ["other processes", PROCESSES, ["files", "processes", "calls"]],
  ["sockets", SOCKETS, ["calls"]],
  ["programs", PROGRAMS, ["calls"]],
  ["the kernel", KERNEL, ["calls"]],
];
describe.each(GROUPS)("of %s", (_, group, layers) => {
  tests(...layers)("a whole room refuses all", async () => {
    const expected = Object.entries(group).map(([name, [refused]]) => [name, refused] as const);
    const { results, end } = await rooms.try({}, ...Object.keys(group));
    expect(results).toEqual(Object.fromEntries(expected));
    expect(end.signal).toBe(0);
  });

  const others = Object.entries(group).flatMap(([name, [, ...rest]]) =>
    rest.map(([room, ...gives]) => ({ name, room, gives })),
  );
  tests(...layers).each(others)(
    "$name gives $gives in another room",
    async ({ name, room, gives }) => {
      const { results } = await rooms.try(room, name);
      expect(gives).toContain(results[name]!);
    },
  );
});

const SELF = import.meta.path;
const whyNot = notAsOther();
/** Why these tests cannot be run as another user, if so. */
function notAsOther(): string | undefined {
  if (!IS_ROOT) return "it is one who runs this";
  if (!Bun.which("setpriv")) return "setpriv is missing; apt-get install util-linux";
  for (let folder = SELF; folder !== "/"; folder = join(folder, ".."))
    if ((statSync(folder).mode & 0o005) !== 0o005 && folder !== SELF)
      return `${folder} is closed to others`;
  accessSync(SELF, access.R_OK);
  return undefined;
}
if (whyNot !== undefined) console.error(`SKIPPED: rooms of an ordinary user: ${whyNot}`);

test.skipIf(whyNot !== undefined)(
  "all of this holds for an ordinary user, too",
  async () => {
    const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    const child = Bun.spawn(
      [...nobody, process.execPath, "test", "--timeout", String(LIMIT_MS), SELF],
      { cwd: "/", env: { ...process.env, HOME: "/tmp" }, stdio: ["ignore", "ignore", "pipe"] },
    );
    const [said, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
    expect([exitCode, said.match(/^\(fail\) .*$/gm) ?? []]).toEqual([0, []]);
    expect(Number(/^ (\d+) pass$/m.exec(said)?.[1])).toBeGreaterThan(40);
  },
  LIMIT_MS,
);
