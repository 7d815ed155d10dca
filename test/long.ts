/**
 * What takes longer than anyone waits for before a commit: `npm run test:long`, about an hour and a half. Prints what each part came to,
 * and exits with 1 when one failed.
 */
import { join } from "node:path";
import { buildExecutable } from "../build/executable.ts";

/** A container costs a tenth of a second. */
const FEW = ["--leases", "300"];
/** Of the simulator. */
const seeds = (count: number, nodes: number, clients: number): string[] => [
  ...["test/sim/run.ts", "--seeds", `${count}`, "--nodes", `${nodes}`, "--clients", `${clients}`],
];
const PARTS: Record<string, string[]> = {
  "calls of all kinds for ten minutes": ["test/torture/run.ts", "--seconds", "600"],
  "a billion hot calls on one lease": ["test/hot/run.ts"],
  "a lease beside attempts to get out of a room": ["test/escape/neighbours.ts"],
  "attempts to get out of a room, of root and of an ordinary user, on another kernel": [
    "test/softroce/shell.ts",
    "node_modules/.bin/bun test --timeout 600000 test/escape",
  ],
  "ten thousand leases in a row": ["test/turnover/run.ts"],
  "leases in rooms of bubblewrap": ["test/turnover/run.ts", "--sandbox", "bwrap", ...FEW],
  "leases in rooms of podman": ["test/turnover/run.ts", "--sandbox", "podman", ...FEW],
  "sixty thousand seeds of three full nodes": seeds(60_000, 3, 8),
  "forty thousand seeds of four": seeds(40_000, 4, 12),
  "a thousand seeds of a hundred": seeds(1_000, 100, 50),
};

await buildExecutable();
const failed: string[] = [];
for (const [name, args] of Object.entries(PARTS)) {
  console.error(`=== ${name}`);
  const part = Bun.spawn([process.execPath, ...args], {
    cwd: join(import.meta.dir, ".."),
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  if ((await part.exited) !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.error(`failed: ${failed.join(", ")}`);
  process.exit(1);
}
