/**
 * Whether a lease notices that its neighbour attacks: a victim's calls beside attempts that fail, and beside a function that only spins, in
 * windows that alternate. It prints both and their ratio, and asserts nothing, since it is of time:
 *
 *     bun test/escape/neighbours.ts
 */
import { median, summarize } from "../../bench/statistics.ts";
import { type Invoker, invoker } from "../../src/index.ts";
import type { Attempt } from "./attempt.ts";
import { Stage } from "./stage.ts";
import { NATIVE } from "./tables/native.ts";
import { Attacker } from "./try.ts";
import { SANDBOX, sandboxIsThere } from "./which.ts";

const PAIRS = 15;
const WINDOW_MS = 1500;
const WORK = 100;
const SPIN: Attempt = {
  ...{ name: "spin", kind: "native", attacks: "kernel" },
  ...{ held: ["nothing"], control: ["nothing"] },
};

/** Attacks, or spins, until it is told to do the other, in a process of its own: its client is not the victim's. */
async function attack(): Promise<void> {
  const { facts, library, address } = JSON.parse(process.env["ESCAPE_STAGE"]!);
  const client = (): Promise<Invoker> => invoker({ node: address });
  const attacker = new Attacker({ facts, library, client }, { address });
  const held = NATIVE.flatMap(([, attempts]) => attempts).filter(({ notYet }) => !notYet);
  let mode = "spin";
  process.stdin.on("data", (text) => (mode = String(text).trim()));
  for (let i = 0; mode !== "end"; i++)
    await attacker.try(mode === "spin" ? SPIN : held[i % held.length]!);
  process.exit(0);
}

async function compare(): Promise<void> {
  await using stage = await Stage.open(SANDBOX);
  const { facts, library } = stage;
  const told = JSON.stringify({ facts, library, address: stage.node.address });
  const child = Bun.spawn([process.execPath, import.meta.path, "attack"], {
    stdio: ["pipe", "inherit", "inherit"],
    env: { ...process.env, ESCAPE_STAGE: told },
  });
  const say = (mode: string): void => {
    void child.stdin.write(`${mode}\n`);
    void child.stdin.flush();
  };
  const window = async (mode: string) => {
    say(mode);
    await stage.timed(WORK);
    const times: number[] = [];
    for (const end = performance.now() + WINDOW_MS; performance.now() < end;)
      times.push(await stage.timed(WORK));
    return summarize(Float64Array.from(times));
  };
  await window("spin");
  const ratios = { p50: [] as number[], p99: [] as number[] };
  const all = { spin: [] as number[], attack: [] as number[] };
  for (let i = 0; i < PAIRS; i++) {
    const [spin, attacked] = [await window("spin"), await window("attack")];
    for (const share of ["p50", "p99"] as const) ratios[share].push(attacked[share] / spin[share]);
    all.spin.push(spin.p50);
    all.attack.push(attacked.p50);
  }
  say("end");
  await child.exited;
  const us = (ns: number): string => (ns / 1000).toFixed(1);
  console.log(
    `a victim's call beside ${PAIRS} windows of attempts: p50 ${us(median(all.attack))} us, beside a spinner ${us(median(all.spin))} us; ratios: p50 ${median(ratios.p50).toFixed(2)}, p99 ${median(ratios.p99).toFixed(2)}`,
  );
}

if (process.argv[2] === "attack") await attack();
else if (sandboxIsThere) await compare();
