/** Which claims to a CPU count: those of this user's nodes and of root's, and another user's only while that user runs there. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { compiler } from "../../ffi/build.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { type CpuClaim, claimCpu, usableCpus } from "../../ffi/system.ts";
import { CpuClaims, UNPINNED } from "../../src/executor/machine/cores.ts";
import { run } from "../support/compilers.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const STRANGER = 65_534;
/** All that a CPU has for one user. */
const NAMES = 4;
/** No machine has it, so that no node of this one claims it meanwhile. */
const CPU = 1_000_000 + (process.pid % 1_000_000);

/** holder UID CPU VICTIM COUNT: as this user, holds so many names of a CPU, then computes there, if it is there, else waits. */
const SOURCE = `
#define _GNU_SOURCE
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
  if (argc != 5) return 2;
  uid_t uid = atoi(argv[1]);
  int cpu = atoi(argv[2]), victim = atoi(argv[3]), count = atoi(argv[4]);
  if (uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))) return 3;
  for (int i = 0; i < count; i++) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int length = i ? sprintf(at.sun_path + 1, "rfaas-cpu-%d-%d-%d", cpu, victim, i) : sprintf(at.sun_path + 1, "rfaas-cpu-%d", cpu);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (bind(fd, (void *)&at, offsetof(struct sockaddr_un, sun_path) + 1 + length) || listen(fd, 64)) return 4;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  int there = sched_setaffinity(0, sizeof set, &set) == 0;
  puts("holds");
  fflush(stdout);
  prctl(PR_SET_PDEATHSIG, 9);
  while (there) continue;
  pause();
}
`;

const scratch = new Scratch();
chmodSync(scratch.path, 0o755);
const program = scratch.join("holder");
run([compiler()!, "-o", program, scratch.file("holder.c", SOURCE)], "/");
afterAll(() => scratch[Symbol.dispose]());

class Holder implements AsyncDisposable {
  readonly #child: Bun.Subprocess;

  private constructor(child: Bun.Subprocess) {
    this.#child = child;
  }

  /** Undefined where another process has one of the names. */
  static async start(cpu: number, { uid = STRANGER, count = 1 } = {}): Promise<Holder | undefined> {
    const words = [uid, cpu, process.getuid!(), count].map(String);
    const stdio = ["ignore", "pipe", "inherit"] as const;
    const child = Bun.spawn([program, ...words], { cwd: "/", stdio: [...stdio] });
    const { value } = await child.stdout.getReader().read();
    return value && new Holder(child);
  }

  get pid(): number {
    return this.#child.pid;
  }

  stop(): void {
    this.#child.kill("SIGSTOP");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function holder(cpu: number, options = {}): Promise<Holder> {
  return (await Holder.start(cpu, options))!;
}

/** What comes of a claim that is given back at once. */
function claimed(cpu: number): CpuClaim {
  const claim = claimCpu(cpu);
  if (claim.fd >= 0) closeDescriptor(claim.fd);
  return claim;
}

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.error("SKIPPED: claims of another user: being one needs root");
const asStranger = test.skipIf(!isRoot);

describe("a claim to a CPU", () => {
  test("holds it against a node of the same user until it is given back", async () => {
    const first = claimCpu(CPU);
    expect(first).toEqual({ taken: false, fd: expect.any(Number) });
    expect(claimCpu(CPU)).toEqual({ taken: true, fd: -1 });
    closeDescriptor(first.fd);
    expect(claimed(CPU).taken).toBe(false);
    await using _other = await holder(CPU, { uid: process.getuid!() });
    expect(claimed(CPU)).toEqual({ taken: true, fd: -1 });
  });

  test("holds it however often others look: no look takes a place in its queue that the next one needs", async () => {
    const first = claimCpu(CPU);
    for (let i = 0; i < 150; i++) expect(claimCpu(CPU)).toEqual({ taken: true, fd: -1 });
    closeDescriptor(first.fd);
    expect(claimed(CPU).taken).toBe(false);
  });

  asStranger("of another user is passed over however often that is looked at", async () => {
    await using _squatter = await holder(CPU);
    for (let i = 0; i < 150; i++) {
      const { taken, stranger } = claimed(CPU);
      expect([taken, stranger?.uid]).toEqual([false, STRANGER]);
    }
  });

  asStranger("of another user who does not run there is passed over", async () => {
    const squatter = await holder(CPU);
    const { pid } = squatter;
    const first = claimCpu(CPU);
    expect(first).toEqual({
      ...{ taken: false, fd: expect.any(Number) },
      stranger: { uid: STRANGER, pid },
    });
    expect(first.fd).toBeGreaterThanOrEqual(0);
    // Nodes of this user know of each other all the same,
    expect(claimCpu(CPU)).toMatchObject({ taken: true, fd: -1 });
    await squatter[Symbol.asyncDispose]();
    // also once the first name is free again.
    expect(claimCpu(CPU)).toEqual({ taken: true, fd: -1 });
    closeDescriptor(first.fd);
    expect(claimed(CPU).taken).toBe(false);
  });

  asStranger("is done without where another user holds all of its names", async () => {
    await using squatter = await holder(CPU, { count: NAMES });
    const { pid } = squatter;
    expect(claimCpu(CPU)).toEqual({
      ...{ taken: false, fd: -1 },
      stranger: { uid: STRANGER, pid },
    });
  });

  asStranger(
    "of another user who runs there counts, as long as that goes on",
    async () => {
      const cpu = usableCpus().at(-1)!;
      let other: Holder | undefined;
      // A node of this machine may have the name for the moment.
      const begun = async () => (other = await Holder.start(cpu)) !== undefined;
      await until(begun, "the name is free");
      await using there = other!;
      await until(() => claimed(cpu).taken, "the other user has the CPU");
      there.stop();
      await until(() => !claimed(cpu).taken, "the other user has stopped");
    },
    LIMIT_MS,
  );

  asStranger("of a stranger is told once, and the worker is pinned", async () => {
    await using squatter = await holder(CPU);
    const said: string[] = [];
    const claims = new CpuClaims((message) => said.push(message));
    for (let i = 0; i < 2; i++) {
      const { cpus, release } = claims.claim([CPU, UNPINNED]);
      expect(cpus).toEqual([CPU, UNPINNED]);
      release();
    }
    expect(said).toEqual([
      `user ${STRANGER} (process ${squatter.pid}) claims CPU ${CPU} and does not run there, so workers are pinned to it all the same; see what that process is for`,
    ]);
  });
});
