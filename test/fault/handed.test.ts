/** Descriptors that are handed to a host over a socket, since its engine passes none on: who gets them, and who does not. */
import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { MailSlot, closeDescriptor, mailboxToInherit } from "../../ffi/descriptors.ts";
import { shimPath } from "../../ffi/library.ts";
import { watchDescriptor } from "../../src/control/watch-descriptor.ts";
import { Handed } from "../../src/executor/sandbox/containers/handed.ts";
import { HANDED } from "../../src/protocol/handed.ts";
import { shimFor } from "../../src/executor/sandbox/shim.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 60_000;
const TAKES = join(import.meta.dir, "../support/takes-handed.ts");
/** The first process of a namespace, as hosts in containers are. */
const FIRST = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];

const able = Bun.spawnSync([...FIRST, "true"], { stdio: ["ignore", "ignore", "ignore"] }).success;
if (!able) console.error("SKIPPED: descriptors that are handed over: no namespaces for this user");

let scratch: Scratch;
let handed: Handed;
beforeEach(() => {
  scratch = new Scratch();
  const folder = (name: string): string => {
    mkdirSync(scratch.join(name));
    return scratch.join(name);
  };
  const { mailboxFd, slot } = mailboxToInherit();
  slot.close();
  const shim = shimFor({ rooms: true }) as { fd: number };
  handed = new Handed({
    command: (parentPid, at) => ["host", String(parentPid), String(at)],
    ...{ environment: {}, output: 2, descriptors: ["pipe", mailboxFd, shim.fd], program: [] },
    terms: { network: false, processes: false, readPaths: [], env: {} },
    folders: { package: folder("package"), scratch: folder("scratch") },
    onExit() {},
  });
  closeDescriptor(mailboxFd);
});
afterEach(() => {
  handed.close();
  scratch[Symbol.dispose]();
});

const socket = (): string => scratch.join(`handed/${HANDED.socket}`);
const takes = (within: readonly string[]) =>
  Bun.spawn([...within, process.execPath, TAKES, socket()], {
    env: { ...process.env, RFAAS_SHIM: shimPath() },
    stdio: ["ignore", "ignore", "pipe"],
  });

/** The first line that comes over the host's connection. */
async function said(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const data = (_: unknown, bytes: Buffer): void => resolve(bytes.toString());
  await watchDescriptor(handed.control, { data, close: () => resolve("") });
  return await promise;
}

test.skipIf(!able)(
  "the first process of a namespace gets them, once, and is known by its number from then on",
  async () => {
    const line = said();
    const child = takes(FIRST);
    expect(await line).toBe("2 descriptors\n");
    expect(handed.pid).toBeGreaterThan(0);
    expect(handed.pid).not.toBe(child.pid);
    expect(await child.exited).toBe(0);
    expect(existsSync(socket())).toBe(false);
    const again = takes(FIRST);
    expect(await again.stderr.text()).toContain("ENOENT");
  },
  LIMIT_MS,
);

test.skipIf(!able)(
  "another process of the same user gets none, and the host does after it",
  async () => {
    const stranger = takes([]);
    expect(await stranger.stderr.text()).toContain("taking descriptors from the agent failed");
    expect(await stranger.exited).not.toBe(0);
    expect(handed.pid).toBeUndefined();
    const line = said();
    const child = takes(FIRST);
    expect(await line).toBe("2 descriptors\n");
    await child.exited;
  },
  LIMIT_MS,
);

test.skipIf(!able)(
  "a host to which they cannot be sent gets none, and harms nothing: the next one gets them",
  async () => {
    const sends = spyOn(MailSlot.prototype, "send").mockImplementation(() => {
      throw new Error("EPIPE");
    });
    try {
      expect(await takes(FIRST).exited).not.toBe(0);
      expect(sends).toHaveBeenCalled();
    } finally {
      sends.mockRestore();
    }
    expect(handed.pid).toBeUndefined();
    const line = said();
    const child = takes(FIRST);
    expect(await line).toBe("2 descriptors\n");
    await child.exited;
  },
  LIMIT_MS,
);

test("the folder is the node's user's alone, and has the shim; the host is told where it will see it", () => {
  expect(statSync(scratch.join("handed")).mode & 0o777).toBe(0o700);
  expect(readdirSync(scratch.join("handed")).toSorted()).toEqual([HANDED.socket, HANDED.shim]);
  expect(statSync(scratch.join(`handed/${HANDED.shim}`)).size).toBe(statSync(shimPath()).size);
  expect(handed.start.command(0)).toEqual(["host", "0", "/.rfaas/handed"]);
  handed.close();
  expect(readdirSync(scratch.join("handed"))).toEqual([HANDED.shim]);
});
