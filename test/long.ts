/**
 * What takes longer than anyone waits for before a commit: `npm run test:long`, about half an hour. Prints what each part came to,
 * and exits with 1 when one failed.
 */
import { join } from "node:path";
import { buildExecutable } from "../build/executable.ts";

const PARTS: Record<string, string[]> = {
  "calls of all kinds for ten minutes": ["test/torture/run.ts", "--seconds", "600"],
  "a lease beside attempts to get out of a room": ["test/escape/neighbours.ts"],
  "ten thousand seeds of the simulator": ["test/sim/run.ts", "--seeds", "10000"],
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
