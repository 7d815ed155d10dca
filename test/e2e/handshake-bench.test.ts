/** The benchmark of what connecting and leasing take over TCP and by TLS. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { RFAAS, ROOT } from "../support/executable.ts";

test("connecting and leasing are timed over shared memory, over TCP and by TLS", async () => {
  const script = join(ROOT, "bench/handshake.ts");
  const child = Bun.spawn([process.execPath, script, "--rounds", "1", "--json"], {
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, RFAAS_EXECUTABLE: RFAAS },
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(stderr);
  const { rows } = JSON.parse(stdout) as {
    rows: {
      start: string;
      way: string;
      connect_ms: number;
      lease_ms: number;
      above_shm_ms: number;
    }[];
  };
  const starts = ["new connection", "standing connection", "first of a program"];
  expect(rows.map(({ start, way }) => `${start}: ${way}`)).toEqual(
    ["shm", "tcp", "tcp, TLS"].flatMap((way) => starts.map((start) => `${start}: ${way}`)),
  );
  for (const { start, way, connect_ms, lease_ms, above_shm_ms } of rows) {
    expect(lease_ms).toBeGreaterThan(0);
    expect(connect_ms > 0).toBe(start !== "standing connection");
    if (way === "shm") expect(above_shm_ms).toBe(0);
  }
}, 120_000);
