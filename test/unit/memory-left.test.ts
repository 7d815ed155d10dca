import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { memoryLeft } from "../../src/base/machine/memory-left.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 1024 * 1024;
const MEMINFO = "MemTotal:  8388608 kB\nMemFree:  1024 kB\nMemAvailable:  4194304 kB\n";

/** Asks as a process of a machine that has these files. */
function left(files: Record<string, string>): number {
  using scratch = new Scratch();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(scratch.path, path)), { recursive: true });
    writeFileSync(join(scratch.path, path), text);
  }
  return memoryLeft(scratch.path);
}

describe("the memory that is left", () => {
  test("is what the machine has available, where no group limits it", () => {
    expect(left({ "proc/meminfo": MEMINFO })).toBe(4096 * MIB);
    expect(left({})).toBe(Infinity);
  });

  test("is the least that a group of version 2 leaves, and what it can drop counts", () => {
    const files = {
      "proc/meminfo": MEMINFO,
      "proc/self/cgroup": "0::/job/step\n",
      "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/job/memory.max": `${512 * MIB}\n`,
      "sys/fs/cgroup/job/memory.current": `${400 * MIB}\n`,
      "sys/fs/cgroup/job/memory.stat": `anon 1\ninactive_file ${100 * MIB}\n`,
      "sys/fs/cgroup/job/step/memory.max": "max\n",
      "sys/fs/cgroup/job/step/memory.current": `${400 * MIB}\n`,
    };
    expect(left(files)).toBe(212 * MIB);
    const high = { "sys/fs/cgroup/job/step/memory.high": `${401 * MIB}\n` };
    expect(left({ ...files, ...high })).toBe(MIB);
    const over = { "sys/fs/cgroup/job/step/memory.high": `${100 * MIB}\n` };
    expect(left({ ...files, ...over })).toBe(0);
  });

  test("is what a group of version 1 leaves", () => {
    const files = {
      "proc/meminfo": MEMINFO,
      "proc/self/cgroup": "4:memory:/job\n3:cpuset:/\n",
      "proc/self/mountinfo":
        "32 31 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n33 31 0:30 / /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n",
      "sys/fs/cgroup/memory/job/memory.limit_in_bytes": `${64 * MIB}\n`,
      "sys/fs/cgroup/memory/job/memory.usage_in_bytes": `${60 * MIB}\n`,
      "sys/fs/cgroup/memory/job/memory.stat": `inactive_file 5\ntotal_inactive_file ${2 * MIB}\n`,
    };
    expect(left(files)).toBe(6 * MIB);
  });
});
