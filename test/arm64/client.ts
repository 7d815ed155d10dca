/**
 * A program with the library, for arm64: says in one line of JSON what came of it. Calls of each kind over a private node, which is the
 * executable: its agent, its hosts and their workers are processes and threads for arm64.
 */
import { join } from "node:path";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { marked } from "../support/processes.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
const good = join(FUNCTIONS, "good.ts");
const bad = join(FUNCTIONS, "bad.ts");
type Good = typeof import("../functions/good.ts");
type Starts = typeof import("../functions/starts.ts");
type Bad = typeof import("../functions/bad.ts");
const patient = { loadTimeoutMs: LIMIT_MS };

const said: Record<string, unknown> = { architecture: process.arch };
await using rf = await invoker({ connectTimeoutMs: LIMIT_MS });

for (const polling of ["hot", "warm", "adaptive"] as const) {
  await using lease = await rf.allocate<Good>(good, { ...patient, workers: 2, polling });
  // In the line of the call, in the arena, and many at once.
  for (const bytes of [8, 33, 4096, 1 << 20]) {
    const input = lease.input(Uint8Array, bytes);
    const output = lease.output(Uint8Array, bytes);
    for (let call = 1; call <= 200; call++) {
      input[0] = call;
      input[bytes - 1] = call ^ 0xff;
      const written = lease.invoke("echo", input, output);
      if (written !== bytes || output[0] !== call || output[bytes - 1] !== (call ^ 0xff))
        throw new Error(`${polling}, call ${call} of ${bytes} bytes: ${written} bytes`);
      // The rest of these is the time that copying takes.
      if (bytes > 4096 && call === 3) break;
    }
    lease.free(input);
    lease.free(output);
  }
  // The emulator may lose a wake-up; a call on the spot looks for the answers of others, too.
  const [nothing, back] = [lease.input(Uint8Array, 1), lease.output(Uint8Array, 1)];
  const looking = setInterval(() => lease.invoke("echo", nothing, back), 1000);
  const pairs = Array.from({ length: 16 }, (_, i) => {
    const input = lease.input(Uint8Array, 64).fill(i);
    return { i, input, output: lease.output(Uint8Array, 64) };
  });
  for (let round = 0; round < 20; round++) {
    const lengths = await Promise.all(
      pairs.map(({ input, output }) => lease.submit("echo", input, output)),
    );
    if (lengths.some((length) => length !== 64)) throw new Error(`${polling}: ${lengths}`);
    for (const { i, output } of pairs) {
      if (output.some((byte) => byte !== i)) throw new Error(`${polling}, slot ${i}: ${output}`);
      output.fill(0xff);
    }
  }
  clearInterval(looking);
  said[polling] = "answers";
}

{
  await using lease = await rf.allocate<Bad>(bad, patient);
  const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
  const failure = (call: () => unknown) => {
    try {
      return call();
    } catch (error) {
      return (error as Error).name;
    }
  };
  said["throws"] = failure(() => lease.invoke("throwsError", input, output));
  said["spins"] = failure(() => lease.invoke("spins", input, output, { deadlineMs: 2000 }));
}
{
  await using lease = await rf.allocate<Bad>(bad, patient);
  const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
  const lost = await lease.submit("kills", input, output).catch((error: unknown) => error);
  said["kills"] = (lost as Error).name;
}

// A process that has left its parent and its session ends with its lease: the node becomes its parent.
{
  const lease = await rf.allocate<Starts>(join(FUNCTIONS, "starts.ts"), patient);
  const mark = `${20_000_000 + process.pid}`;
  const text = new TextEncoder().encode(`a daemon, forked twice\n${mark}`);
  const input = lease.input(Uint8Array, text.length);
  input.set(text);
  await lease.submit("start", input, lease.output(Uint8Array, 8));
  await until(() => marked(mark).length > 0, "the daemon has started", LIMIT_MS);
  await lease.release();
  await until(() => marked(mark).length === 0, "the daemon has ended", LIMIT_MS);
  said["daemon"] = "ended with its lease";
}
process.stdout.write(JSON.stringify(said));
