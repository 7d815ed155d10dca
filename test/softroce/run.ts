/**
 * The tests that need an RDMA device, in guests that have one: `bun test/softroce/run.ts`. A machine that cannot run guests skips
 * them, loudly; in CI that is a failure.
 */
import { join } from "node:path";
import { buildExecutable } from "../../src/build.ts";
import { prepareKernel } from "./kernel.ts";
import { CannotRunGuests, preparePackages } from "./packages.ts";

const ROOT = join(import.meta.dir, "..", "..");
/** Guests boot, and what runs in them is translated. */
const TEST_LIMIT_MS = 300_000;

try {
  await preparePackages(console.error);
  await prepareKernel(console.error);
} catch (error) {
  if (!(error instanceof CannotRunGuests)) throw error;
  console.error(`SKIPPED: the tests in test/softroce did not run: ${error.message}`);
  process.exit(process.env["CI"] ? 1 : 0);
}
await buildExecutable();
const child = Bun.spawn(
  [process.execPath, "test", "--timeout", String(TEST_LIMIT_MS), "./test/softroce"],
  { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] },
);
process.exit(await child.exited);
