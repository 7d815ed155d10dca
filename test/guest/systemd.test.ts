/**
 * The units of our packages, started by a systemd of the test's own: the first process of namespaces in which there are these units and
 * basic.target alone. For a guest, since it makes control groups and mounts.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { units } from "../../build/pack/system/contents.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { descendants } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 600_000;
const MANAGER = "127.0.0.1:7800";
/** Two processors that are emulated. */
const START_LIMIT_MS = 150_000;
const CALL_MS = 5_000;
const UNITS = ["rfaas-manager", "rfaas-node"];

const maySetUp = process.env["RFAAS_TEST_MAY_START_SYSTEMD"] === "1";
if (!maySetUp) console.error("skipped: systemd is for guests to start");

const scratch = new Scratch();
let around: Bun.Subprocess | undefined;
let systemd = 0;

/** Becomes systemd, where /usr/bin has our executable and no unit is wanted by any target. */
const INSIDE = `
set -eu
mount --make-rprivate /
mount --bind ${scratch.file("console", "")} /dev/console
mount -t tmpfs tmpfs /run
mkdir /run/programs
mount -t proc proc /proc
umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount --bind /usr/bin /run/programs
mount -t tmpfs tmpfs /usr/bin
/run/programs/ln -s /run/programs/* /usr/bin/
cp ${RFAAS} /usr/bin/rfaas
for folder in /usr/lib/systemd/*-generators /usr/lib/systemd/system/*.wants; do mount -t tmpfs tmpfs $folder; done
exec env -i container=test PATH=$PATH /lib/systemd/systemd --system --unit=basic.target --log-target=console
`;

/** Runs a command where systemd is. */
function within(...command: string[]): string {
  const there = ["nsenter", "-t", String(systemd), ..."-m -p -C -i -u".split(" "), ...command];
  const { stdout, stderr, exitCode } = Bun.spawnSync(there);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}${consoleLog()}`);
  return stdout.toString();
}
const consoleLog = (): string => readFileSync(scratch.join("console"), "utf8");
const logOf = (unit: string): string => readFileSync(scratch.join(`${unit}.log`), "utf8");
const stateOf = (unit: string): string[] =>
  within("systemctl", "show", "-p", "ActiveState,NRestarts,Result", unit)
    .trim()
    .split("\n")
    .toSorted();
const isKnown = (times: number): boolean =>
  logOf("rfaas-node").split("knows this node").length > times;

beforeAll(async () => {
  if (!maySetUp) return;
  const own = "/sys/fs/cgroup/rfaas-systemd";
  for (const command of [
    ["mkdir", "-p", "/sys/fs/cgroup", "/etc/systemd/system", "/etc/rfaas", "/var/lib"],
    ["sh", "-c", "mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup"],
    ["mkdir", "-p", own],
  ])
    expect(Bun.spawnSync(command).exitCode).toBe(0);
  writeFileSync("/etc/machine-id", `${"0123456789abcdef".repeat(2)}\n`);
  writeFileSync("/etc/rfaas/manager.env", `OPTIONS=--listen ${MANAGER}\n`);
  const options = `--listen 127.0.0.1:7700 --manager ${MANAGER} --name n1 --cores 2`;
  writeFileSync("/etc/rfaas/node.env", `OPTIONS=${options}\n`);
  for (const { path, bytes } of units())
    writeFileSync(join("/etc/systemd/system", path.split("/").at(-1)!), bytes);
  for (const unit of UNITS) {
    const log = scratch.file(`${unit}.log`, "");
    mkdirSync(`/etc/systemd/system/${unit}.service.d`, { recursive: true });
    const lines = ["[Service]", `StandardOutput=append:${log}`, `StandardError=append:${log}`];
    writeFileSync(`/etc/systemd/system/${unit}.service.d/log.conf`, `${lines.join("\n")}\n`);
  }
  const program = scratch.file("inside.sh", INSIDE);
  const enter = `echo $$ > ${own}/cgroup.procs; exec unshare --pid --mount --cgroup --ipc --uts --fork bash ${program}`;
  const child = Bun.spawn(["bash", "-c", enter], { stdio: ["ignore", "inherit", "inherit"] });
  around = child;
  await until(
    () => {
      [systemd = 0] = descendants(child.pid);
      return systemd > 0 && readFileSync(`/proc/${systemd}/comm`, "utf8") === "systemd\n";
    },
    "systemd is there",
    LIMIT_MS / 2,
  );
  await until(
    () => {
      try {
        return ["running", "degraded"].includes(within("systemctl", "is-system-running").trim());
      } catch {
        return false;
      }
    },
    "it has started",
    START_LIMIT_MS,
  );
}, LIMIT_MS);
afterAll(async () => {
  around?.kill("SIGKILL");
  // The first process of a namespace takes all others with it.
  if (systemd > 0) process.kill(systemd, "SIGKILL");
  await around?.exited;
  scratch[Symbol.dispose]();
});

/** Calls that are in flight when `act` is done, and what came of them and of their lease. */
async function during(act: () => void): Promise<{ results: unknown[]; heard: string[] }> {
  await using rf = await invoker({ manager: MANAGER });
  const lease = await rf.allocate(join(FUNCTIONS, "signals.ts"), { workers: 2, memory: "1MiB" });
  const heard: string[] = [];
  lease.on("revoking", ({ message }) => void heard.push(message));
  lease.on("lost", ({ message }) => void heard.push(`lost: ${message}`));
  const input = lease.input(Uint32Array, 1).fill(CALL_MS);
  const calls = [0, 1].map((worker) =>
    lease.submit("later", input, lease.output(Uint8Array, 8), { worker }),
  );
  act();
  const results = (await Promise.allSettled(calls)).map((end) =>
    end.status === "fulfilled" ? end.value : String(end.reason),
  );
  await lease.release();
  return { results, heard };
}
const STOPPED = ["ActiveState=inactive", "NRestarts=0", "Result=success"];
const DRAINED = { results: [4, 4], heard: ["the node wants its cores back: it was told to stop"] };

test.skipIf(!maySetUp)(
  "a manager and a node are started and reloaded, and calls that run end when all processes of the node's control group are told to stop",
  async () => {
    within("systemctl", "start", ...UNITS);
    await until(() => isKnown(1), "the manager knows the node", START_LIMIT_MS);
    within("systemctl", "reload", ...UNITS);
    await until(() => logOf("rfaas-manager").includes("SIGHUP: read"), "it has read again");
    await until(() => logOf("rfaas-node").includes("SIGHUP: "), "the node has heard it, too");
    const killed = await during(
      () => void within("systemctl", "kill", "--kill-whom=all", "rfaas-node"),
    );
    expect(killed).toEqual(DRAINED);
    await until(
      () => stateOf("rfaas-node").join() === STOPPED.join(),
      "it has stopped",
      START_LIMIT_MS,
    );

    within("systemctl", "start", "rfaas-node");
    await until(() => isKnown(2), "the manager knows it again", START_LIMIT_MS);
    // With KillMode=control-group; it returns when nothing of the node is left.
    expect(
      await during(() => void within("systemctl", "stop", "--no-block", "rfaas-node")),
    ).toEqual(DRAINED);
    await until(
      () => stateOf("rfaas-node").join() === STOPPED.join(),
      "it has stopped",
      START_LIMIT_MS,
    );
    expect(readdirSync(`/proc/${systemd}/root/sys/fs/cgroup/system.slice`)).not.toContain(
      "rfaas-node.service",
    );
  },
  LIMIT_MS,
);

test.skipIf(!maySetUp)(
  "a node that is told to reload before it hears that is started anew",
  async () => {
    const once = scratch.join("once");
    const early = `test -e ${once} || kill -HUP $MAINPID; touch ${once}`;
    const file = "/etc/systemd/system/rfaas-node.service.d/early.conf";
    writeFileSync(file, `[Service]\nExecStartPost=/bin/sh -c "${early}"\n`);
    within("systemctl", "daemon-reload");
    within("systemctl", "start", "rfaas-node");
    await until(() => isKnown(3), "the manager knows it", START_LIMIT_MS);
    expect(stateOf("rfaas-node")).toEqual(["ActiveState=active", "NRestarts=1", "Result=success"]);
    within("systemctl", "stop", ...UNITS);
    for (const unit of UNITS) expect(stateOf(unit)[0]).toBe("ActiveState=inactive");
  },
  LIMIT_MS,
);
