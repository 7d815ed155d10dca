/** What a process of the node's user finds of the secrets that the node was given. */
import { expect, test } from "bun:test";
import { chownSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 60_000;
const TOKEN = "rfaas1.a-token-that-is-only-here";
const JOIN_TOKEN = "join-a-token-that-is-only-there";

const shown = (pid: number): string =>
  ["environ", "cmdline"].map((name) => readFileSync(`/proc/${pid}/${name}`, "latin1")).join("\0");

test(
  "a node's environment and arguments have no secret once it serves, and its other variables stay",
  async () => {
    using scratch = new Scratch();
    const within = ["env", `RFAAS_TOKEN=${TOKEN}`, "TZ=UTC"];
    // Without a manager the node has no use for it, and keeps it from others all the same.
    const args = ["--cores", "1"];
    await using node = await ServedNode.start(scratch.join("node.sock"), args, within);
    const said = shown(node.pid);
    expect(said).toContain("RFAAS_TOKEN=****");
    expect(said).not.toContain(TOKEN);
    expect(said).toContain("TZ=UTC");
  },
  LIMIT_MS,
);

test("a secret among the arguments is overwritten, and the others stay", () => {
  const system = join(import.meta.dir, "../../ffi/system.ts");
  const program = `
    const { forgetSecret } = await import(${JSON.stringify(system)});
    const secret = process.argv.at(-1).slice("--join=".length);
    const times = forgetSecret(secret);
    const shown = require("node:fs").readFileSync("/proc/self/cmdline", "latin1");
    console.log(JSON.stringify([times, shown.includes(secret), shown.includes("--join=***"), shown.includes("first")]));
  `;
  const said = Bun.spawnSync([process.execPath, "-e", program, "first", `--join=${JOIN_TOKEN}`]);
  expect(said.stderr.toString()).toBe("");
  expect(JSON.parse(said.stdout.toString())).toEqual([1, false, true, true]);
});

const USER = 65_534;

test.skipIf(process.getuid?.() !== 0)(
  "another process of the node's user reads neither its memory nor its environment, and the node serves",
  async () => {
    using scratch = new Scratch();
    chownSync(scratch.path, USER, USER);
    const as = ["setpriv", "--reuid", `${USER}`, "--regid", `${USER}`, "--clear-groups"];
    const look = (pid: number, name: string) =>
      Bun.spawnSync([...as, "head", "-c", "1", `/proc/${pid}/${name}`]).exitCode;
    const other = Bun.spawn([...as, "sleep", "60"]);
    const within = ["env", `HOME=${scratch.path}`, `TMPDIR=${scratch.path}`, ...as];
    const socket = scratch.join("node.sock");
    await using node = await ServedNode.start(socket, ["--cores", "1"], within);
    try {
      // A process that is not hidden is read.
      expect(look(other.pid, "environ")).toBe(0);
      for (const name of ["environ", "maps", "mem"]) expect(look(node.pid, name)).not.toBe(0);
      const called = Bun.spawnSync([
        ...within,
        RFAAS,
        "invoke",
        "rfaas:echo#echo",
        "--json",
        "7",
        "--node",
        node.address,
      ]);
      expect(called.stderr.toString()).toBe("");
      expect(called.stdout.toString()).toBe("7\n");
    } finally {
      other.kill();
      await other.exited;
    }
  },
  LIMIT_MS,
);

test.skipIf(process.getuid?.() !== 0)(
  "nor those of a manager, which has the key of its cluster",
  async () => {
    using scratch = new Scratch();
    chownSync(scratch.path, USER, USER);
    const as = ["setpriv", "--reuid", `${USER}`, "--regid", `${USER}`, "--clear-groups"];
    const manager = Bun.spawn(
      [
        ...[...as, RFAAS, "manager", "--listen", "127.0.0.1:0"],
        ...["--state", scratch.join("state")],
      ],
      {
        cwd: "/",
        env: { ...process.env, HOME: scratch.path, RFAAS_TOKEN: TOKEN },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    try {
      let said = "";
      for await (const text of manager.stderr.pipeThrough(new TextDecoderStream()))
        if ((said += text).includes("managing at")) break;
      expect(said).toContain("managing at");
      for (const name of ["environ", "maps", "mem"]) {
        const looked = Bun.spawnSync([...as, "head", "-c", "1", `/proc/${manager.pid}/${name}`]);
        expect(looked.exitCode).not.toBe(0);
      }
      // What root sees of it has no token, either.
      expect(shown(manager.pid)).toContain("RFAAS_TOKEN=****");
    } finally {
      manager.kill();
      await manager.exited;
    }
  },
  LIMIT_MS,
);

if (process.getuid?.() !== 0)
  console.error("SKIPPED: a node of another user than the test's: starting one needs root");
