/** The command lines by which hosts are started in containers. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, realpathSync, symlinkSync } from "node:fs";
import { apptainerEnvironment, apptainerLine } from "../../src/executor/sandbox/apptainer/line.ts";
import { bwrapLine, bwrapVariables } from "../../src/executor/sandbox/bwrap/line.ts";
import { limitsAsOptions, mountOption } from "../../src/executor/sandbox/containers/options.ts";
import { dockerLine } from "../../src/executor/sandbox/docker/line.ts";
import type { HostStart, RoomTerms, SandboxDriver } from "../../src/executor/sandbox/driver.ts";
import { imageNamed } from "../../src/executor/sandbox/images.ts";
import { DRIVERS } from "../../src/executor/sandbox/registry.ts";
import { podmanLine } from "../../src/executor/sandbox/podman/line.ts";
import { sarusLine } from "../../src/executor/sandbox/sarus/line.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
beforeAll(() => {
  for (const name of ["image", "image/usr", "image/proc", "image/tmp", "image/opt"])
    mkdirSync(scratch.join(name));
  symlinkSync("usr/bin", scratch.join("image/bin"));
});
afterAll(() => scratch[Symbol.dispose]());

const CLOSED: RoomTerms = { network: false, processes: false, readPaths: [], env: {} };
const hostIn = (terms: Partial<RoomTerms> = {}): HostStart => ({
  command: (parentPid) => ["/opt/rfaas/rfaas", "__host", "1", String(parentPid), "/proc/self/fd/5"],
  environment: { HOME: "/.rfaas/scratch", LEVEL: "secret", UNSET: undefined },
  output: 2,
  descriptors: ["pipe", 17, 18],
  terms: { ...CLOSED, ...terms },
  folders: { package: "/state/rooms/a-1/package", scratch: "/state/rooms/a-1/scratch" },
  program: ["/opt/rfaas/rfaas"],
  onExit() {},
});

/** The words that follow each occurrence of an option. */
const after = (line: readonly string[], option: string, count = 1): string[] =>
  line.flatMap((word, at) =>
    word === option ? [line.slice(at + 1, at + 1 + count).join(" ")] : [],
  );

describe("bubblewrap's", () => {
  const line = (terms?: Partial<RoomTerms>) => bwrapLine("/usr/bin/bwrap", 6, hostIn(terms));

  test("shows no variable: they come by a descriptor, and none is bwrap's own", () => {
    expect(after(line(), "--args")).toEqual(["6"]);
    expect(line()).toContain("--clearenv");
    expect(line().join(" ")).not.toContain("secret");
    const { environment } = hostIn();
    expect(bwrapVariables(environment)).toBe(
      "--setenv\0HOME\0/.rfaas/scratch\0--setenv\0LEVEL\0secret\0",
    );
  });

  test("makes a closed room that ends with the agent, and runs the program from its own place there", () => {
    const words = line();
    for (const option of ["pid", "ipc", "uts", "net"])
      expect(words).toContain(`--unshare-${option}`);
    expect(words).toEqual(
      expect.arrayContaining(["--die-with-parent", "--as-pid-1", "--new-session"]),
    );
    expect(after(words, "--cap-drop")).toEqual(["ALL"]);
    // The host has no parent that it sees.
    const own = ["/.rfaas/program0/rfaas", "__host", "1", "0", "/proc/self/fd/5"];
    expect(words.slice(words.indexOf("--") + 1)).toEqual(own);
  });

  test("shows package and system to be read, and lets scratch alone be written", () => {
    const words = line({ readPaths: ["/data"] });
    expect(words).not.toContain("--bind");
    expect(after(words, "--tmpfs")).toEqual(["/.rfaas/scratch"]);
    expect(after(words, "--symlink", 2)).toContain("/.rfaas/scratch /tmp");
    const read = after(words, "--ro-bind", 2);
    expect(read).toContain("/state/rooms/a-1/package /.rfaas/package");
    expect(read).toContain("/opt/rfaas/rfaas /.rfaas/program0/rfaas");
    expect(read).toContain("/usr /usr");
    expect(read).toContain("/data /data");
    expect(read).toContain("/proc/sys /proc/sys");
    for (const shown of read) expect(shown).not.toMatch(/^\/(?:root|home|var|run|etc|proc)? /);
    expect(after(words, "--remount-ro")).toEqual(["/"]);
  });

  test("bounds the scratch folder of a lease that says what it may have", () => {
    expect(line({ heapBytes: 1 << 26 }).join(" ")).toContain(
      "--size 67108864 --tmpfs /.rfaas/scratch",
    );
    expect(line()).not.toContain("--size");
  });

  test("leaves the network alone where the lease has it", () => {
    expect(line({ network: true })).not.toContain("--unshare-net");
    expect(line()).not.toContain("/dev/infiniband");
  });

  test("takes another system's folders and links, and none of what is each container's own", () => {
    const image = scratch.join("image");
    const words = line({ image });
    const read = after(words, "--ro-bind", 2).filter((shown) => shown.startsWith(image));
    expect(read.toSorted()).toEqual([`${image}/opt /opt`, `${image}/usr /usr`]);
    expect(after(words, "--symlink", 2)).toEqual(["usr/bin /bin", "/.rfaas/scratch /tmp"]);
    expect(after(words, "--ro-bind", 2)).not.toContain("/usr /usr");
  });
});

const CONTAINER = {
  name: "rfaas-a-1",
  hostPidFile: "/state/rooms/a-1/pid",
  monitorPidFile: "/state/rooms/a-1/monitor",
  root: "/state/rooms/a-1/root",
};

describe("podman's", () => {
  const line = (terms?: Partial<RoomTerms>, machine = { cgroupfs: true, crun: true }) =>
    podmanLine({ program: "/usr/bin/podman", ...machine }, CONTAINER, hostIn(terms));

  test("makes a container without network and privileges, which gets the host's descriptors", () => {
    const words = line();
    expect(after(words, "--network")).toEqual(["none"]);
    expect(after(words, "--cap-drop")).toEqual(["all"]);
    expect(after(words, "--security-opt")).toEqual(["no-new-privileges", "label=disable"]);
    expect(after(words, "--preserve-fds")).toEqual(["3"]);
    expect(after(words, "--pull")).toEqual(["never"]);
    expect(after(words, "--pidfile")).toEqual([CONTAINER.hostPidFile]);
    expect(words).toEqual(expect.arrayContaining(["--rm", "--read-only"]));
    expect(after(words, "--runtime")).toEqual(["crun"]);
    expect(after(words, "--cgroup-manager")).toEqual(["cgroupfs"]);
    expect(after(line({}, { cgroupfs: false, crun: false }), "--runtime")).toEqual([]);
    expect(after(line({ network: true }), "--network")).toEqual(["host"]);
    expect(after(words, "--cap-add")).toEqual([]);
  });

  test("has scratch in memory, bounded for a lease that says what it may have, and /tmp where an image has one", () => {
    const memory = (terms?: Partial<RoomTerms>) =>
      after(line(terms), "--mount").filter((mount) => mount.startsWith("type=tmpfs"));
    expect(memory()).toEqual(["type=tmpfs,target=/.rfaas/scratch,tmpfs-mode=1777,exec"]);
    const sized = memory({ image: "debian:12", heapBytes: 1 << 26 });
    expect(sized.map((mount) => /target=([^,]+).*tmpfs-size=(\d+)/.exec(mount)?.slice(1))).toEqual([
      ["/.rfaas/scratch", "67108864"],
      ["/tmp", "67108864"],
    ]);
    expect(line().join(" ")).not.toContain("source=/state/rooms/a-1/scratch");
  });

  test("names the file of the variables, and none of their values, which any user could read there", () => {
    const words = line();
    expect(after(words, "--env-file")).toEqual(["/state/rooms/a-1/environment"]);
    expect(words).not.toContain("--env");
    expect(words).toContain("--http-proxy=false");
    expect(words.join(" ")).not.toContain("secret");
  });

  test("runs the node's own system from a root of links, another one from a layer above it, or an image", () => {
    expect(after(line(), "--rootfs")).toEqual([CONTAINER.root]);
    expect(line().join(" ")).toContain("--mount type=bind,source=/usr,target=/usr,readonly");
    const layered = line({ image: "/images/debian" });
    expect(after(layered, "--rootfs")).toEqual(["/images/debian:O"]);
    const named = line({ image: "debian:12" });
    expect(named).not.toContain("--rootfs");
    expect(named.slice(named.indexOf("debian:12"))).toEqual([
      ...["debian:12", "/.rfaas/program0/rfaas", "__host", "1", "0", "/proc/self/fd/5"],
    ]);
    expect(named.join(" ")).not.toContain("source=/usr,");
  });
});

describe("Apptainer's", () => {
  const line = (terms?: Partial<RoomTerms>) =>
    apptainerLine("/usr/bin/apptainer", "/state/rooms/a-1/root", hostIn(terms));

  test("makes a container of namespaces that shows what the room has, and nothing of the site's", () => {
    const words = line({ readPaths: ["/a:b,c"] });
    const closed = [
      "--containall",
      "--cleanenv",
      "--no-home",
      "--no-privs",
      "--no-init",
      "--no-eval",
    ];
    expect(words).toEqual(expect.arrayContaining(["exec", ...closed]));
    expect(after(words, "--network")).toEqual(["none"]);
    expect(after(words, "--no-mount")[0]!.split(",")).toContain("bind-paths");
    const binds = after(words, "--bind");
    expect(binds).toContain("/state/rooms/a-1/package:/.rfaas/package:ro");
    expect(binds).toContain("/usr:/usr:ro");
    expect(binds).toContain("/a\\:b\\,c:/a\\:b\\,c:ro");
    expect(binds.filter((bind) => bind.endsWith(":rw"))).toEqual([
      "/state/rooms/a-1/scratch:/.rfaas/scratch:rw",
      "/state/rooms/a-1/scratch:/tmp:rw",
    ]);
    expect(words.slice(words.indexOf("--pwd"))).toEqual([
      ...["--pwd", "/", "/state/rooms/a-1/root", "/.rfaas/program0/rfaas", "__host", "1", "0"],
      "/proc/self/fd/5",
    ]);
  });

  test("runs a file of the operator's, with the network where the lease has it", () => {
    const words = line({ image: "/images/solver.sif", network: true });
    expect(words).toContain("/images/solver.sif");
    expect(words).not.toContain("--net");
    expect(after(words, "--bind")).not.toContain("/usr:/usr:ro");
  });

  test("shows no variable: they come by the environment, under names of Apptainer's", () => {
    const own = { HOME: "/.rfaas/scratch", LEVEL: "secret" };
    expect(line().join(" ")).not.toContain("secret");
    expect(apptainerEnvironment(own, { PATH: "/bin", HOME: "/root", TOKEN: "t" })).toEqual({
      ...{ PATH: "/bin", HOME: "/root" },
      ...{ APPTAINERENV_HOME: "/.rfaas/scratch", APPTAINERENV_LEVEL: "secret" },
    });
  });
});

test("where scratch is a folder of the disk, no file system in memory is at its place, and the others are counted", () => {
  const inside = { package: "/.rfaas/package", scratch: "/.rfaas/scratch" };
  const drivers = DRIVERS.filter(({ images }) => images !== "none");
  const onDisk = drivers.flatMap((driver: SandboxDriver) => {
    const places = driver.inMemory?.(inside);
    expect([driver.name, places]).toEqual([driver.name, expect.arrayContaining(["/dev"])]);
    return places!.includes(inside.scratch) ? [] : [{ name: driver.name, places: places! }];
  });
  expect(onDisk.map(({ name }) => name)).toEqual(["apptainer", "sarus"]);
  for (const { places } of onDisk) {
    expect(places).not.toContain("/tmp");
    expect(places).toContain("/dev/shm");
  }
});

/** As Docker and Sarus have it: without descriptors, which the host is handed. */
const handedIn = (terms: Partial<RoomTerms> = {}, folders = "/state/rooms/a-1"): HostStart => ({
  ...hostIn(terms),
  command: (parentPid) => [
    "/opt/rfaas/rfaas",
    "__host",
    String(parentPid),
    "handed:/.rfaas/handed",
  ],
  folders: {
    package: `${folders}/package`,
    scratch: `${folders}/scratch`,
    handed: `${folders}/handed`,
  },
});
const HOST = ["/.rfaas/program0/rfaas", "__host", "0", "handed:/.rfaas/handed"];

describe("Docker's", () => {
  const line = (terms?: Partial<RoomTerms>, folders?: string) =>
    dockerLine("/usr/bin/docker", "rfaas-a-1", "1000:100", handedIn(terms, folders));

  test("is this, for a lease with an image", () => {
    expect(line({ image: "debian:12" })).toEqual([
      ...["/usr/bin/docker", "run", "--rm", "--name", "rfaas-a-1", "--pull", "never"],
      ...["--sig-proxy=true", "--log-driver", "none", "--network", "none", "--ipc", "none"],
      ...["--user", "1000:100", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
      ...["--read-only", "--workdir", "/", ...limitsAsOptions()],
      "--mount",
      "type=bind,source=/opt/rfaas/rfaas,target=/.rfaas/program0/rfaas,readonly",
      "--mount",
      "type=bind,source=/state/rooms/a-1/package,target=/.rfaas/package,readonly",
      ...["--mount", "type=bind,source=/state/rooms/a-1/handed,target=/.rfaas/handed,readonly"],
      ...["--tmpfs", "/.rfaas/scratch:rw,exec,nosuid,nodev,mode=1777"],
      ...["--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777"],
      ...["--env-file", "/state/rooms/a-1/environment", "--entrypoint", ""],
      ...["--", "debian:12", ...HOST],
    ]);
  });

  test("shows the node's own system where there is no image, its links as mounts, to be read", () => {
    const words = line({ readPaths: ["/data"] });
    expect(words.slice(words.indexOf("--"))).toEqual(["--", "rfaas-empty:1", ...HOST]);
    const mounts = after(words, "--mount");
    expect(mounts).toContain("type=bind,source=/usr,target=/usr,readonly");
    expect(mounts).toContain("type=bind,source=/data,target=/data,readonly");
    const loaders = mounts.filter((mount) => mount.includes("target=/lib,"));
    expect(loaders).toEqual([`type=bind,source=${realpathSync("/lib")},target=/lib,readonly`]);
    expect(mounts.filter((mount) => !mount.endsWith(",readonly"))).toEqual([]);
    const inMemory = after(line({ heapBytes: 64 << 20 }), "--tmpfs");
    expect(inMemory).toEqual(
      ["/.rfaas/scratch", "/tmp"].map(
        (place) => `${place}:rw,exec,nosuid,nodev,mode=1777,size=67108864`,
      ),
    );
  });

  test("takes no word of a lease's or of a path for an option or for more than it is", () => {
    // Names of images are checked before, too.
    const words = line({ image: "--privileged" }, '/my state,readonly=false/-v "x"');
    expect(words.slice(words.indexOf("--"))).toEqual(["--", "--privileged", ...HOST]);
    expect(after(words, "--mount")).toContain(
      'type=bind,"source=/my state,readonly=false/-v ""x""/package",target=/.rfaas/package,readonly',
    );
    expect(after(line({ network: true }), "--network")).toEqual(["host"]);
    expect(after(line({ becomesUser: true }), "--cap-add")).toEqual(["SETUID", "SETGID"]);
    expect(words.join(" ")).not.toContain("secret");
  });
});

describe("Sarus's", () => {
  const line = (terms?: Partial<RoomTerms>, folders?: string) =>
    sarusLine("/usr/bin/sarus", "rfaas-a-1", handedIn(terms, folders));

  test("is this, for a lease with an image", () => {
    expect(line({ image: "debian:12" }, "/my state/-a")).toEqual([
      ...["/usr/bin/sarus", "run", "--name", "rfaas-a-1", "--pid=private", "--workdir=/"],
      "--entrypoint",
      "--mount=type=bind,source=/opt/rfaas/rfaas,destination=/.rfaas/program0/rfaas,readonly",
      "--mount=type=bind,source=/my state/-a/package,destination=/.rfaas/package,readonly",
      "--mount=type=bind,source=/my state/-a/scratch,destination=/.rfaas/scratch",
      "--mount=type=bind,source=/my state/-a/scratch,destination=/tmp",
      "--mount=type=bind,source=/my state/-a/handed,destination=/.rfaas/handed,readonly",
      ...["debian:12", ...HOST],
    ]);
  });

  test("shows the node's own system where there is no image", () => {
    const words = line();
    expect(words).toContain("--mount=type=bind,source=/usr,destination=/usr,readonly");
    expect(words.slice(-1 - HOST.length)).toEqual(["rfaas-empty:1", ...HOST]);
  });

  test("is refused for a path that Sarus would read as more than a path", () => {
    for (const odd of ["/a,readonly=false", '/a"b', "/a\\b", "/a\nb"])
      expect(() => line({ image: "debian:12" }, odd)).toThrow("Sarus cannot show the path");
  });
});

test("names of images are those of a registry where the engine has no folders", () => {
  expect(imageNamed("debian:12", "names", "/")).toBe("debian:12");
  expect(imageNamed("usr", "named", "/")).toBe("/usr");
  // No entry of the folder.
  expect(imageNamed("usr", "names", "/")).toBe("usr");
  for (const odd of [
    "--privileged",
    "-v",
    "a b",
    "a,b",
    "dir:/etc",
    "docker-archive:x",
    "/usr",
    "UP//x",
  ])
    expect([odd, imageNamed(odd, "names", "/")]).toEqual([odd, undefined]);
});

test("a path with a comma is one field of a mount", () => {
  expect(mountOption({ from: '/a,b"c', to: "/d", writable: true })).toEqual([
    "--mount",
    'type=bind,"source=/a,b""c",target=/d',
  ]);
});

test("limits are the node's own, no higher than the engine can give", () => {
  const limits = (files: string, processes: string) =>
    limitsAsOptions(
      `Limit  Soft  Hard  Units\nMax processes   ${processes}   processes\nMax open files   ${files}   files\n`,
      32_768,
    );
  expect(limits("1024 20000", "96364 unlimited")).toEqual([
    ...["--ulimit", "nofile=1024:20000", "--ulimit", "nproc=32768:32768"],
  ]);
  expect(limits("unlimited unlimited", "100 100")).toEqual([
    ...["--ulimit", "nofile=1048576:1048576", "--ulimit", "nproc=100:100"],
  ]);
  expect(limitsAsOptions()).toHaveLength(existsSync("/proc/self/limits") ? 4 : 0);
});

describe("the name of an image", () => {
  test.each([
    ["debian", "debian"],
    ["debian:12", "debian:12"],
    ["registry.example:5000/a/b-c:1.0", "registry.example:5000/a/b-c:1.0"],
    [`a@sha256:${"0".repeat(64)}`, `a@sha256:${"0".repeat(64)}`],
  ])("is one that an engine has: %s", (name, image) => {
    expect(imageNamed(name, "named", undefined)).toBe(image);
    expect(imageNamed(name, "folders", undefined)).toBeUndefined();
  });

  test.each([
    ...["/", "/etc", "../etc", "..", ".", "--privileged", "-v", "dir:/etc", "dir:etc"],
    ...["oci-archive:x", "docker-archive:x.tar", "docker://debian", "containers-storage:x", "a b"],
    ...["", "a:", "A/../b", "http://a/b"],
  ])("is no path, option or place: %s", (name) => {
    expect(imageNamed(name, "named", undefined)).toBeUndefined();
    expect(imageNamed(name, "named", scratch.path)).toBeUndefined();
  });

  test("is an entry of the operator's folder before all else", () => {
    expect(imageNamed("image", "folders", scratch.path)).toBe(scratch.join("image"));
    expect(imageNamed("image", "named", scratch.path)).toBe(scratch.join("image"));
    expect(imageNamed("other", "folders", scratch.path)).toBeUndefined();
  });
});
