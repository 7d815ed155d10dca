/**
 * How the engine of a host is set: by variables that it reads as the process or a thread starts, before any code of ours. Functions do
 * not see them, nor does native code. `Bun.spawn` alone still hands them on where it is given no environment: it knows the one that the
 * process began with.
 */
import { clearNativeEnvironment } from "../../../ffi/system.ts";

export const ENGINE_SETTINGS: Readonly<Record<string, string>> = {
  // A thread that touches the memory of objects ahead of the first ones: a megabyte, and most of it for nothing.
  BUN_JSC_useWarmUpMarkedBlocks: "0",
};

/** Takes them from native code of this process, before it starts threads. */
export function hideEngineSettings(): void {
  for (const name of Object.keys(ENGINE_SETTINGS)) clearNativeEnvironment(name);
}

/** Takes them from the calling thread. Threads that it starts have been given them all the same, and do so, too. */
export function forgetEngineSettings(): void {
  for (const name of Object.keys(ENGINE_SETTINGS)) delete process.env[name];
}
