/** The benchmark beside what others do over TCP, which installs them. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { compiler } from "../../ffi/build.ts";
import { ROOT } from "../support/executable.ts";
import { reachesRegistry } from "../support/registry.ts";

const WHAT = "the benchmark beside NATS, gRPC and Bun.serve";
const COMPILES = compiler() !== null;
if (!COMPILES) console.error(`SKIPPED: ${WHAT}: there is no C compiler`);
const RUNS = COMPILES && (await reachesRegistry(WHAT));

test.skipIf(!RUNS)(
  "calls over TCP are timed beside what others do with the same bytes",
  async () => {
    const script = join(ROOT, "bench/peers/peers.ts");
    const args = [script, "--rounds", "1", "--calls", "20", "--sizes", "8,1024", "--json"];
    const child = Bun.spawn([process.execPath, ...args], { stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(stderr);
    const { rows } = JSON.parse(stdout) as {
      rows: { peer: string; bytes: number; p50_us: number; p99_us: number; ratio_p50: number }[];
    };
    const hasNats = !stderr.includes("NATS is left out");
    if (!hasNats) console.error(`SKIPPED: NATS among them: ${stderr.trim()}`);
    const peers = [
      "rfaas, hot, TCP",
      "rfaas, hot, shared memory",
      "raw C TCP ping-pong",
      ...(hasNats ? ["NATS request and reply, nats.js"] : []),
      "gRPC stream, grpc-js",
      "Bun.serve, fetch",
      "Bun.serve, a client in C that spins",
    ];
    for (const bytes of [8, 1024]) {
      const of = rows.filter((row) => row.bytes === bytes);
      expect(of.map(({ peer }) => peer)).toEqual(peers);
      for (const { p50_us, p99_us, ratio_p50 } of of)
        for (const figure of [p50_us, p99_us, ratio_p50]) expect(figure).toBeGreaterThan(0);
      expect(of[0]!.ratio_p50).toBe(1);
    }
  },
  240_000,
);
