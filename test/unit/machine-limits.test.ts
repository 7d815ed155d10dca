import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  type CgroupLimits,
  parseCpuList,
  readCgroupLimits,
} from "../../src/base/machine/cgroup.ts";
import {
  type Machine,
  defaultOffer,
  excesses,
  machineLimits,
} from "../../src/executor/machine/limits.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const V1 = (name: string, top = "/") =>
  `32 31 0:29 ${top} /sys/fs/cgroup/${name} rw,relatime shared:9 - cgroup cgroup rw,${name}`;
const V2 = (top = "/", at = "/sys/fs/cgroup") =>
  `31 23 0:28 ${top} ${at} rw,relatime - cgroup2 cgroup2 rw`;

/** Reads the limits of a process, given the files of a machine. */
function read(
  cgroup: string[],
  mounts: string[],
  files: Record<string, string> = {},
): CgroupLimits {
  using scratch = new Scratch();
  const all = {
    "proc/self/cgroup": `${cgroup.join("\n")}\n`,
    "proc/self/mountinfo": `23 1 0:2 / / rw - ext4 /dev/vda rw\n${mounts.join("\n")}\n`,
    ...files,
  };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(scratch.path, path)), { recursive: true });
    writeFileSync(join(scratch.path, path), text);
  }
  return readCgroupLimits(scratch.path);
}

describe("limits of cgroups", () => {
  test("of version 2 are the least along the path", () => {
    const limits = read(["0::/user/job/step"], [V2()], {
      "sys/fs/cgroup/user/memory.max": `${512 * MIB}\n`,
      "sys/fs/cgroup/user/cpu.max": "max 100000\n",
      "sys/fs/cgroup/user/pids.max": "100\n",
      "sys/fs/cgroup/user/pids.current": "90\n",
      "sys/fs/cgroup/user/job/memory.max": `${GIB}\n`,
      "sys/fs/cgroup/user/job/cpu.max": "150000 100000\n",
      "sys/fs/cgroup/user/job/pids.max": "50\n",
      "sys/fs/cgroup/user/job/pids.current": "10\n",
      "sys/fs/cgroup/user/job/step/memory.max": "max\n",
      "sys/fs/cgroup/user/job/step/cpu.max": "800000 100000\n",
      "sys/fs/cgroup/user/job/step/cpuset.cpus.effective": "0-2,7\n",
      "sys/fs/cgroup/cpuset.cpus.effective": "0-7\n",
    });
    expect(limits).toEqual({
      memoryBytes: { value: 512 * MIB, from: "/sys/fs/cgroup/user/memory.max" },
      cpus: { value: 1.5, from: "/sys/fs/cgroup/user/job/cpu.max" },
      cpuSet: { cpus: [0, 1, 2, 7], from: "/sys/fs/cgroup/user/job/step/cpuset.cpus.effective" },
      tasks: { value: 100, left: 10, from: "/sys/fs/cgroup/user/pids.max" },
    });
  });

  test("of version 2 are those of memory.high where that is less", () => {
    const limits = read(["0::/a"], [V2()], {
      "sys/fs/cgroup/a/memory.max": `${GIB}\n`,
      "sys/fs/cgroup/a/memory.high": `${GIB / 2}\n`,
    });
    expect(limits.memoryBytes).toEqual({ value: GIB / 2, from: "/sys/fs/cgroup/a/memory.high" });
  });

  test("of version 1 come from a hierarchy for each controller", () => {
    const limits = read(
      ["9:name=systemd:/", "5:pids:/p", "4:memory:/batch/job", "2:cpu,cpuacct:/c/d", "1:cpuset:/s"],
      [V1("memory"), V1("cpu,cpuacct"), V1("cpuset"), V1("pids"), V1("name=systemd")],
      {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/batch/memory.limit_in_bytes": `${512 * MIB}\n`,
        "sys/fs/cgroup/memory/batch/job/memory.limit_in_bytes": `${2 * GIB}\n`,
        "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/c/d/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/c/d/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpuset/s/cpuset.cpus": "4,5\n",
        "sys/fs/cgroup/pids/p/pids.max": "max\n",
      },
    );
    expect(limits).toEqual({
      memoryBytes: { value: 512 * MIB, from: "/sys/fs/cgroup/memory/batch/memory.limit_in_bytes" },
      cpus: { value: 2, from: "/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us" },
      cpuSet: { cpus: [4, 5], from: "/sys/fs/cgroup/cpuset/s/cpuset.cpus" },
    });
  });

  test("of version 1 reach above what is mounted, by what the kernel has summed up", () => {
    const limits = read(["4:memory:/docker/ab"], [V1("memory", "/docker/ab")], {
      "sys/fs/cgroup/memory/memory.limit_in_bytes": `${4 * GIB}\n`,
      "sys/fs/cgroup/memory/memory.stat": `cache 0\nhierarchical_memory_limit ${GIB}\n`,
    });
    expect(limits.memoryBytes).toEqual({ value: GIB, from: "/sys/fs/cgroup/memory/memory.stat" });
  });

  test("are found where a container has its own group mounted", () => {
    for (const [path, top] of [
      ["/docker/ab", "/docker/ab"],
      ["/", "/"],
      ["/docker/ab", "/../.."],
    ] as const) {
      const files = { "sys/fs/cgroup/memory.max": `${GIB}\n` };
      const limits = read([`0::${path}`], [V2(top)], files);
      expect(limits.memoryBytes).toEqual({ value: GIB, from: "/sys/fs/cgroup/memory.max" });
    }
    const inner = { "sys/fs/cgroup/inner/memory.max": `${GIB}\n` };
    expect(read(["0::/docker/ab/inner"], [V2("/docker/ab")], inner).memoryBytes?.value).toBe(GIB);
  });

  test("of both versions are taken together where both are mounted", () => {
    const limits = read(
      ["4:memory:/a", "0::/b"],
      [V1("memory"), V2("/", "/sys/fs/cgroup/with\\040space")],
      {
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": `${GIB}\n`,
        "sys/fs/cgroup/with space/b/cpu.max": "50000 100000\n",
      },
    );
    expect(limits.memoryBytes?.value).toBe(GIB);
    expect(limits.cpus).toEqual({ value: 0.5, from: "/sys/fs/cgroup/with space/b/cpu.max" });
  });

  test("do not bind where nothing is mounted, or /proc cannot be read", () => {
    expect(read([], [])).toEqual({});
    expect(read(["0::/a", "garbage", "1:memory"], [V1("memory"), "- cgroup"])).toEqual({});
    expect(readCgroupLimits("/no/such/root")).toEqual({});
  });

  test("lists of CPUs have ranges, and are empty where they say nothing", () => {
    expect(parseCpuList("0-3,8,10-11\n")).toEqual([0, 1, 2, 3, 8, 10, 11]);
    expect(parseCpuList("8,0-1,1")).toEqual([0, 1, 8]);
    expect(parseCpuList("\n")).toEqual([]);
  });
});

describe("what a node offers", () => {
  const machine = (more: Partial<Machine> = {}): Machine => ({
    cpuCount: 8,
    memoryBytes: 16 * GIB,
    affinity: [0, 1, 2, 3, 4, 5, 6, 7],
    cgroup: {},
    ...more,
  });

  test("is the whole machine, and half of its memory, where nothing limits it", () => {
    const limits = machineLimits(machine());
    expect(limits.cores).toEqual({ value: 8, from: "the machine's CPUs" });
    expect(limits.memoryBytes).toEqual({ value: 16 * GIB, from: "the machine's memory" });
    expect(defaultOffer(limits)).toEqual({ cores: 8, memoryBytes: 8 * GIB });
  });

  test("is what the affinity mask leaves", () => {
    const limits = machineLimits(machine({ affinity: [2, 5] }));
    expect(limits.cpus).toEqual([2, 5]);
    expect(limits.cores).toEqual({ value: 2, from: "the affinity mask leaves CPUs 2,5" });
  });

  test("is what a cgroup leaves, whichever of its limits is the least", () => {
    const cgroup: CgroupLimits = {
      cpus: { value: 3.7, from: "cpu.max" },
      cpuSet: { cpus: [1, 2, 3, 4], from: "cpuset" },
      memoryBytes: { value: 512 * MIB, from: "memory.max" },
      tasks: { value: 100, left: 60, from: "pids.max" },
    };
    const limits = machineLimits(machine({ cgroup }));
    expect(limits.cpus).toEqual([1, 2, 3, 4]);
    expect(limits.cores).toEqual({ value: 3, from: "cpu.max gives the time of 3.7 CPUs" });
    expect(limits.memoryBytes).toEqual({ value: 512 * MIB, from: "memory.max" });
    expect(limits.tasksLeft).toEqual({ value: 60, from: "pids.max is 100" });
    expect(defaultOffer(limits)).toEqual({ cores: 3, memoryBytes: 256 * MIB });
    const set = { cpuSet: { cpus: [1, 2], from: "cpuset.cpus" } };
    // The kernel cuts the mask to the set.
    expect(machineLimits(machine({ cgroup: set, affinity: [1, 2] })).cores).toEqual({
      value: 2,
      from: "cpuset.cpus leaves CPUs 1,2",
    });
    const masked = machineLimits(machine({ cgroup, affinity: [4] }));
    expect(masked.cores).toEqual({ value: 1, from: "the affinity mask leaves CPUs 4" });
  });

  test("is the machine's memory where the cgroup's limit is beyond it", () => {
    const memoryBytes = { value: 9223372036854771712, from: "memory.limit_in_bytes" };
    const limits = machineLimits(machine({ cgroup: { memoryBytes } }));
    expect(limits.memoryBytes).toEqual({ value: 16 * GIB, from: "the machine's memory" });
  });

  test("is one core where there is less than the time of one", () => {
    const limits = machineLimits(machine({ cgroup: { cpus: { value: 0.25, from: "cpu.max" } } }));
    expect(limits.cores.value).toBe(1);
    expect(limits.cores.from).toContain("0.25");
  });

  test("is warned of where it is more than there is", () => {
    const limits = machineLimits(machine({ affinity: [0, 1] }));
    expect(excesses({ cores: 2, memoryBytes: GIB }, limits)).toEqual([]);
    const [cores, memory] = excesses({ cores: 4, memoryBytes: 32 * GIB }, limits);
    expect(cores).toContain("give --cores 2");
    expect(memory).toContain("give less --memory");
    const tight = machineLimits(machine({ cgroup: { tasks: { value: 50, left: 9, from: "p" } } }));
    expect(excesses({ cores: 2, memoryBytes: GIB }, tight)[0]).toStartWith("9 more processes");
  });
});
