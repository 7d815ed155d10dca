/**
 * From an empty folder to a result, as the README of npm's package says it: npm installs the packed files and Bun, and a client runs,
 * on a PATH without a compiler, another Bun or another rfaas. The launcher finds the executable in each layout of node_modules.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { filesOf, packInto, run } from "../support/consumer.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

function folder(name: string): string {
  mkdirSync(scratch.join(name), { recursive: true });
  return scratch.join(name);
}

const registry = await reachesRegistry("a client in a folder of its own");

const NPM = ["node", "npm", "npx"];
/** What the launcher and npm's scripts are written in. */
const SHELL = ["sh", "env", "dirname", "readlink", "uname"];

/** The only programs that a user of these tests has. */
function pathWith(programs: readonly string[], name: string): string {
  const bin = folder(name);
  for (const program of programs) symlinkSync(Bun.which(program)!, join(bin, program));
  return bin;
}

const project = folder("empty");
const PLATFORM = `@rfaas/linux-${process.arch}`;
let main = "";
let platform = "";
beforeAll(async () => {
  [main, platform] = (await packInto(folder("packed"))) as [string, string];
}, 600_000);

describe.skipIf(!registry)("in an empty folder", () => {
  let env: Record<string, string> = {};
  beforeAll(async () => {
    const { stdout } = await run(["npm", "config", "get", "cache"], project);
    env = {
      ...{ PATH: pathWith([...NPM, ...SHELL], "bin"), HOME: folder("home") },
      ...{ npm_config_cache: stdout.trim(), npm_config_prefer_offline: "true" },
      ...{ npm_config_audit: "false", npm_config_update_notifier: "false" },
    };
  });

  test("the commands of the README install the files and run the client", async () => {
    const readme = filesOf(main)["README.md"]!.toString();
    for (const tarball of [main, platform]) cpSync(tarball, join(project, basename(tarball)));
    for (const [, name, code] of readme.matchAll(/^```ts\n\/\/ (\S+)\n([^]*?)^```$/gm))
      writeFileSync(join(project, name!), code!);
    const [install] = /^npm install .*$/m.exec(readme)!;
    const words = install.replace("linux-x64", `linux-${process.arch}`).split(" ");
    const startedAt = performance.now();
    const wanted = words.map((word) => (word === "bun" ? `bun@${Bun.version}` : word));
    expect(await run(wanted, project, env)).toMatchObject({ exitCode: 0 });
    expect(await run(["npx", "bun", "client.ts"], project, env)).toEqual({
      ...{ exitCode: 0, stdout: "42\n", stderr: "" },
    });
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.error(`from an empty folder to a result with npm: ${seconds} s`);
  }, 300_000);

  test("nothing of rfaas, nor of what it depends on, runs a script to be installed", () => {
    const lock = readFileSync(join(project, "node_modules", ".package-lock.json"), "utf8");
    const packages = JSON.parse(lock).packages as Record<string, { hasInstallScript?: boolean }>;
    const scripts = Object.keys(packages).filter((path) => packages[path]!.hasInstallScript);
    expect(scripts).toEqual(["node_modules/bun"]);
  });

  test("the command rfaas is there, and calls a function", async () => {
    expect(await run(["npx", "rfaas", "--version"], project, env)).toMatchObject({
      stdout: `rfaas ${packageJson.version}\n`,
    });
    const invoke = ["npx", "rfaas", "invoke", "fn.ts#double", "--json", "21"];
    expect(await run(invoke, project, env)).toMatchObject({ exitCode: 0, stdout: "42\n" });
  }, 120_000);
});

describe.skipIf(!registry)("a test of a function, in a project of others", () => {
  test("shows where the function failed, in a package that it uses too", async () => {
    const at = join(project, "node_modules", "thrower");
    mkdirSync(at);
    const manifest = '{ "name": "thrower", "type": "module", "exports": "./thrower.js" }';
    writeFileSync(join(at, "package.json"), manifest);
    writeFileSync(
      join(at, "thrower.js"),
      'export const fail = () => {\n  throw new Error("no");\n};\n',
    );
    writeFileSync(
      join(project, "failing.ts"),
      `import { Type, defineFunction } from "rfaas/function";
import { fail } from "thrower";
export const f = defineFunction({ input: Type.Null(), output: Type.Null() }, () => {
  fail();
  return null;
});
`,
    );
    writeFileSync(
      join(project, "failing-client.ts"),
      `import { FunctionError } from "rfaas";
import { testWorker } from "rfaas/testing";
await using worker = await testWorker(await import("./failing.ts"));
const error = await worker.function("f")(null).catch((thrown) => thrown);
console.log(error instanceof FunctionError ? error.remoteStack : error);
`,
    );
    const { exitCode, stdout } = await run([process.execPath, "failing-client.ts"], project);
    const places = stdout.match(/[\w-]+\.[jt]s(?=:\d)/g);
    expect([exitCode, places?.slice(0, 2)]).toEqual([0, ["thrower.js", "failing.ts"]]);
    expect(stdout).not.toContain(join("node_modules", "rfaas"));
  }, 60_000);
});

describe("the launcher", () => {
  const env = { PATH: pathWith(SHELL, "shell") };
  /** Lays out packages below a folder, by the paths that they have there. */
  function laidOut(at: string, packages: Readonly<Record<string, string>>): void {
    for (const [path, tarball] of Object.entries(packages)) {
      const to = join(at, path);
      mkdirSync(dirname(to), { recursive: true });
      // Unpacked once, and linked: the executable is large.
      const files = filesOf(tarball);
      for (const [name, bytes] of Object.entries(files)) {
        if (name === "rfaas") continue;
        mkdirSync(dirname(join(to, name)), { recursive: true });
        writeFileSync(join(to, name), bytes, { mode: name === "bin/rfaas" ? 0o755 : 0o644 });
      }
      if ("rfaas" in files) writeFileSync(join(to, "rfaas"), SHOWS_ITSELF, { mode: 0o755 });
    }
  }
  /** In place of the executable: says where it lies, and what it was given. */
  const SHOWS_ITSELF = '#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n';

  const LAYOUTS: Readonly<Record<string, { main: string; platform: string }>> = {
    "side by side": { main: "node_modules/rfaas", platform: `node_modules/${PLATFORM}` },
    "one in the other": {
      main: "node_modules/rfaas",
      platform: `node_modules/rfaas/node_modules/${PLATFORM}`,
    },
    "above it": { main: "inner/node_modules/rfaas", platform: `node_modules/${PLATFORM}` },
    "in a store, linked": {
      main: "node_modules/.pnpm/rfaas@1/node_modules/rfaas",
      platform: `node_modules/.pnpm/rfaas@1/node_modules/${PLATFORM}`,
    },
  };

  test.each(Object.entries(LAYOUTS))("finds packages that lie %s", async (name, places) => {
    const at = folder(name.replaceAll(/\W+/g, "-"));
    laidOut(at, { [places.main]: main, [places.platform]: platform });
    // As npm and others link a command: by a relative path, from another folder, and that again.
    mkdirSync(join(at, "bin dir"));
    symlinkSync(join("..", places.main, "bin", "rfaas"), join(at, "bin dir", "rfaas"));
    symlinkSync(join(at, "bin dir", "rfaas"), join(at, "again"));
    for (const command of [join(at, "bin dir", "rfaas"), join(at, "again")])
      expect(await run([command, "invoke", "a b", "--json"], "/", env)).toEqual({
        exitCode: 0,
        stdout: `${join(at, places.platform, "rfaas")}\ninvoke\na b\n--json\n`,
        stderr: "",
      });
  });

  test("says which package is missing", async () => {
    const at = folder("alone");
    laidOut(at, { "node_modules/rfaas": main });
    const { exitCode, stdout, stderr } = await run(
      [join(at, "node_modules/rfaas/bin/rfaas")],
      "/",
      env,
    );
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toStartWith(
      `rfaas: the package ${PLATFORM}, which has the rfaas executable, is`,
    );
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  test("says that an executable is empty, is missing, or may not be executed", async () => {
    const at = folder("damaged");
    laidOut(at, { "node_modules/rfaas": main, [`node_modules/${PLATFORM}`]: platform });
    const executable = join(at, "node_modules", PLATFORM, "rfaas");
    const said = async () => await run([join(at, "node_modules/rfaas/bin/rfaas")], "/", env);
    const refusal = (words: string) => ({
      ...{ exitCode: 1, stdout: "", stderr: expect.stringContaining(words) },
    });
    chmodSync(executable, 0o644);
    expect(await said()).toEqual(refusal(`${executable} may not be executed; run chmod +x`));
    writeFileSync(executable, "");
    chmodSync(executable, 0o755);
    expect(await said()).toEqual(refusal(`${PLATFORM} is damaged: ${executable} is missing or`));
    rmSync(executable);
    expect(await said()).toEqual(refusal(`${PLATFORM} is damaged: ${executable} is missing or`));
  });

  test.each([
    ["Darwin", "arm64", "rfaas runs on Linux only, and this is Darwin"],
    ["Linux", "riscv64", "rfaas runs on CPUs of the kinds x64 and arm64, and this one is riscv64"],
  ])("says on %s with %s what it needs", async (system, machine, sentence) => {
    const bin = pathWith(
      SHELL.filter((name) => name !== "uname"),
      `on-${machine}`,
    );
    const answers = `#!/bin/sh\nif [ "$1" = -s ]; then echo ${system}; else echo ${machine}; fi\n`;
    writeFileSync(join(bin, "uname"), answers, { mode: 0o755 });
    const at = folder(`package-on-${machine}`);
    laidOut(at, { "node_modules/rfaas": main });
    const said = await run([join(at, "node_modules/rfaas/bin/rfaas")], "/", { PATH: bin });
    expect(said).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(sentence) });
  });
});
