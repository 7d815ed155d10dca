/** Reserved huge pages: leases use them while there are enough, and give them back. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LAYOUT } from "../../ffi/layout.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { withDevice } from "../support/rdma.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");

const RESERVED = "/proc/sys/vm/nr_hugepages";
const HUGE_PAGE_BYTES = 2 * 1024 * 1024;

/** Huge pages that nobody has or was promised. */
function freePages(): number {
  const count = (name: string): number =>
    Number(
      new RegExp(`^HugePages_${name}:\\s+(\\d+)$`, "m").exec(
        readFileSync("/proc/meminfo", "utf8"),
      )?.[1],
    );
  return count("Free") - count("Rsvd");
}

withDevice("reserved huge pages", () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;

  for (const fabric of ["shm", "verbs"] as const)
    test(`hold a lease's memory over ${fabric} when there are enough, else ordinary ones do`, async () => {
      const before = readFileSync(RESERVED, "utf8").trim();
      writeFileSync(RESERVED, "8");
      try {
        const all = freePages();
        expect(all).toBe(8);
        await using rf = await invoker({ fabric, prewarm: 0 });
        for (const { pages, taken } of [
          // Over verbs the client has a copy of its own.
          { pages: 3, taken: fabric === "shm" ? 3 : 6 },
          { pages: 9, taken: 0 },
        ]) {
          await using lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
            memory: (pages - 1) * HUGE_PAGE_BYTES,
          });
          expect(all - freePages()).toBe(taken);
          const bytes = HUGE_PAGE_BYTES / 2;
          const input = lease.input(Uint8Array, bytes).fill(7);
          input[bytes - 1] = 9;
          const output = lease.output(Uint8Array, bytes);
          expect(lease.invoke("echo", input, output)).toBe(bytes);
          expect(Buffer.compare(output, input)).toBe(0);
          await lease.release();
          await until(() => freePages() === all, "the lease's huge pages are free again");
        }
      } finally {
        writeFileSync(RESERVED, before);
      }
    });

  test("are of one kind for all leases of a host that is kept: those on ordinary ones get another", async () => {
    const before = readFileSync(RESERVED, "utf8").trim();
    try {
      await using rf = await invoker({ fabric: "shm", prewarm: 0 });
      const slots = 8;
      const channel = LAYOUT.channelPageBytes + slots * (LAYOUT.slotBytes + LAYOUT.errorBytes);
      const control = LAYOUT.leasePageBytes + Math.ceil(channel / 4096) * 4096;
      // With it the region has the same size on either kind.
      const memory = 2 * HUGE_PAGE_BYTES - control - 64;
      const hosts: number[] = [];
      for (const reserved of ["8", "8", "0", "0"]) {
        writeFileSync(RESERVED, reserved);
        await using lease = await rf.allocate<Good>("rfaas:echo", {
          ...{ memory, slots, keepWarmMs: 600_000 },
        });
        const buffer = lease.input(Uint8Array, 4096).fill(7);
        expect(lease.invoke("echo", buffer, buffer)).toBe(4096);
        hosts.push(lease.hostPid);
      }
      expect(hosts[1]).toBe(hosts[0]!);
      // It had its memory since the lease before was over.
      expect(hosts[2]).toBe(hosts[0]!);
      expect(hosts[3]).not.toBe(hosts[0]!);
    } finally {
      writeFileSync(RESERVED, before);
    }
  });
});
