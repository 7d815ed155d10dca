/** What leases leave behind, and how they end before their time. */
import { type Pointer, dlopen, read } from "bun:ffi";
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Type, defineFunction } from "rfaas/function";

const MIB = 1024 * 1024;
const kept: unknown[] = [];
const number = { input: Type.Number(), output: Type.Number() };

export const next = defineFunction(number, (value) => value + 1);

/** Leaves files and folders in the room's scratch folder, among them one that its owner may not open. */
export const litter = defineFunction(number, (value) => {
  const folder = join(tmpdir(), `left-${value}`, "within");
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < 8; i++) writeFileSync(join(folder, `file-${i}`), Buffer.alloc(64 * 1024, i));
  mkdirSync(join(tmpdir(), `closed-${value}`), { mode: 0 });
  return value + 1;
});

/** Leaves a child, and a grandchild in a session of its own that has lost its parent. */
export const beget = defineFunction(number, (value) => {
  Bun.spawn(["sleep", "1000"], { stdio: ["ignore", "ignore", "ignore"] }).unref();
  Bun.spawnSync(["sh", "-c", "setsid sleep 1000 & exit 0"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  return value + 1;
});

/** Ends its own process, in a way that the runtime does not hold up. */
export const die = defineFunction({ input: Type.String(), output: Type.Number() }, (how) => {
  if (how === "exit") dlopen("libc.so.6", { _exit: { args: ["i32"] } }).symbols._exit(3);
  return read.u8(8 as Pointer);
});

/** Takes memory until its lease ends. */
export const eat = defineFunction(number, () => {
  for (;;) kept.push(new Uint8Array(MIB).fill(1));
});

/** Does not come back. */
export const hang = defineFunction(number, () => {
  for (;;);
});
