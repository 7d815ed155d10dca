/** Starts processes of every kind that outlives its parent. */
import { existsSync } from "node:fs";
import type { FunctionContext } from "rfaas/function";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a shell runs, by kind; `$0` is a number by which it is found again. */
export const KINDS: Record<string, string> = {
  plain: 'exec sleep "$0"',
  "in its own session": 'exec setsid sleep "$0"',
  "deaf to signals": 'trap "" TERM HUP INT; nohup sleep "$0" >/dev/null 2>&1 & wait',
  "a daemon, forked twice": '(setsid sh -c \'(exec sleep "$0") & exit\' "$0" &) ',
  "without an environment": '(exec env -i setsid sleep "$0" &)',
  stopped: 'sleep "$0" & kill -STOP $!; kill -STOP $$',
  "a family": 'for i in 1 2 3; do (sh -c \'sleep "$0" & sleep "$0"\' "$0" &); done',
  "one that forks for ever":
    'f() { (sleep 0.01; f "$1") & }; (exec 2>/dev/null; f "$0"; sleep "$0") &',
};

/** The input is a kind and a number, with a line break between. Returns at once. */
export function start(input: Bytes, output: Bytes): number {
  const [kind, mark] = new TextDecoder().decode(input).split("\n") as [string, string];
  const child = Bun.spawn(["sh", "-c", KINDS[kind]!, mark], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  child.unref();
  output[0] = 1;
  return 1;
}

/** Starts one and never returns. */
export function startAndSpin(input: Bytes, output: Bytes): number {
  start(input, output);
  for (;;);
}

/** Starts one and dies when the file exists whose path is the third line of its input. */
export function startAndDie(input: Bytes, output: Bytes): number {
  start(input, output);
  const [, , path] = new TextDecoder().decode(input).split("\n");
  while (!existsSync(path!)) Bun.sleepSync(1);
  process.kill(process.pid, "SIGKILL");
  return 0;
}

/** Starts processes until it is stopped. */
export function startForEver(input: Bytes, output: Bytes): number {
  for (;;) start(input, output);
}

/** Lets a daemon compute; resolves when it has begun. */
export async function compute(input: Bytes, output: Bytes, ctx: FunctionContext): Promise<number> {
  const [, mark] = new TextDecoder().decode(input).split("\n");
  ctx.state.set("mark", mark);
  const loop = "while :; do :; done";
  Bun.spawn(["sh", "-c", `(setsid sh -c '${loop}' "$0" &)`, mark!], {
    stdio: ["ignore", "ignore", "ignore"],
  }).unref();
  output[0] = 1;
  return 1;
}

/** Lets children compute for a while and waits for them, one after another. */
export async function computeAndWait(_: Bytes, output: Bytes): Promise<number> {
  const loop = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
  const child = Bun.spawn(["sh", "-c", loop]);
  await child.exited;
  output[0] = 1;
  return 1;
}

/** How many of this process's children are dead and not waited for. */
export async function zombies(_: Bytes, output: Bytes): Promise<number> {
  const list = await new Response(
    Bun.spawn(["ps", "-o", "state=", "--ppid", String(process.pid)]).stdout,
  ).text();
  output[0] = list.split("\n").filter((state) => state.startsWith("Z")).length;
  return 1;
}
