/** What a process and all that it has started have of memory: copies that it has made of itself, programs, and chains of them, all of them real. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { compiler } from "../../ffi/build.ts";
import { killDescendants, treeUsage } from "../../ffi/children.ts";
import { run } from "../support/compilers.ts";
import { marked } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const MIB = 2 ** 20;
const HELD = 16 * MIB;
const COUNT = 100;
/** Takes memory, and then starts others: `copies` of itself that write nothing, `many` smaller ones, or a `chain` of programs each of which starts the next; or reads memory that is not there, which takes page tables alone. */
const SOURCE = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int count, char **words) {
  (void)count;
  int left = atoi(words[2]);
  char *held = malloc(${HELD});
  memset(held, 1, strcmp(words[1], "copies") == 0 ? ${HELD} : ${MIB});
  if (strcmp(words[1], "chain") == 0) {
    char rest[16];
    snprintf(rest, sizeof rest, "%d", left - 1);
    if (left > 1 && fork() == 0) execl(words[0], words[0], "chain", rest, NULL);
    if (left == 1 && write(1, "up\\n", 3) != 3) return 1;
  } else if (strcmp(words[1], "tables") == 0) {
    size_t step = 2 * ${MIB}, length = left * step;
    volatile char *none = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (none == MAP_FAILED || madvise((void *)none, length, MADV_NOHUGEPAGE) != 0) return 2;
    for (size_t at = 0; at < length; at += step) (void)none[at];
    if (fork() == 0) pause();
    if (write(1, "up\\n", 3) != 3) return 1;
  } else {
    for (int i = 0; i < left; i++)
      if (fork() == 0) pause();
    if (write(1, "up\\n", 3) != 3) return 1;
  }
  pause();
  return held[0];
}`;

const scratch = new Scratch();
const program = scratch.join("starts");
beforeAll(() => {
  const source = scratch.file("starts.c", SOURCE);
  run([compiler()!, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source], "/");
});
afterAll(() => scratch[Symbol.dispose]());

async function started(kind: string, count: number, by: readonly string[] = []) {
  const child = Bun.spawn([...by, program, kind, String(count)], { stdout: "pipe" });
  await child.stdout.getReader().read();
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      killDescendants(child.pid);
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

test("pages that a process shares with copies of itself count once where that is asked for", async () => {
  await using tree = await started("copies", 8);
  const [each, once] = [treeUsage(tree.pid)!, treeUsage(tree.pid, true)!];
  expect([each.processes, once.processes]).toEqual([9, 9]);
  expect(each.privateBytes).toBeGreaterThanOrEqual(9 * HELD);
  expect(once.privateBytes).toBeGreaterThanOrEqual(HELD);
  expect(once.privateBytes).toBeLessThan(1.5 * HELD);
});

test("copies that there was no time to measure count in full", async () => {
  await using tree = await started("copies", 8);
  expect(treeUsage(tree.pid, true, 0)!.privateBytes).toBeGreaterThanOrEqual(9 * HELD);
});

test("page tables count, of which memory that was only read has all that it costs", async () => {
  const tables = 4096;
  await using tree = await started("tables", tables);
  for (const exact of [false, true]) {
    const { privateBytes } = treeUsage(tree.pid, exact)!;
    expect(privateBytes).toBeGreaterThanOrEqual(tables * 4096);
    expect(privateBytes).toBeLessThan(2 * tables * 4096 + 8 * MIB);
  }
});

const hasGroups = process.getuid!() === 0 && Bun.which("setpriv") !== null;
if (!hasGroups) console.error("SKIPPED: hundreds of groups: they need root, and setpriv");
test.skipIf(!hasGroups)("a user of hundreds of groups hides nothing of a process", async () => {
  const groups = Array.from({ length: 900 }, (_, i) => 1_000_000_000 + i).join(",");
  await using tree = await started("copies", 2, ["setpriv", "--groups", groups]);
  const { processes, threads, privateBytes } = treeUsage(tree.pid)!;
  expect([processes, threads]).toEqual([3, 3]);
  expect(privateBytes).toBeGreaterThanOrEqual(3 * HELD);
});

test("all children of a process count and are killed, more than a thousand of them", async () => {
  const children = 1500;
  await using tree = await started("many", children);
  for (const exact of [false, true])
    expect(treeUsage(tree.pid, exact)!.processes).toBe(1 + children);
  expect(marked(program)).toHaveLength(1 + children);
  killDescendants(tree.pid);
  await until(() => marked(program).length === 1, "all but the first are gone");
});

test("programs that start each other count, however long their chain is", async () => {
  await using tree = await started("chain", COUNT);
  for (const exact of [false, true]) {
    const usage = treeUsage(tree.pid, exact)!;
    expect([usage.processes, usage.threads]).toEqual([COUNT, COUNT]);
    expect(usage.privateBytes).toBeGreaterThanOrEqual(COUNT * MIB);
    expect(usage.privateBytes).toBeLessThan(2 * COUNT * MIB);
  }
  killDescendants(tree.pid);
  await until(() => marked(program).length === 1, "all but the first are gone");
});
