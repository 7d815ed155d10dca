/** Rooms of hosts: what leases may ask of them, what their environment has, and the folders that they live in. */
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { EnvironmentError } from "../../src/base/errors.ts";
import { GUARDS, type SandboxDriver } from "../../src/executor/sandbox/driver.ts";
import { hostEnvironment } from "../../src/executor/sandbox/environment.ts";
import {
  DEFAULT_SANDBOX,
  DRIVERS,
  SANDBOX_NAMES,
  driverNamed,
} from "../../src/executor/sandbox/registry.ts";
import { Rooms } from "../../src/executor/sandbox/room.ts";
import { Sandbox, type SandboxOptions } from "../../src/executor/sandbox/sandbox.ts";

const HASH = "ab".repeat(32);
const folders: string[] = [];
const scratchFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "rfaas-rooms-"));
  folders.push(folder);
  return folder;
};
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe("the registry", () => {
  test("has a driver for each name, the default among them, and its names are unique", () => {
    expect(SANDBOX_NAMES).toContain(DEFAULT_SANDBOX);
    expect(new Set(SANDBOX_NAMES).size).toBe(SANDBOX_NAMES.length);
    for (const name of SANDBOX_NAMES) expect(driverNamed(name)?.name).toBe(name);
    expect(driverNamed("a cellar")).toBeUndefined();
  });

  test.each(DRIVERS.map((driver): [string, SandboxDriver] => [driver.name, driver]))(
    "%s can be used here, or says why not and what would let it",
    (_, driver) => {
      const lack = driver.whyNot();
      if (lack)
        expect(lack).toMatchObject({ name: driver.name, found: expect.stringMatching(/\w/) });
      for (const guard of driver.guards().keys()) expect(GUARDS).toContain(guard);
    },
  );

  test("a driver has a folder of its own, and no other file of it is named elsewhere", () => {
    for (const name of SANDBOX_NAMES)
      expect(
        existsSync(join(import.meta.dir, "../../src/executor/sandbox", name, "driver.ts")),
      ).toBe(true);
  });
});

const WITH_ROOMS: SandboxDriver = { ...driverNamed("none")!, name: "cellar", rooms: true };
const sandbox = (more: Partial<SandboxOptions> = {}): Sandbox =>
  new Sandbox({ driver: WITH_ROOMS, folders: ["/nowhere"], ...more });

describe("what a lease asks of its room", () => {
  test.each<[string, Parameters<Sandbox["refusal"]>[0], string]>([
    ["the network", { network: true }, "--allow-network"],
    ["programs", { processes: true }, "--allow-processes"],
    ["an image", { image: "debian" }, "--sandbox podman"],
    ["a variable of the loader", { env: { LD_PRELOAD: "/evil.so" } }, "LD_PRELOAD"],
    ["a variable of the engine", { env: { BUN_OPTIONS: "--eval" } }, "BUN_OPTIONS"],
    ["a variable of the C library", { env: { GCONV_PATH: "/evil" } }, "GCONV_PATH"],
    ["a variable of the shell", { env: { PS4: "$(evil)", SHELLOPTS: "xtrace" } }, "SHELLOPTS"],
    ["a variable of the node", { env: { RFAAS_SHIM: "/evil.so" } }, "RFAAS_SHIM"],
  ])("is refused where the node does not give it: %s", (_, wishes, names) => {
    expect(sandbox().refusal(wishes)).toContain(names);
  });

  test("is granted where the operator allows it", () => {
    expect(sandbox({ network: true }).refusal({ network: true })).toBeUndefined();
    expect(sandbox({ processes: true }).refusal({ processes: true })).toBeUndefined();
    expect(sandbox({ network: true }).refusal({ processes: true })).toContain("--allow-processes");
    expect(sandbox().refusal({ env: { LEVEL: "3" }, heapBytes: 2 ** 26 })).toBeUndefined();
  });

  test("is refused where the engine of containers would take a variable for another one", () => {
    const contained = sandbox({ driver: driverNamed("podman")! });
    expect(contained.refusal({ env: { LEVEL: ' "a=b" # c\rd' } })).toBeUndefined();
    expect(contained.refusal({ env: { LEVEL: "3\nPATH=/evil" } })).toContain(
      "env: LEVEL has a line",
    );
    expect(contained.refusal({ env: { NVIDIA_VISIBLE_DEVICES: "all" } })).toContain("hooks");
    expect(contained.refusal({ env: { LEVEL: "3\r" } })).toContain("env: LEVEL has a line");
    expect(contained.refusal({ env: { LEVEL: "é".repeat(40_000) } })).toContain("longer than");
    expect(sandbox().refusal({ env: { LEVEL: "3\n4" } })).toBeUndefined();
  });

  test("is the network, where clients are to connect to a host of a network of its own", () => {
    const apart = sandbox({ driver: { ...WITH_ROOMS, ownNetwork: true } });
    const asked = { fabric: "verbs", network: false } as Parameters<Sandbox["whyUnreached"]>[0];
    expect(apart.whyUnreached(asked, "10.0.0.5")).toContain("network: true");
    // Through the node's own port, or over shared memory.
    expect(apart.whyUnreached(asked, "")).toBeUndefined();
    expect(apart.whyUnreached(asked, undefined)).toBeUndefined();
    expect(apart.whyUnreached({ ...asked, network: true }, "10.0.0.5")).toBeUndefined();
    expect(sandbox().whyUnreached(asked, "10.0.0.5")).toBeUndefined();
  });

  test("is what functions have anyway, where there are no rooms", () => {
    const open = sandbox({ driver: driverNamed("none")! });
    expect(open.refusal({ network: true, processes: true })).toBeUndefined();
    expect(open.termsFor({ network: true, processes: true })).toBeUndefined();
    expect(open.termsFor({ env: { LEVEL: "3" } })).toMatchObject({ env: { LEVEL: "3" } });
  });

  test("is had by a waiting host when it is nothing, and else by a host of its own", () => {
    const node = sandbox({ network: true, readPaths: ["/data"] });
    expect(node.closed).toEqual({
      network: false,
      processes: false,
      readPaths: ["/data"],
      env: {},
    });
    expect(node.termsFor({})).toBeUndefined();
    expect(node.termsFor({ heapBytes: 2 ** 26, env: {} })).toBeUndefined();
    expect(node.termsFor({ network: true, heapBytes: 2 ** 26 })).toEqual({
      ...{ network: true, processes: false, readPaths: ["/data"], env: {}, heapBytes: 2 ** 26 },
    });
    const images = sandbox({ driver: { ...WITH_ROOMS, images: "named" } });
    expect(images.refusal({ image: "debian" })).toBeUndefined();
    expect(images.termsFor({ image: "debian" })?.image).toBe("debian");
    expect(images.refusal({ image: "dir:/etc" })).toContain("--images");
    const folders = sandbox({ driver: { ...WITH_ROOMS, images: "folders" } });
    expect(folders.refusal({ image: "debian" })).toContain("--images");
  });
});

test("the environment of a room has nothing of the node's but what every program needs", () => {
  process.env["RFAAS_TOKEN_OF_A_TEST"] = "secret";
  process.env["SECRET_OF_A_TEST"] = "secret";
  try {
    const room = hostEnvironment({ LEVEL: "3" }, "/scratch");
    expect(room).toMatchObject({ HOME: "/scratch", TMPDIR: "/scratch", LEVEL: "3" });
    expect(room["PATH"]).toBe(process.env["PATH"]!);
    expect(Object.values(room)).not.toContain("secret");
    const bare = hostEnvironment({ LEVEL: "3" }, undefined);
    expect(bare).toMatchObject({ SECRET_OF_A_TEST: "secret", LEVEL: "3" });
    expect(bare["HOME"]).toBe(process.env["HOME"]);
  } finally {
    delete process.env["RFAAS_TOKEN_OF_A_TEST"];
    delete process.env["SECRET_OF_A_TEST"];
  }
});

describe("the folders of a room", () => {
  /** A cache with one package, and the path of its entry. */
  function packaged(): string {
    const root = join(scratchFolder(), "stored", HASH, "root");
    mkdirSync(join(root, "lib"), { recursive: true });
    writeFileSync(join(root, "entry.ts"), "export const entry = 1;");
    writeFileSync(join(root, "lib", "data.bin"), "data");
    return join(root, "entry.ts");
  }

  test("are the node's user's alone, and go with their host, whatever functions leave in them", async () => {
    const folder = join(scratchFolder(), "rooms");
    const rooms = new Rooms([folder]);
    const [first, second] = [rooms.make(), rooms.make()];
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const path of Object.values(first.folders))
      expect(statSync(path).mode & 0o777).toBe(0o700);
    const shut = join(first.folders.scratch, "shut");
    mkdirSync(join(shut, "in"), { recursive: true });
    writeFileSync(join(shut, "in", "file"), "");
    chmodSync(shut, 0);
    await first.remove();
    expect(readdirSync(folder)).toHaveLength(1);
    await second.remove();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("get the files of a package as links, below its hash, and of another build as well", async () => {
    const room = new Rooms([join(scratchFolder(), "rooms")]).make();
    const entry = packaged();
    const linked = await room.admit(entry);
    expect(linked).toBe(`${HASH}/root/entry.ts`);
    const own = join(room.folders.package, linked!);
    expect(statSync(own).ino).toBe(statSync(entry).ino);
    expect(readFileSync(join(room.folders.package, HASH, "root/lib/data.bin"), "utf8")).toBe(
      "data",
    );
    // Once more is no fault: another build may have the same files.
    expect(await room.admit(entry)).toBe(linked!);
    expect(await room.admit("rfaas:echo")).toBeUndefined();
    await room.remove();
    expect(existsSync(entry)).toBe(true);
  });

  test("of a node that is gone are removed by the next one, and those of a node that lives are not", async () => {
    const folder = scratchFolder();
    const living = new Rooms([folder]).make();
    const dead = `${hostname()}-${2 ** 22 + 5}-17-0`;
    const elsewhere = `another.machine-${2 ** 22 + 5}-17-0`;
    const reused = `${hostname()}-${process.pid}-17-0`;
    for (const name of [dead, elsewhere, reused]) mkdirSync(join(folder, name));
    const next = new Rooms([folder]);
    next.make();
    await next.finish();
    const left = readdirSync(folder);
    expect(left).toContain(elsewhere);
    expect(left).not.toContain(dead);
    expect(left).not.toContain(reused);
    expect(existsSync(living.folders.scratch)).toBe(true);
  });

  test("are made in the next place where one cannot be had", () => {
    const file = join(scratchFolder(), "file");
    writeFileSync(file, "");
    const other = join(scratchFolder(), "other");
    const rooms = new Rooms([join(file, "rooms"), other]);
    for (const room of [rooms.make(), rooms.make()])
      expect(room.folders.scratch.startsWith(`${other}/`)).toBe(true);
    expect(statSync(other).mode & 0o777).toBe(0o700);
  });

  test("that cannot be made are told with what to do", () => {
    const file = join(scratchFolder(), "file");
    writeFileSync(file, "");
    expect(() => new Rooms([join(file, "rooms")]).make()).toThrow(EnvironmentError);
    expect(() => new Rooms([join(file, "rooms")]).make()).toThrow("--state DIR");
  });
});
