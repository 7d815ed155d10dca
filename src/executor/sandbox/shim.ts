/** How a host gets the native shim: a host in a room may see no file of ours, so it inherits the shim as a descriptor. */
import { openSync } from "node:fs";
import { shimToInherit } from "../../../ffi/library.ts";
import type { SandboxDriver } from "./driver.ts";

/** One for all hosts. */
let opened: number | undefined;

/** Files that a host must be able to read to open the shim that it inherits: one in memory has none. */
export function shimFiles(): string[] {
  const shim = shimToInherit();
  return "path" in shim ? [shim.path] : [];
}

export function shimFor({ rooms }: Pick<SandboxDriver, "rooms">): ReturnType<typeof shimToInherit> {
  const shim = shimToInherit();
  if (!rooms || "fd" in shim) return shim;
  return { fd: (opened ??= openSync(shim.path, "r")) };
}
