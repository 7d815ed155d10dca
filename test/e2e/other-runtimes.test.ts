/** The installed library in Node, tsx and Deno: one clear error for whatever would call, and functions that can be tested. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import * as library from "../../src/index.ts";
import * as testing from "../../src/testing/index.ts";
import * as substitute from "../../src/without-bun/index.ts";
import { buildLibrary, installDependencies, link } from "../support/installed-library.ts";
import { ROOT } from "../support/executable.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 60_000;

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** Of npm; each of them has its executable in a package of its own. */
const TSX = "tsx@4.23.15";
const DENO = "deno@2.9.6";
const registry = await reachesRegistry("tsx and Deno");
const hasNode = Bun.which("node") !== null;
if (!hasNode) console.error("SKIPPED: Node: it is not installed");

const CLIENT = `
import { PlatformUnsupported, RfaasError, invoker } from "rfaas";
import { testWorker } from "rfaas/testing";
for (const call of [() => invoker(), () => invoker({ node: "a:1" }), () => testWorker({})])
  await call().then(
    () => console.log("no error"),
    (error) => console.log(error instanceof PlatformUnsupported, error instanceof RfaasError, error.code, error.message),
  );
`;
const UNCAUGHT = `
import { invoker } from "rfaas";
await invoker();
`;
const FUNCTION = `
import { Type, defineFunction, struct, typedArray } from "rfaas/function";
export const Point = struct({ x: "f64", y: "f64" });
export const sum = defineFunction(
  { input: typedArray("Float64Array"), output: Type.Number() },
  (values) => values.reduce((total, value) => total + value, 0),
);
console.log(sum.run(new Float64Array([1, 2, 3])), Point.byteLength);
`;

beforeAll(async () => {
  const at = scratch.join("node_modules/rfaas");
  mkdirSync(at, { recursive: true });
  await buildLibrary(at);
  installDependencies(scratch.path);
  scratch.file("package.json", '{"private":true,"type":"module"}');
  for (const [name, text] of Object.entries({ CLIENT, UNCAUGHT, FUNCTION })) {
    scratch.file(`${name.toLowerCase()}.mjs`, text);
    scratch.file(`${name.toLowerCase()}.ts`, text);
  }
  if (!registry) return;
  const tools = scratch.join("tools");
  mkdirSync(tools);
  const install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", TSX, DENO];
  const { exitCode, stderr } = Bun.spawnSync([...install, "--prefix", tools], {
    stdout: "ignore",
    stderr: "pipe",
  });
  if (exitCode !== 0) throw new Error(stderr.toString());
}, 300_000);

async function run(command: readonly string[], file: string) {
  const child = Bun.spawn([...command, scratch.join(file)], {
    cwd: scratch.path,
    env: { ...process.env, DENO_DIR: scratch.join("deno"), NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

const tool = (path: string): string => join(scratch.path, "tools", "node_modules", path);

describe.each([
  ["Node", hasNode, "mjs", () => ["node"]],
  ["Node with tsx", hasNode && registry, "ts", () => ["node", tool("tsx/dist/cli.mjs")]],
  [
    "Deno",
    registry,
    "ts",
    () => [tool(`@deno/linux-${process.arch}-glibc/deno`), "run", "--allow-env", "--no-check"],
  ],
] as const)("in %s", (name, here, extension, command) => {
  test.skipIf(!here)(
    "whatever would call throws one error, which says what to do",
    async () => {
      const { stdout, ...rest } = await run(command(), `client.${extension}`);
      expect(rest).toEqual({ exitCode: 0, stderr: "" });
      const lines = stdout.trim().split("\n");
      expect(lines).toHaveLength(3);
      for (const line of lines) {
        expect(line).toStartWith("true true RFAAS_PLATFORM ");
        expect(line).toContain(name === "Deno" ? "runs in Deno 2." : "runs in Node ");
        expect(line).toContain("bun FILE");
        expect(line).toContain("rfaas run FILE");
        expect(line).toContain("no clients for other runtimes and languages yet");
      }
    },
    LIMIT_MS,
  );

  test.skipIf(!here)(
    "an error that is not caught is that one, and no loader's",
    async () => {
      const { exitCode, stderr } = await run(command(), `uncaught.${extension}`);
      expect(exitCode).toBe(1);
      expect(stderr).toContain("PlatformUnsupported: invoker() of rfaas needs Bun");
    },
    LIMIT_MS,
  );

  test.skipIf(!here)(
    "functions can be defined and tested",
    async () => {
      const ran = await run(command(), `function.${extension}`);
      expect(ran).toEqual({ exitCode: 0, stdout: "6 16\n", stderr: "" });
    },
    LIMIT_MS,
  );
});

test.skipIf(!hasNode || !registry)(
  "a checkout that is linked says the same in Node with tsx",
  async () => {
    link(ROOT, scratch.join("linked/node_modules/rfaas"));
    await Bun.write(scratch.join("linked/client.ts"), CLIENT);
    await Bun.write(scratch.join("linked/package.json"), '{"private":true,"type":"module"}');
    const { stdout, ...rest } = await run(["node", tool("tsx/dist/cli.mjs")], "linked/client.ts");
    expect(rest).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(/^(?:true true RFAAS_PLATFORM .*\n){3}$/);
  },
  LIMIT_MS,
);

test("all that the library and its tests export is there", () => {
  const names = [...Object.keys(library), ...Object.keys(testing)];
  expect(Object.keys(substitute).toSorted()).toEqual([...new Set(names)].toSorted());
});
