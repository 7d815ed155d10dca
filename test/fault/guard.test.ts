/** A process that ends with its parent ends all that it has started first, whatever its own threads do meanwhile. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { alive, marked } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
/** So many that to end them takes longer than to die. */
const STARTED = 500;
const CHILDREN = join(import.meta.dir, "../../ffi/children.ts");
const scratch = new Scratch();
afterAll(() => {
  scratch[Symbol.dispose]();
});

/** What its first thread does while it ends what it has started. */
const DEATHS: Record<string, string> = {
  exits: "process.exit(0)",
  aborts: "process.abort()",
  "reads where nothing is": 'require("bun:ffi").read.u8(8)',
  "starts threads": 'for (;;) new Worker(URL.createObjectURL(new Blob(["0"])))',
  "starts processes": "for (;;) try { start() } catch {}",
};

const CHILD = `
import { readFileSync } from "node:fs";
import { endWithParent } from ${JSON.stringify(CHILDREN)};
const [, , mark, how] = process.argv;
endWithParent(process.ppid);
const start = () => Bun.spawn(["sleep", mark], { stdio: ["ignore", "ignore", "ignore"] }).unref();
for (let i = 0; i < ${STARTED}; i++) start();
console.log(process.pid);
// The filter of system calls is what it sees of the beginning.
while (!/^Seccomp:\\s+2$/m.test(readFileSync("/proc/self/status", "latin1")));
`;

test.each(Object.entries(DEATHS))(
  "when it %s",
  async (name, how) => {
    const mark = `${20_000_000 + process.pid}.${Object.keys(DEATHS).indexOf(name)}`;
    const child = scratch.file(`${name}.ts`, `${CHILD}${how};`);
    const parent = scratch.file(
      `${name}-parent.ts`,
      `Bun.spawn([process.execPath, ${JSON.stringify(child)}, process.argv[2]!], { stdio: ["ignore", "inherit", "ignore"] });
       setInterval(() => {}, 1e6);`,
    );
    const started = Bun.spawn([process.execPath, parent, mark], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const reader = started.stdout.getReader();
    const pid = Number(new TextDecoder().decode((await reader.read()).value));
    expect(marked(mark).length).toBeGreaterThan(STARTED);
    started.kill("SIGKILL");
    await until(() => !alive(pid), "it is gone", LIMIT_MS);
    // Those that it has killed may be seen until they have exited.
    await until(() => marked(mark).length === 0, "all that it has started is gone", LIMIT_MS);
  },
  2 * LIMIT_MS,
);
