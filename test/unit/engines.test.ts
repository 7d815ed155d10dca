/** What engines of containers are started with: real starts, of an engine that a test wrote. */
import { afterEach, beforeEach, expect, mock, spyOn, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { closeDescriptor, mailboxToInherit } from "../../ffi/descriptors.ts";
import { docker } from "../../src/executor/sandbox/docker/driver.ts";
import type {
  HostExit,
  HostStart,
  RoomTerms,
  SandboxDriver,
} from "../../src/executor/sandbox/driver.ts";
import { podman } from "../../src/executor/sandbox/podman/driver.ts";
import { sarus } from "../../src/executor/sandbox/sarus/driver.ts";
import { shimFor } from "../../src/executor/sandbox/shim.ts";
import { Scratch } from "../support/scratch.ts";

/** What engines take a word of the node's from. */
const HOSTILE = {
  CONTAINERS_CONF: "/package/hooks.conf",
  CONTAINERS_STORAGE_CONF: "/package/storage.conf",
  DOCKER_HOST: "tcp://198.51.100.1:2375",
  DOCKER_CONFIG: "/package",
  HTTPS_PROXY: "http://198.51.100.1",
  XDG_CONFIG_HOME: "/package",
  PATH: "/package/bin",
};
const NODES = { RFAAS_TOKEN: "a token", NODES_OWN: "a secret" };

let scratch: Scratch;
/** Writes down what it finds and is told. */
const WRITES = `/usr/bin/env > "$0.found"; printf '%s\\n' "$@" > "$0.told"`;
function engine(name: string, program: string): void {
  writeFileSync(scratch.join(`bin/${name}`), `#!/bin/sh\n${program}\n`);
  chmodSync(scratch.join(`bin/${name}`), 0o755);
}

beforeEach(() => {
  scratch = new Scratch();
  mkdirSync(scratch.join("bin"));
  for (const name of ["podman", "docker", "sarus"]) engine(name, WRITES);
  Object.assign(process.env, NODES);
  spyOn(Bun, "which").mockImplementation((name) => scratch.join(`bin/${name}`));
});
afterEach(() => {
  for (const name of Object.keys(NODES)) delete process.env[name];
  mock.restore();
  scratch[Symbol.dispose]();
});

/** Starts a host with the driver, and returns how that ended. */
async function started(driver: SandboxDriver, terms: Partial<RoomTerms> = {}): Promise<HostExit> {
  rmSync(scratch.join("room"), { recursive: true, force: true });
  for (const name of ["room", "room/package", "room/scratch"]) mkdirSync(scratch.join(name));
  const { mailboxFd, slot } = mailboxToInherit();
  const shim = shimFor({ rooms: true }) as { fd: number };
  const { promise: exited, resolve } = Promise.withResolvers<HostExit>();
  const host: HostStart = {
    command: () => ["/rfaas", "__host"],
    environment: { HOME: "/.rfaas/scratch", LEVEL: '"3" # 4', UNSET: undefined, ...HOSTILE },
    ...{ output: 2, descriptors: ["pipe", mailboxFd, shim.fd], program: [], onExit: resolve },
    terms: { network: false, processes: false, readPaths: [], env: HOSTILE, ...terms },
    folders: { package: scratch.join("room/package"), scratch: scratch.join("room/scratch") },
  };
  try {
    closeDescriptor(driver.start(host).control);
    return await exited;
  } finally {
    closeDescriptor(mailboxFd);
    slot.close();
  }
}

/** What its engine found and was told, once it has exited. */
async function noted(driver: SandboxDriver) {
  await started(driver, { image: "debian:12" });
  const lines = (name: string): string[] =>
    readFileSync(scratch.join(`bin/${driver.name}.${name}`), "utf8").split("\n");
  return { found: lines("found"), told: lines("told") };
}

test.each([podman, docker])(
  "$name runs in the node's environment, and reads the host's from a file",
  async (driver) => {
    const { found, told } = await noted(driver);
    for (const [name, value] of Object.entries(HOSTILE))
      expect(found).not.toContain(`${name}=${value}`);
    expect(found).toContain("NODES_OWN=a secret");
    expect(found.join("\n")).not.toContain("a token");
    const file = scratch.join("room/environment");
    expect(told[told.indexOf("--env-file") + 1]).toBe(file);
    expect(told.join("\n")).not.toContain("198.51.100.1");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const variables = Object.entries(HOSTILE).map(([name, value]) => `${name}=${value}`);
    expect(readFileSync(file, "utf8").split("\n").toSorted()).toEqual(
      ["", "HOME=/.rfaas/scratch", 'LEVEL="3" # 4', ...variables].toSorted(),
    );
  },
);

test("Sarus, which passes its environment on, finds the host's in it, and nothing of the node's", async () => {
  const { found, told } = await noted(sarus);
  expect(found).toEqual(expect.arrayContaining(["HOME=/.rfaas/scratch", 'LEVEL="3" # 4']));
  expect(found.join("\n")).not.toContain("a secret");
  expect(found.join("\n")).not.toContain("a token");
  expect(told.join("\n")).not.toContain("198.51.100.1");
});

test("Docker's empty image is made anew where it is gone, and a lease that got no container hears of it", async () => {
  const image = scratch.join("image");
  engine(
    "docker",
    `case "$1 $2" in
      "image inspect") test -e ${image} ;;
      "import -") touch ${image} ;;
      *) test -e ${image} || exit 125 ;;
    esac`,
  );
  expect(await started(docker)).toMatchObject({ exitCode: 0 });
  rmSync(image);
  const refused = await started(docker);
  expect(refused).toMatchObject({ exitCode: 125 });
  const terms = { network: false, processes: false, readPaths: [], env: {} };
  expect(docker.explain(refused, terms)).toContain("its image rfaas-empty:1 may be gone");
  expect(await started(docker)).toMatchObject({ exitCode: 0 });
});

test("a host that cannot be handed its descriptors, for want of them, leaves none open", async () => {
  const open = (): number => readdirSync("/proc/self/fd").length;
  await started(docker, { image: "debian:12" });
  const before = open();
  spyOn(Bun, "listen").mockImplementation(() => {
    throw new Error("EMFILE");
  });
  await expect(started(docker, { image: "debian:12" })).rejects.toThrow("EMFILE");
  expect(open()).toBe(before);
});
