/**
 * The whole suite: `npm test`, or a part of it by name: `bun test/run.ts unit fabric`.
 *
 * Types and formatting first, then the executable that later suites run, then the suites one after another: those that pin
 * cores and time wake-ups must not run beside others. Those that only compute run two at a time, last.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { buildExecutable } from "../build/executable.ts";
import { prepareGuests } from "./softroce/prepare.ts";
import { Scratch } from "./support/scratch.ts";

const ROOT = join(import.meta.dir, "..");
const SUITES = [
  "unit",
  "property",
  "fuzz",
  "sim",
  "model",
  "fabric",
  "fault",
  "upgrade",
  "chaos",
  "escape",
  "e2e",
  "e2e-tcp",
  "consumer",
  "corpus",
  "packaging",
  "arm64",
  "softroce",
];
/** Suites in which nothing depends on how long something takes. */
const TOGETHER = new Set(["property", "sim", "model", "consumer", "corpus", "packaging", "arm64"]);
/** A test that takes longer hangs. Guests boot first, and what runs in them is translated, as is another processor's code. */
const TEST_LIMIT_MS = 60_000;
const TRANSLATED_TEST_LIMIT_MS = 600_000;
const TRANSLATED = ["arm64", "softroce"];
/** Suites that run another one once more, over a fabric: those of its files that take what `support/fabric.ts` has. */
const OVER: Record<string, { folder: string; fabric: string }> = {
  "e2e-tcp": { folder: "e2e", fabric: "tcp" },
};
const TAKES_FABRIC = /support\/(?:library|fabric|client-program)\.ts"/;

interface Counts {
  pass: number;
  fail: number;
  skip: number;
}

const chosen = process.argv.slice(2);
for (const name of chosen)
  if (!SUITES.includes(name)) fail(`there is no suite "${name}"; there are ${SUITES.join(", ")}`);

if (chosen.length === 0) await step("types, promises and formatting", ["run", "check"]);
console.error("=== build");
await buildExecutable();

const caches = new Scratch();
process.on("exit", () => caches[Symbol.dispose]());
const total: Counts = { pass: 0, fail: 0, skip: 0 };
/** What the failed suites printed of their failures, shown again last: the rest is long. */
const failures: string[] = [];
let broken = false;
const suites = (chosen.length > 0 ? chosen : SUITES).filter((suite) =>
  existsSync(join(ROOT, "test", OVER[suite]?.folder ?? suite)),
);
await runAll(
  suites.filter((suite) => !TOGETHER.has(suite)),
  1,
);
await runAll(
  suites.filter((suite) => TOGETHER.has(suite)),
  2,
);
if (failures.length > 0) console.error(`\n=== failed\n${failures.join("\n")}`);
console.log(`${total.pass} passed, ${total.fail} failed, ${total.skip} skipped`);
if (broken || total.fail > 0 || total.pass === 0) process.exit(1);
if (process.env["CI"] && total.skip > 0) fail("tests were skipped, and CI can run them all");

async function step(name: string, args: string[]): Promise<void> {
  console.error(`=== ${name}`);
  const child = Bun.spawn([process.execPath, ...args], {
    cwd: ROOT,
    stdin: "ignore",
    stdout: 2,
    stderr: 2,
  });
  if ((await child.exited) !== 0) fail(`${name} failed`);
}

/** Runs suites, so many at a time, and adds up what comes of them. */
async function runAll(names: readonly string[], atATime: number): Promise<void> {
  const left = names.values();
  const lane = async (): Promise<void> => {
    for (const suite of left) {
      const counts = await runSuite(suite, atATime > 1);
      if (counts === null) broken = true;
      else for (const key of ["pass", "fail", "skip"] as const) total[key] += counts[key];
    }
  };
  await Promise.all(Array.from({ length: atATime }, lane));
}

/** Counts of one suite, or null when it broke off. What one prints `besideOthers` is shown when it is over. */
async function runSuite(suite: string, besideOthers: boolean): Promise<Counts | null> {
  if (!besideOthers) console.error(`=== ${suite}`);
  if (suite === "softroce") {
    const reason = await prepareGuests();
    if (reason) {
      console.error(`SKIPPED: the tests over RDMA did not run: ${reason}`);
      return { pass: 0, fail: 0, skip: 1 };
    }
  }
  const limitMs = TRANSLATED.includes(suite) ? TRANSLATED_TEST_LIMIT_MS : TEST_LIMIT_MS;
  const child = Bun.spawn(
    [process.execPath, "test", "--timeout", String(limitMs), ...filesOf(suite)],
    {
      cwd: ROOT,
      // Packages of tests are not for the user's own cache, nor their keys for the user's own nodes.
      env: {
        ...process.env,
        XDG_CACHE_HOME: caches.path,
        XDG_STATE_HOME: caches.join("state"),
        XDG_CONFIG_HOME: caches.join("config"),
        ...(OVER[suite] && { RFAAS_TEST_FABRIC: OVER[suite].fabric }),
      },
      stdin: "ignore",
      stdout: besideOthers ? "pipe" : 2,
      stderr: "pipe",
    },
  );
  const said = child.stdout instanceof ReadableStream ? child.stdout.text() : "";
  let output = "";
  const decoder = new TextDecoder();
  for await (const bytes of child.stderr) {
    if (!besideOthers) process.stderr.write(bytes);
    output += decoder.decode(bytes, { stream: true });
  }
  if (besideOthers) process.stderr.write(`=== ${suite}\n${await said}${output}`);
  const exitCode = await child.exited;
  const count = (word: string): number =>
    Number(new RegExp(`^ (\\d+) ${word}$`, "m").exec(output)?.[1] ?? 0);
  const counts = { pass: count("pass"), fail: count("fail"), skip: count("skip") + count("todo") };
  if (!/^Ran \d+ tests? across/m.test(output) || (exitCode !== 0 && counts.fail === 0)) {
    failures.push(
      `the ${suite} suite broke off with exit code ${exitCode}:\n${output.slice(-2000)}`,
    );
    return null;
  }
  // Behind the last result stands the list of what failed, without the errors.
  const list = output.lastIndexOf(" tests failed:\n");
  failures.push(...failedTests(list < 0 ? output : output.slice(0, list)));
  return counts;
}

/** What the test runner is given of a suite. */
function filesOf(suite: string): string[] {
  const over = OVER[suite];
  if (over === undefined) return [`./test/${suite}`];
  const folder = join(ROOT, "test", over.folder);
  return readdirSync(folder)
    .filter((name) => name.endsWith(".test.ts"))
    .filter((name) => TAKES_FABRIC.test(readFileSync(join(folder, name), "utf8")))
    .map((name) => `./test/${over.folder}/${name}`);
}

/** Each failed test with what was printed since the result before it, which is its errors. */
function failedTests(output: string): string[] {
  const results = output.split(/^(?=(?:\[\w+\] )?\((?:pass|fail|skip|todo)\) )/m);
  return results.flatMap((result, i) =>
    /^(?:\[\w+\] )?\(fail\) /.test(result)
      ? [
          `${(results[i - 1] ?? "").split("\n").slice(1).join("\n").slice(-3000)}${result.split("\n")[0]}`,
        ]
      : [],
  );
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
