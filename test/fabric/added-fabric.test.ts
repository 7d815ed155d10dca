/**
 * A fabric is added by a folder and a line of the registry (beside its C side, see `third-fabric.test.ts`): a copy of the sources gets
 * a third one here, and is as sound as before and leases over it. Its bytes travel as those of shared memory do.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const FABRIC = `
import type { Fabric, FabricOffer } from "../fabric.ts";
import { shm } from "../shm/fabric.ts";

export const pigeon: Fabric<"pigeon"> = {
  ...shm,
  name: "pigeon",
  title: "pigeons",
  offer: () => offered,
  doctor: async () => [{ name: "fabric pigeon", state: "ok", found: "they fly" }],
};

const offered: FabricOffer = { ...shm.offer({}), fabric: pigeon, description: "pigeon" };
`;

const PROGRAM = `
import { invoker } from "./src/index.ts";

await using rf = await invoker({ fabric: "pigeon" });
await using lease = await rf.allocate("rfaas:echo");
const input = lease.input(Uint8Array, 3);
const output = lease.output(Uint8Array, 3);
input.set([1, 2, 3]);
const written = lease.invoke("echo", input, output);
process.stdout.write(JSON.stringify({ fabric: lease.fabric, written, output: [...output] }));
`;

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

beforeAll(() => {
  const settings = ["package.json", "package-lock.json", "tsconfig.json"];
  for (const name of ["src", "ffi", "functions", "bench", "build", ...settings])
    cpSync(join(ROOT, name), scratch.join(name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), scratch.join("node_modules"));
  const home = scratch.join("src/fabric");
  mkdirSync(join(home, "pigeon"));
  writeFileSync(join(home, "pigeon/fabric.ts"), FABRIC);
  const registry = join(home, "registry.ts");
  const source = readFileSync(registry, "utf8");
  const list = "const FABRICS = [shm, verbs, ...ofiHardware, tcp, ...ofiOthers] as const;";
  expect(source).toContain(list);
  const added = source.replace(list, list.replace("tcp,", "tcp, pigeon,"));
  writeFileSync(registry, `import { pigeon } from "./pigeon/fabric.ts";\n${added}`);
  scratch.file("program.ts", PROGRAM);
});

async function run(...args: string[]): Promise<string> {
  const child = Bun.spawn([process.execPath, ...args], {
    ...{ cwd: scratch.path, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  });
  const output = Promise.all([child.stdout.text(), child.stderr.text()]);
  const exitCode = await child.exited;
  const [stdout, stderr] = await output;
  expect([exitCode, exitCode === 0 ? "" : `${stdout}${stderr}`]).toEqual([0, ""]);
  return stdout;
}

test("programs lease over it", async () => {
  expect(JSON.parse(await run("program.ts"))).toEqual({
    ...{ fabric: "pigeon", written: 3, output: [1, 2, 3] },
  });
}, 60_000);

test("the command line has its name, and the doctor a finding", async () => {
  const help = await run("src/main.ts", "help", "serve");
  expect(help).toContain("--fabric <shm|verbs|tcp|pigeon|ofi|ofi:provider>");
  const { findings } = JSON.parse(await run("src/main.ts", "doctor", "--json")) as {
    findings: { name: string; found: string }[];
  };
  expect(findings.find(({ name }) => name === "fabric pigeon")?.found).toBe("they fly");
}, 60_000);

test("the types of everything else allow it", async () => {
  await run("check", "--no-script");
}, 120_000);
