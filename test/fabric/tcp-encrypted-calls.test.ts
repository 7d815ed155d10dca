/** What encrypted calls leave behind in libssl: no memory, and new keys after so many bytes. */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compileShim } from "../../ffi/build.ts";
import { buildLibrary } from "../support/compilers.ts";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const COUNTING = `
#include <dlfcn.h>
#include <stdlib.h>
static unsigned long taken, returned;
static void *allocate(size_t bytes, const char *file, int line) {
  (void)file, (void)line;
  __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
  return malloc(bytes);
}
static void *change(void *memory, size_t bytes, const char *file, int line) {
  (void)file, (void)line;
  if (!memory) __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
  return realloc(memory, bytes);
}
static void release(void *memory, const char *file, int line) {
  (void)file, (void)line;
  if (memory) __atomic_fetch_add(&returned, 1, __ATOMIC_RELAXED);
  free(memory);
}
int begin(void) {
  void *crypto = dlopen("libcrypto.so.3", RTLD_NOW);
  int (*set)(void *(*)(size_t, const char *, int), void *(*)(void *, size_t, const char *, int),
             void (*)(void *, const char *, int)) = crypto ? dlsym(crypto, "CRYPTO_set_mem_functions") : 0;
  return set && set(allocate, change, release) && taken == 0;
}
double blocks(void) { return (double)__atomic_load_n(&taken, __ATOMIC_RELAXED) - (double)__atomic_load_n(&returned, __ATOMIC_RELAXED); }
`;

async function peers(args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "encrypted-peers.ts"), ...args],
    { env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  const [said, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
  expect(exitCode).toBe(0);
  return said.trim();
}

test("encrypted calls leave libssl no more memory than it had", async () => {
  expect(await peers(["memory", buildLibrary(scratch, "counting", COUNTING)])).toBe("0");
}, 60_000);

const KERNEL_CAN = readFileSync("/proc/sys/net/ipv4/tcp_available_ulp", "utf8").includes("tls");
if (KERNEL_CAN) console.warn("skipped, the kernel encrypts here: keys that libssl changes");
describe.skipIf(KERNEL_CAN)("a connection", () => {
  test("changes its keys after so many bytes, each way, and every call is right", async () => {
    const shim = scratch.join("librfaas.so");
    compileShim(join(ROOT, "ffi", "shim"), shim, process.arch, ["RFAAS_TLS_BYTES_OF_A_KEY=100000"]);
    const updates = (await peers(["keys"], { RFAAS_SHIM: shim })).split(" ").map(Number);
    // 100 calls of four sizes are 1.3 MB.
    for (const count of updates) expect(count).toBeGreaterThan(7);
    expect(await peers(["keys"])).toBe("0 0");
  }, 120_000);
});
