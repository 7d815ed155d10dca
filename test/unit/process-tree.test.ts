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
/** Takes memory, and then starts others: `copies` of itself that write nothing, or a `chain` of programs each of which starts the next. */
const SOURCE = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

async function started(kind: string, count: number) {
  const child = Bun.spawn([program, kind, String(count)], { stdout: "pipe" });
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
