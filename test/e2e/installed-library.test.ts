/**
 * The library as npm installs it, and programs that have it inside of them: where they find executable and shim, and that they are
 * refused at once where there is none.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import {
  PLATFORM,
  VERSION,
  buildLibrary,
  installDependencies,
  installPlatform,
  link,
} from "../support/installed-library.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 60_000;

const FUNCTIONS = `
import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);
`;

/** Writes how often it was started, so that a test sees copies of it. */
const CLIENT = `
import { appendFileSync } from "node:fs";
import { invoker } from "rfaas";
appendFileSync(process.env.STARTS, "x");
try {
  const { ADDRESS: node } = process.env;
  await using rf = await invoker(node ? { node } : {});
  await using lease = await rf.allocate(process.env.MODULE, { workers: 1 });
  console.log(await lease.function("double")(21));
} catch (error) {
  console.log(error.name, error.code, error.message);
  process.exitCode = 7;
}
`;

const scratch = new Scratch();
const starts = scratch.join("starts");
const empty = scratch.join("empty");

/** A project with the library in its node_modules. */
function project(name: string): string {
  const folder = scratch.join(name);
  mkdirSync(join(folder, "node_modules", "rfaas"), { recursive: true });
  scratch.file(`${name}/fn.ts`, FUNCTIONS);
  scratch.file(`${name}/client.ts`, CLIENT);
  return folder;
}

const complete = project("complete");
const alone = project("alone");
const older = project("older");
const newer = project("newer");
const compiled = scratch.join("programs/client");
const bundled = scratch.join("programs/client.js");

beforeAll(async () => {
  mkdirSync(empty);
  for (const folder of [complete, alone, older, newer]) {
    const version = folder === newer ? "99.0.0" : VERSION;
    await buildLibrary(join(folder, "node_modules", "rfaas"), version);
    installDependencies(folder);
  }
  installPlatform(complete);
  installPlatform(older, "0.0.1");
  const bun = [process.execPath, "build", join(alone, "client.ts")];
  for (const flags of [
    ["--compile", `--outfile=${compiled}`],
    ["--target=bun", `--outfile=${bundled}`],
  ]) {
    const { exited } = Bun.spawn([...bun, ...flags], { stdio: ["ignore", "ignore", "inherit"] });
    expect(await exited).toBe(0);
  }
}, 120_000);
afterAll(() => scratch[Symbol.dispose]());

interface Ran {
  exitCode: number;
  stdout: string;
  stderr: string;
  /** How many clients came so far as to run. */
  started: number;
}

/** Runs a client in an empty folder, in which no rfaas is on PATH. */
async function run(
  command: readonly string[],
  env: Record<string, string> = {},
  cwd = empty,
): Promise<Ran> {
  rmSync(starts, { force: true });
  const child = Bun.spawn([...command], {
    cwd,
    env: {
      HOME: process.env["HOME"] ?? "/",
      PATH: empty,
      STARTS: starts,
      MODULE: join(alone, "fn.ts"),
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const exitCode = await child.exited;
  return {
    exitCode,
    stdout,
    stderr,
    started: existsSync(starts) ? readFileSync(starts).length : 0,
  };
}

const bun = (folder: string): string[] => [process.execPath, join(folder, "client.ts")];
const ONE_RESULT = { exitCode: 0, stdout: "42\n", stderr: "", started: 1 };

function script(name: string, text: string): string {
  const path = scratch.join(name);
  mkdirSync(dirname(path), { recursive: true });
  scratch.file(name, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe("the installed library", () => {
  test(
    "has executable and shim of the platform's package",
    async () => {
      expect(await run(bun(complete))).toEqual(ONE_RESULT);
    },
    LIMIT_MS,
  );

  test("has every class of errors by its own name", async () => {
    scratch.file(
      "complete/names.ts",
      `import * as rfaas from "rfaas";
       for (const [name, type] of Object.entries(rfaas))
         if (type.prototype instanceof rfaas.RfaasError || type === rfaas.RfaasError)
           console.log(name === type.name ? "same" : name + " is called " + type.name);`,
    );
    const { stdout } = await run([process.execPath, join(complete, "names.ts")]);
    expect([...new Set(stdout.trim().split("\n"))]).toEqual(["same"]);
  });

  test.each([
    ["RFAAS_EXECUTABLE", { RFAAS_EXECUTABLE: RFAAS }],
    ["PATH", { PATH: dirname(RFAAS) }],
  ])(
    "has the executable that %s names, and its shim",
    async (_, env) => {
      expect(await run(bun(alone), env)).toEqual(ONE_RESULT);
    },
    LIMIT_MS,
  );

  test(
    "has the executable that npm's launcher on PATH starts",
    async () => {
      const launcher = scratch.join("global/bin/rfaas");
      link(join(complete, "node_modules/rfaas/bin/rfaas"), launcher);
      // The launcher needs a shell's tools.
      const env = { PATH: `${dirname(launcher)}:/usr/bin:/bin` };
      expect(await run(bun(alone), env)).toEqual(ONE_RESULT);
    },
    LIMIT_MS,
  );

  test(
    "says in one sentence which package is missing, and how to install it",
    async () => {
      const { stdout, ...rest } = await run(bun(alone));
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain(`the package ${PLATFORM}, which has the rfaas executable, is not`);
      expect(stdout).toContain(`npm install ./rfaas-linux-${process.arch}-${VERSION}.tgz`);
      expect(stdout.trim().split("\n")).toHaveLength(1);
    },
    LIMIT_MS,
  );

  test(
    "refuses a platform's package of another version, by both numbers",
    async () => {
      const { stdout, ...rest } = await run(bun(older));
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain(
        `VersionMismatch RFAAS_VERSION ${PLATFORM} is of version 0.0.1, and the rfaas library that needs it of version ${VERSION}; install`,
      );
    },
    LIMIT_MS,
  );

  test(
    "is refused by an executable of another version, by both numbers",
    async () => {
      const { stdout, ...rest } = await run(bun(newer), { RFAAS_EXECUTABLE: RFAAS });
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain(
        `VersionMismatch RFAAS_VERSION the rfaas executable is of version ${VERSION}, and the library that starts it of version 99.0.0; install the same`,
      );
    },
    LIMIT_MS,
  );

  test(
    "refuses an executable of another version that has not refused it",
    async () => {
      const careless = script("careless", `unset RFAAS_CHILD\nexec ${RFAAS} "$@"`);
      const { stdout, exitCode } = await run(bun(newer), { RFAAS_EXECUTABLE: careless });
      expect(exitCode).toBe(7);
      expect(stdout).toContain(
        `VersionMismatch RFAAS_VERSION the rfaas executable is of version ${VERSION}, and`,
      );
    },
    LIMIT_MS,
  );

  test(
    "gets no shim of an executable of another version, but connects to a node of one",
    async () => {
      await using node = await ServedNode.start(scratch.join("node.sock"));
      const env = { RFAAS_EXECUTABLE: RFAAS, ADDRESS: node.address };
      const { stdout } = await run(bun(newer), env);
      expect(stdout).toContain(
        `VersionMismatch RFAAS_VERSION the rfaas executable is of version ${VERSION}, and the library`,
      );
      const shim = join(complete, "node_modules", PLATFORM, "librfaas.so");
      expect(await run(bun(newer), { ...env, RFAAS_SHIM: shim })).toEqual(ONE_RESULT);
    },
    LIMIT_MS,
  );

  test.each([
    ["is missing", "/no/such/rfaas", "does not exist"],
    ["is not on PATH", "no-such-rfaas", "does not exist"],
    ["is a folder", empty, "is a folder"],
    [
      "may not be executed",
      join(complete, "fn.ts"),
      "permission is denied (EACCES); run chmod +x on it",
    ],
    ["is this program", join(complete, "client.ts"), "is this program itself"],
    ["is another program", "/bin/true", "ended before it greeted"],
    ["is Bun", process.execPath, "is this program itself"],
  ])(
    "says of a RFAAS_EXECUTABLE that %s what is wrong with it",
    async (_, named, says) => {
      const { stdout, ...rest } = await run(bun(complete), { RFAAS_EXECUTABLE: named });
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain("RFAAS_NODE_UNREACHABLE");
      expect(stdout).toContain(says);
      expect(stdout).toMatch(/let (?:it|RFAAS_EXECUTABLE).* (?:name|be) the rfaas executable/);
    },
    LIMIT_MS,
  );

  test(
    "says of a shim that is damaged where another one comes from",
    async () => {
      const file = scratch.file("damaged.so", "");
      const folder = project("damaged");
      await buildLibrary(join(folder, "node_modules", "rfaas"));
      installDependencies(folder);
      const shim = join(installPlatform(folder), "librfaas.so");
      rmSync(shim);
      copyFileSync(file, shim);
      const { stdout } = await run(bun(folder));
      expect(stdout).toContain("remove node_modules, and run npm install again");
      const named = await run(bun(folder), { RFAAS_SHIM: file });
      expect(named.stdout + named.stderr).toContain("unset RFAAS_SHIM");
    },
    LIMIT_MS,
  );

  test(
    "can be imported on another system, where a call throws one error",
    async () => {
      const preload = scratch.file(
        "mac.ts",
        `Object.defineProperty(process, "platform", { value: "darwin" });`,
      );
      const client = [process.execPath, "--preload", preload, join(complete, "client.ts")];
      for (const env of [{}, { ADDRESS: scratch.join("none.sock") }]) {
        const { stdout, ...rest } = await run(client, env);
        expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
        expect(stdout).toStartWith("PlatformUnsupported RFAAS_PLATFORM rfaas runs on Linux only");
      }
    },
    LIMIT_MS,
  );
});

test(
  "rfaas test runs tests whose clients start the same executable",
  async () => {
    const folder = join(alone, "tests");
    mkdirSync(folder);
    await Bun.write(
      join(folder, "fn.test.ts"),
      `import { expect, test } from "bun:test";
import { invoker } from "rfaas";
test("a call", async () => {
  await using rf = await invoker();
  await using lease = await rf.allocate(${JSON.stringify(join(alone, "fn.ts"))}, { workers: 1 });
  expect(await lease.function("double")(21)).toBe(42);
}, 30_000);`,
    );
    const child = Bun.spawn([RFAAS, "test"], {
      cwd: folder,
      env: { HOME: process.env["HOME"] ?? "/", PATH: empty },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const said = await child.stderr.text();
    expect(said).toContain("1 pass");
    expect(await child.exited).toBe(0);
  },
  LIMIT_MS,
);

describe.each([
  ["compiled", [compiled]],
  ["bundled", [process.execPath, bundled]],
])("a client that was %s from the installed library", (_, command) => {
  test(
    "says at once what is missing, and starts nothing",
    async () => {
      const { stdout, ...rest } = await run(command);
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain("RFAAS_NODE_UNREACHABLE rfaas is bundled into");
      expect(stdout).toContain(`npm install ./rfaas-linux-${process.arch}-${VERSION}.tgz`);
      expect(stdout).toContain("set RFAAS_EXECUTABLE");
    },
    LIMIT_MS,
  );

  test(
    "calls functions of a private node and of one that runs, by an executable from elsewhere",
    async () => {
      await using node = await ServedNode.start(scratch.join("node.sock"));
      for (const found of [{ RFAAS_EXECUTABLE: RFAAS }, { PATH: dirname(RFAAS) }])
        for (const to of [{}, { ADDRESS: node.address }])
          expect(await run(command, { ...found, ...to } as Record<string, string>)).toEqual(
            ONE_RESULT,
          );
    },
    LIMIT_MS,
  );

  test(
    "takes functions from a package file",
    async () => {
      const file = scratch.join("fn.rfaas");
      const { exitCode } = await rfaas([
        ...["package", "build", join(complete, "fn.ts")],
        ...["-o", file],
      ]);
      expect(exitCode).toBe(0);
      expect(await run(command, { RFAAS_EXECUTABLE: RFAAS, MODULE: file })).toEqual(ONE_RESULT);
    },
    LIMIT_MS,
  );

  test(
    "finds the platform's package beside itself",
    async () => {
      const folder = installPlatform(scratch.join("programs"));
      try {
        expect(await run(command)).toEqual(ONE_RESULT);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    LIMIT_MS,
  );

  test(
    "starts no executable of the folder that it is started in",
    async () => {
      const { stdout, ...rest } = await run(command, {}, complete);
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain("finds no rfaas executable");
    },
    LIMIT_MS,
  );

  test(
    "starts nothing more where a script of the name rfaas starts it",
    async () => {
      const path = script("in-place/rfaas", `exec ${command.join(" ")}`);
      for (const env of [{ PATH: dirname(path) }, { RFAAS_EXECUTABLE: path }]) {
        const { stdout, stderr, started } = await run(command, env as Record<string, string>);
        expect(stdout).toContain("RFAAS_NODE_UNREACHABLE the private node ended");
        expect(stderr).toContain("was started where rfaas was meant (as __node)");
        expect(stderr.trim().split("\n")).toHaveLength(1);
        expect(started).toBe(1);
      }
    },
    LIMIT_MS,
  );

  test(
    "starts nothing more where such a script is to hand out the shim",
    async () => {
      await using node = await ServedNode.start(scratch.join("node.sock"));
      const path = script("in-place/rfaas", `exec ${command.join(" ")}`);
      const env = { RFAAS_EXECUTABLE: path, ADDRESS: node.address };
      const { stdout, ...rest } = await run(command, env);
      expect(rest).toEqual({ exitCode: 7, stderr: "", started: 1 });
      expect(stdout).toContain("does not hand out the native shim");
    },
    LIMIT_MS,
  );
});

test(
  "a compiled client that is itself called rfaas, and is on PATH, is not started in its place",
  async () => {
    const path = scratch.join("called/rfaas");
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(compiled, path);
    const env = { PATH: dirname(path) };
    const own = await run([path], env);
    expect(own.stdout).toContain("finds no rfaas executable");
    expect(own).toMatchObject({ exitCode: 7, stderr: "", started: 1 });
    // Another client starts it, and it ends as it loads the library.
    const other = await run([compiled], env);
    expect(other.stderr).toContain("was started where rfaas was meant");
    expect(other).toMatchObject({ exitCode: 7, started: 1 });
  },
  LIMIT_MS,
);

test(
  "a script that starts rfaas for a node and a client for its hosts does not go on without end",
  async () => {
    const path = script(
      "mixed/rfaas",
      `if [ "$1" = __node ]; then exec ${RFAAS} "$@"; fi\nexec ${compiled}`,
    );
    // The clients in place of hosts have a node of their own, whose hosts are of the real executable.
    const { stdout, exitCode } = await run([compiled], { RFAAS_EXECUTABLE: path });
    expect(stdout).toContain("RFAAS_");
    expect(exitCode).toBe(7);
  },
  LIMIT_MS,
);

test.each([
  ["without its arguments", ""],
  ["with them", ' "$@"'],
])(
  "a client of rfaas run that a script starts in place of rfaas, %s, starts nothing more",
  async (_, rest) => {
    const client = join(alone, "client.ts");
    const path = script("run/rfaas", `exec ${RFAAS} run ${client}${rest}`);
    const env = { RFAAS_EXECUTABLE: path };
    const { stdout, stderr, started } = await run([RFAAS, "run", client], env);
    expect(stdout).toContain("RFAAS_NODE_UNREACHABLE the private node ended");
    expect(stderr).toContain(`${client} was started where rfaas was meant`);
    expect(started).toBe(1);
  },
  LIMIT_MS,
);

test(
  "the executable refuses to be what its command line does not say",
  async () => {
    const { stderr, exitCode } = await rfaas(["serve"], {
      env: { RFAAS_CHILD: `__node@${VERSION}` },
    });
    expect(stderr).toContain("rfaas was started to be __node, with the arguments of another");
    expect(exitCode).toBe(1);
  },
  LIMIT_MS,
);

test(
  "functions, and what they start, do not see that rfaas was started as a child, and may start it",
  async () => {
    const own = join(complete, "own.ts");
    await Bun.write(
      own,
      `import { execSync } from "node:child_process";
import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Any() }, async () => {
  const { exited, stdout } = Bun.spawn([${JSON.stringify(RFAAS)}, "invoke", ${JSON.stringify(join(complete, "fn.ts"))} + "#double", "--json", "4"]);
  const client = Bun.spawn(${JSON.stringify([compiled])}, { env: { ...process.env, RFAAS_EXECUTABLE: ${JSON.stringify(RFAAS)}, MODULE: ${JSON.stringify(join(complete, "fn.ts"))} } });
  return [
    process.env.RFAAS_CHILD ?? "unset",
    Bun.spawnSync(["/bin/sh", "-c", "echo \${RFAAS_CHILD-unset}"]).stdout.toString().trim(),
    execSync("echo \${RFAAS_CHILD-unset}", { shell: "/bin/sh" }).toString().trim(),
    (await stdout.text()).trim(),
    await exited,
    (await client.stdout.text()).trim(),
  ].join(" ");
});`,
    );
    const { stdout } = await run(bun(complete), { MODULE: own, RFAAS_SANDBOX: "none" });
    expect(stdout).toBe("unset unset unset 8 0 42\n");
  },
  LIMIT_MS,
);
