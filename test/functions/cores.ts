/** What a function sees of its worker's cores, and what it starts. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { FunctionContext } from "rfaas/function";

type Bytes = Uint8Array<ArrayBuffer>;
const write = (output: Bytes, value: unknown): number =>
  new TextEncoder().encodeInto(JSON.stringify(value), output).written;

const listOf = (status: string): string => /Cpus_allowed_list:\s*(\S+)/.exec(status)![1]!;
/** When the module was loaded: a library starts its threads then. */
const atLoad = listOf(readFileSync("/proc/thread-self/status", "utf8"));

export function cores(_: Bytes, output: Bytes, ctx: FunctionContext): number {
  const child = Bun.spawnSync(["sh", "-c", "nproc; grep Cpus_allowed_list /proc/self/status"], {
    env: { PATH: process.env["PATH"] },
  });
  const [nproc, allowed] = child.stdout.toString().trim().split("\n");
  return write(output, {
    context: ctx.cores,
    navigator: navigator.hardwareConcurrency,
    os: availableParallelism(),
    openMp: process.env["OMP_NUM_THREADS"],
    nproc: Number(nproc),
    childAllowed: listOf(allowed!),
    allowed: listOf(readFileSync("/proc/thread-self/status", "utf8")),
    atLoad,
  });
}

/** The thread that runs calls, as /proc names it. */
export function thread(_: Bytes, output: Bytes): number {
  const [, , pid, , tid] =
    `//${readFileSync("/proc/thread-self/stat", "utf8").split(" ")[0]}//`.split("/");
  return write(output, { pid: process.pid, tid: Number(tid || pid) });
}
