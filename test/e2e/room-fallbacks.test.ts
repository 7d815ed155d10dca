/** Machines that lack what rooms are made of, or a folder for them: functions run with the layers that are there, and nodes for others do not serve. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { compiler } from "../../ffi/build.ts";
import { run } from "../support/compilers.ts";
import { RFAAS, ROOT, ServedNode } from "../support/executable.ts";
import { onOneMachine } from "../support/fabric.ts";
import { roomedNode, testFullScratch } from "../support/rooms.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 60_000;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const MODULE = scratch.file(
  "fn.ts",
  `export function double(input: Uint8Array, output: Uint8Array): number {
  output[0] = 2 * input[0]!;
  return 1;
}`,
);
const INPUT = scratch.file("input", "!");
const WITHOUT = scratch.join("without-calls");
run([compiler()!, "-O1", "-Wall", "-o", WITHOUT, join(ROOT, "test/support/without-calls.c")], ROOT);

/** Calls the function on a private node, whose log comes on stderr. */
function invoke(within: readonly string[], env: Record<string, string> = {}) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [...within, RFAAS, "invoke", MODULE, "--input", INPUT],
    { env: { ...process.env, RFAAS_SANDBOX: undefined, RFAAS_LOG: "debug", ...env } },
  );
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

/** What a machine lacks, what its rooms then leave open, and what its remedy is. */
const LACKS: [what: string, open: RegExp, remedy: string][] = [
  ["landlock", /sandbox process does not guard files on this machine/, "Landlock (Linux 5.13)"],
  ["seccomp", /sandbox process does not guard (?:sockets, )?programs on this machine/, "seccomp"],
  [
    "rooms",
    /there is no sandbox \(the sandbox process cannot be had, starting a process/,
    "doctor",
  ],
];

describe.each(LACKS)("without %s", (what, open, remedy) => {
  const within = [WITHOUT, what, "--"];

  test(
    "functions of a private node run, and its log says what they can reach, once",
    () => {
      const { exitCode, stdout, stderr } = invoke(within);
      expect([exitCode, stdout, stderr]).toEqual([0, "B", expect.stringMatching(open)]);
      expect(stderr.match(new RegExp(open, "g"))).toHaveLength(1);
    },
    LIMIT_MS,
  );

  test(
    "a node serves its own user, with a warning, and no one else",
    async () => {
      {
        await using own = await ServedNode.start(scratch.join(`${what}.sock`), [], within);
        expect(own.stderr).toMatch(/warn/i);
        expect(own.stderr).toMatch(open);
      }
      const serve = [RFAAS, "serve", "--listen", "127.0.0.1:0", "--allow-remote"];
      const refused = Bun.spawnSync([...within, ...serve]);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr.toString()).toContain("needs every guard");
      expect(refused.stderr.toString()).toContain(remedy);
    },
    LIMIT_MS,
  );
});

test(
  "where a container forbids namespaces and mounts, the other layers hold every guard",
  async () => {
    await using node = await ServedNode.start(
      "127.0.0.1:0",
      ["--allow-remote", "--insecure"],
      [WITHOUT, "namespaces", "--"],
    );
    expect(node.stderr).toContain("processes by Landlock");
    expect(invoke([WITHOUT, "namespaces", "--"])).toMatchObject({ exitCode: 0, stdout: "B" });
  },
  LIMIT_MS,
);

onOneMachine("hosts share memory with their client").describe("without mounts of its own", () =>
  testFullScratch((args) => roomedNode(args, [WITHOUT, "namespaces", "--"]), false),
);

test(
  "rfaas in a function has rooms within its room, over a fabric that shares no memory",
  () => {
    const outer = scratch.file(
      "outer.ts",
      `import { writeFileSync } from "node:fs";
      import { Type, defineFunction } from "rfaas/function";
      export const outer = defineFunction({ input: Type.String(), output: Type.String() }, (fabric) => {
        const inner = process.env.TMPDIR + "/inner.ts";
        writeFileSync(inner, 'import { readFileSync } from "node:fs"; import { Type, defineFunction } from "rfaas/function"; export const reads = defineFunction({ input: Type.String(), output: Type.String() }, (path) => readFileSync(path, "utf8").slice(0, 4));');
        const words = (path: string) => ["invoke", inner + "#reads", "--json", JSON.stringify(path), "--fabric", fabric];
        return ["/etc/os-release", inner].map((path) => {
          const { stdout, stderr } = Bun.spawnSync([${JSON.stringify(RFAAS)}, ...words(path)]);
          return String(stdout) + String(stderr);
        }).join(" ");
      });`,
    );
    const nest = (fabric: string): string => {
      const asked = ["--json", JSON.stringify(fabric), "--processes", "--network"];
      return Bun.spawnSync([RFAAS, "invoke", `${outer}#outer`, ...asked]).stdout.toString();
    };
    const seen = nest("tcp");
    expect(seen).toMatch(/^"\\"(?:PRET|NAME|ID=)/);
    expect(seen).toContain("EACCES: permission denied, open");
    expect(nest("shm")).toContain("functions in rooms have leases with network: true");
  },
  LIMIT_MS,
);

test(
  "a user without a home has rooms below the temporary folder",
  () => {
    const TMPDIR = scratch.join("temporary");
    mkdirSync(TMPDIR);
    chmodSync(TMPDIR, 0o777);
    const HOME = scratch.file("home", "a file");
    const nowhere = { HOME, TMPDIR, XDG_STATE_HOME: "", XDG_CACHE_HOME: "" };
    const { exitCode, stdout, stderr } = invoke([], nowhere);
    expect([exitCode, stdout, stderr]).toEqual([0, "B", expect.not.stringContaining("ERROR")]);
  },
  LIMIT_MS,
);
