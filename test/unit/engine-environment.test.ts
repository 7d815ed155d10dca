/** What an engine of containers finds in its own environment, and what it is told of the host's: real starts, of an engine that writes it down. */
import { afterEach, beforeEach, expect, mock, spyOn, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { closeDescriptor, mailboxToInherit } from "../../ffi/descriptors.ts";
import { docker } from "../../src/executor/sandbox/docker/driver.ts";
import type { HostStart, SandboxDriver } from "../../src/executor/sandbox/driver.ts";
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
beforeEach(() => {
  scratch = new Scratch();
  for (const name of ["bin", "room", "room/package", "room/scratch"]) mkdirSync(scratch.join(name));
  const writes = `#!/bin/sh\n/usr/bin/env > ${scratch.join("found")}\nprintf '%s\\n' "$@" > ${scratch.join("told")}\n`;
  for (const name of ["podman", "docker", "sarus"]) {
    writeFileSync(scratch.join(`bin/${name}`), writes);
    chmodSync(scratch.join(`bin/${name}`), 0o755);
  }
  Object.assign(process.env, NODES);
  spyOn(Bun, "which").mockImplementation((name) => scratch.join(`bin/${name}`));
});
afterEach(() => {
  for (const name of Object.keys(NODES)) delete process.env[name];
  mock.restore();
  scratch[Symbol.dispose]();
});

/** Starts a host with the driver, and returns what its engine found and was told once that has exited. */
async function started(driver: SandboxDriver) {
  const { mailboxFd, slot } = mailboxToInherit();
  const shim = shimFor({ rooms: true }) as { fd: number };
  const { promise: exited, resolve } = Promise.withResolvers<unknown>();
  const host: HostStart = {
    command: () => ["/rfaas", "__host"],
    environment: { HOME: "/.rfaas/scratch", LEVEL: '"3" # 4', UNSET: undefined, ...HOSTILE },
    ...{ output: 2, descriptors: ["pipe", mailboxFd, shim.fd], program: [], onExit: resolve },
    terms: { network: false, processes: false, readPaths: [], env: HOSTILE, image: "debian:12" },
    folders: { package: scratch.join("room/package"), scratch: scratch.join("room/scratch") },
  };
  try {
    closeDescriptor(driver.start(host).control);
    await exited;
  } finally {
    closeDescriptor(mailboxFd);
    slot.close();
  }
  const lines = (name: string): string[] => readFileSync(scratch.join(name), "utf8").split("\n");
  return { found: lines("found"), told: lines("told") };
}

test.each([podman, docker])(
  "$name runs in the node's environment, and reads the host's from a file",
  async (driver) => {
    const { found, told } = await started(driver);
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
  const { found, told } = await started(sarus);
  expect(found).toEqual(expect.arrayContaining(["HOME=/.rfaas/scratch", 'LEVEL="3" # 4']));
  expect(found.join("\n")).not.toContain("a secret");
  expect(found.join("\n")).not.toContain("a token");
  expect(told.join("\n")).not.toContain("198.51.100.1");
});
