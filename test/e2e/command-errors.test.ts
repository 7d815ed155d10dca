/** What is wrong with a command line, or with the machine: told in one message that names it, with the manual's exit code. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { EXIT } from "../../src/base/errors.ts";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
const MODULE = scratch.file(
  "fn.ts",
  `export default (input: Uint8Array, output: Uint8Array) => (output.set(input), input.length);
  export const slow = () => Bun.sleep(60_000).then(() => 0);
`,
);
/** Where commands run; nothing may be left in it. */
const empty = new Scratch();
afterAll(() => {
  scratch[Symbol.dispose]();
  empty[Symbol.dispose]();
});
const env = {
  ...{ RFAAS_NODE: "", RFAAS_MANAGER: "", RFAAS_HTTP: "", RFAAS_TOKEN: "" },
  ...{ XDG_STATE_HOME: scratch.join("state"), XDG_CACHE_HOME: scratch.join("cache") },
};

/** A shell command line in which `$R` is the executable and `$F` the module. */
async function shell(line: string) {
  const child = Bun.spawn(["bash", "-c", line], {
    cwd: empty.path,
    env: { ...process.env, ...env, R: RFAAS, F: MODULE },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

describe("a command line that is wrong", () => {
  test.each<[string, string]>([
    ["serve --coers 3", "unknown option --coers; did you mean --cores?"],
    ["serve --cores", "--cores needs a value: --cores <n>"],
    ["serve --cores=", "--cores needs a value: --cores <n>"],
    ["serve --cores --memory 1GiB", "--cores needs a value"],
    ["serve --cores 1 --cores 2", "--cores is given more than once"],
    ["serve --cores 1e9", 'from 1 to 1024; it is "1e9"'],
    ["serve --cores -1", "from 1 to 1024; it is -1"],
    ["serve --cores NaN", 'from 1 to 1024; it is "NaN"'],
    [
      "serve --memory 2apples",
      '--memory must be a size such as 512MiB, 2GiB or 4096; it is "2apples"',
    ],
    ["serve --memory 0", "--memory must be a size"],
    ["serve --drain 5x", "--drain must be a duration such as 500ms, 30s"],
    ["serve --drain 2d", "--drain must be from 0ms to 1d"],
    ["serve --inline-max 8KiB", "--inline-max is at most 4 KiB"],
    ["serve --allow-remote=yes", '--allow-remote takes no value; it is "yes"'],
    ["serve --__proto__ 3", "unknown option --__proto__"],
    ["serve --cores.x 3", "unknown option --cores.x; did you mean --cores?"],
    ["serve -- foo", 'serve takes no argument "foo"'],
    [
      "serve --listen tcp://host:1",
      '--listen: "tcp://host:1" is no address: nothing is reached by "tcp:"',
    ],
    ["serve --listen http://host:1/x", 'nothing is reached by "http:"'],
    ["serve --listen C:/x", 'nothing is reached by "C:"'],
    ["serve --listen host:70000", '"70000" is no port'],
    ["serve --manager ./x.sock", "--manager must be HOST:PORT"],
    ["serve --manager tcp://x:1", '--manager: "tcp://x:1" is no address'],
    ["serve --manager a:1 --advertise tcp://x", '--advertise: "tcp://x" is no address'],
    ["serve --watch .", "--watch: there is no file"],
    ["manager --listen ./x.sock", "--listen must be HOST:PORT"],
    ["manager --http 99999", '--http: "99999" is no address'],
    ["invoke $F --node tcp://x:1", '--node: "tcp://x:1" is no address'],
    ["invoke $F --deadline 0", "--deadline must be from 1ms"],
    ["invoke $F --deadline 60d", "--deadline must be from 1ms"],
    ["invoke $F --deadline soon", "or a number of milliseconds"],
    ["invoke $F --load-timeout 0", "--load-timeout must be from 1ms"],
    ["invoke $F --retries 1001", "--retries must be a whole number from 0 to 1000; it is 1001"],
    ["invoke $F --output-size 8GiB", "give a smaller --output-size"],
    ["invoke $F --polling cold", "--polling must be hot, warm or adaptive"],
    ["bench latency --rate 1e3", '--rate must be a whole number from 0 to 1000000; it is "1e3"'],
    ["bench latency --size 2GiB", '--size is at most 1 GiB; it is "2GiB"'],
    ["token create --user x --ttl 5", "--ttl must be a duration"],
    ["bill --since 5", "--since must be a date"],
    ["bill --http tcp://x:1", "--http must be a URL"],
    ["node drain x --http a:1 --deadline 5", "--deadline must be a duration"],
    ["ps --node a:1 --manager b:1", "exclude each other"],
    ["hepl", 'did you mean "help"?'],
    ["--verson", 'did you mean "--version"?'],
  ])("%s: exit code 2", async (line, says) => {
    const { exitCode, stdout, stderr } = await shell(`$R ${line}`);
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("    at ");
    expect([exitCode, stdout]).toEqual([EXIT.usage, ""]);
    expect(readdirSync(empty.path)).toEqual([]);
  });

  test.each<[string, number, string]>([
    [
      "invoke $F#slow --deadline 100ms",
      EXIT.timeout,
      "did not finish within 100 ms; raise --deadline or",
    ],
    ["invoke $F --include nope", EXIT.usage, '--include: "nope" names no file'],
    ["package build $F --external nope", EXIT.usage, '--external: "nope" is not installed'],
  ])("%s is told in the command's own terms, not the library's", async (line, code, says) => {
    const { exitCode, stderr } = await shell(`$R ${line}`);
    expect(stderr).toContain(says);
    expect(exitCode).toBe(code);
  });

  test("is told with the variable that is wrong, where it is one", async () => {
    const { exitCode, stderr } = await rfaas(["invoke", MODULE], {
      env: { ...env, RFAAS_NODE: "tcp://x:1" },
    });
    expect(stderr).toContain('RFAAS_NODE: "tcp://x:1" is no address');
    expect(exitCode).toBe(EXIT.usage);
  });
});

test("durations have units in every command, and keep that of their bare numbers", async () => {
  for (const deadline of ["5000", "5s", "5000ms", "0.5m"]) {
    const { exitCode, stdout } = await shell(`$R invoke $F --json 1 --deadline ${deadline}`);
    expect([stdout, exitCode]).toEqual(["1\n", EXIT.ok]);
  }
  for (const drain of ["0", "1", "500ms"]) {
    await using node = await ServedNode.start(scratch.join("drain.sock"), ["--drain", drain]);
    node.kill("SIGTERM");
    expect(await node.exited).toBe(EXIT.ok);
  }
}, 60_000);

describe("a machine that refuses", () => {
  test.each<[string, string, number, string]>([
    [
      "descriptors to the client",
      "ulimit -n 8; $R invoke $F --json 1",
      EXIT.noExecutor,
      "(EMFILE); raise its limit (ulimit -n)",
    ],
    ["files of any size", "ulimit -f 0; $R invoke $F --json 1", EXIT.noExecutor, "raise ulimit -f"],
    ["room for the result", "$R invoke $F --json 1 > /dev/full", EXIT.failed, "is full (ENOSPC)"],
    [
      "room for the result's file",
      "$R invoke $F --json 1 --output /dev/full",
      EXIT.failed,
      "is full (ENOSPC)",
    ],
    [
      "room for what is printed",
      "$R help > /dev/full",
      EXIT.failed,
      "cannot write to stdout: the disk",
    ],
    [
      "room for a package",
      "$R package build $F -o /dev/full",
      EXIT.failed,
      "/dev/full cannot be written: the disk",
    ],
    [
      "a folder as a result's file",
      "$R invoke $F --json 1 --output /tmp",
      EXIT.failed,
      "it is a folder, and a file is wanted (EISDIR)",
    ],
    ["a folder as a module", "$R invoke /tmp", EXIT.failed, "/tmp is no file"],
    [
      "a file as a state directory",
      "$R manager --state $F",
      EXIT.failed,
      "something else is there already (EEXIST)",
    ],
    ["a file as a socket's folder", "$R serve --listen $F/x.sock", EXIT.failed, "cannot listen on"],
    [
      "an address that it does not have",
      "$R serve --listen 192.0.2.1:7700",
      EXIT.failed,
      "this machine does not have the address 192.0.2.1",
    ],
    [
      "an executable that is none",
      "RFAAS_EXECUTABLE=/etc/passwd $R invoke $F --json 1",
      EXIT.noExecutor,
      "a private node cannot be started from /etc/passwd: permission is denied (EACCES)",
    ],
    [
      "a node that is not there",
      "$R invoke $F --node ./absent.sock",
      EXIT.noExecutor,
      "no node answers at ./absent.sock (there is no such file",
    ],
    [
      "a shim that is none",
      "RFAAS_SHIM=/nowhere $R invoke $F --json 1",
      EXIT.noExecutor,
      "unset RFAAS_SHIM",
    ],
  ])("%s is told as that", async (_, line, code, says) => {
    const { exitCode, stderr } = await shell(line);
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("    at ");
    expect(exitCode).toBe(code);
  });

  test("never has one of its devices replaced by what is written there", () => {
    expect(statSync("/dev/full").isCharacterDevice()).toBe(true);
  });

  test.each(["$R help invoke | true", "$R invoke $F --json 1 | true"])(
    "a reader that has read enough ends %s quietly",
    async (line) => {
      const { exitCode, stderr } = await shell(`set -o pipefail; ${line}`);
      expect([exitCode, stderr]).toEqual([EXIT.ok, ""]);
    },
  );

  const asRoot = process.getuid?.() === 0;
  const canMount = asRoot && Bun.spawnSync(["unshare", "-m", "true"]).success;
  if (!canMount) console.warn("skipped, needs root: read-only and full file systems");
  test.skipIf(!canMount)(
    "a file system that is read-only, or full, is told as that",
    async () => {
      const on = (options: string, line: string) =>
        shell(`unshare -m bash -c 'mount -t tmpfs -o ${options} none /mnt && cd /mnt && ${line}'`);
      for (const line of [
        "$R package build $F -o /mnt/f.rfaas",
        "$R serve --cache /mnt/c --listen /tmp/unused.sock",
        "$R serve --listen /mnt/b.sock",
        "$R manager --state /mnt/s",
        "$R new project",
        "$R invoke $F --json 1 --output /mnt/o",
      ]) {
        const { exitCode, stderr } = await on("ro", line);
        expect([line, stderr]).toEqual([line, expect.stringContaining("(EROFS)")]);
        expect(exitCode).toBe(EXIT.failed);
      }
      for (const line of [
        "$R new project",
        "head -c 99999 $R | $R invoke $F --input - --output o",
      ]) {
        const { exitCode, stderr } = await on("size=16k", line);
        expect([line, stderr]).toEqual([line, expect.stringContaining("is full (ENOSPC)")]);
        expect(exitCode).toBe(EXIT.failed);
      }
      const { stdout } = await on("noexec", "TMPDIR=/mnt $R invoke $F --json 1");
      expect(stdout).toBe("1\n");
    },
    60_000,
  );
});

describe("a port that is taken", () => {
  let manager: RunningManager;
  beforeAll(async () => {
    manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  });
  afterAll(() => manager?.end("SIGTERM"));

  test("is told with the process that has it, by each command that listens", async () => {
    const http = new URL(manager.url).host;
    const state = scratch.join("other-state");
    for (const [args, option] of [
      [["serve", "--listen", manager.address], "--listen"],
      [["manager", "--listen", manager.address, "--state", state], "--listen"],
      [["manager", "--listen", "127.0.0.1:0", "--http", http, "--state", state], "--http"],
    ] as const) {
      const { exitCode, stderr } = await rfaas(args, { env });
      expect(stderr).toMatch(
        new RegExp(
          `is in use by process \\d+ \\(rfaas manager\\); stop it or choose another ${option}`,
        ),
      );
      expect(exitCode).toBe(EXIT.failed);
    }
  });
});

test("a module that throws as it loads is told with its author's line", async () => {
  const path = scratch.file(
    "throws.ts",
    'export const f = () => 0;\nthrow new RangeError("no");\n',
  );
  const { exitCode, stderr } = await rfaas(["invoke", `${path}#f`, "--input", "/dev/null"], {
    env,
  });
  expect(stderr).toContain("ModuleLoadError: no");
  expect(stderr).toMatch(new RegExp(`RangeError: no\\n +at ${RegExp.escape(path)}:2:\\d+`));
  expect(exitCode).toBe(EXIT.failed);
});
